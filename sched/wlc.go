package sched

func init() { register("wlc", func(Options) Scheduler { return wlc{} }) }

// wlc is weighted least connection (ip_vs_wlc.c): the usable server with the
// smallest overhead per weight.
type wlc struct{ stateless }

func (wlc) Pick(list []*Server, _ *Request) *Server { return leastOverhead(list) }

// leastOverhead returns the usable server with the smallest overhead per
// weight, or nil.
func leastOverhead(list []*Server) *Server {
	var least *Server
	var load int64
	for _, s := range list {
		if !s.Usable() {
			continue
		}
		// load/least.Weight > l/s.Weight, without the division.
		if l := s.Overhead(); least == nil || load*int64(s.Weight) > l*int64(least.Weight) {
			least, load = s, l
		}
	}
	return least
}

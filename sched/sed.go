package sched

func init() { register("sed", func(Options) Scheduler { return sed{} }) }

// sed is shortest expected delay (ip_vs_sed.c): the usable server with the
// fewest active connections per weight, the new one counted in.
type sed struct{ stateless }

func (sed) Pick(list []*Server, _ *Request) *Server {
	var least *Server
	var load int64
	for _, s := range list {
		if !s.Usable() {
			continue
		}
		if l := delay(s); least == nil || load*int64(s.Weight) > l*int64(least.Weight) {
			least, load = s, l
		}
	}
	return least
}

// delay is the load that sed and nq compare: the active connections and the
// new one.
func delay(s *Server) int64 { return int64(s.Active.Load()) + 1 }

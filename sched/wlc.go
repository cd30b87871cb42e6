package sched

func init() { register("wlc", func(Options) Scheduler { return wlc{} }) }

// wlc is weighted least connection (ip_vs_wlc.c): the usable server with the
// smallest overhead per weight.
type wlc struct{ stateless }

func (wlc) Pick(list []*Server, _ *Request) *Server { return leastOverhead(list) }

// leastOverhead returns the usable server with the smallest overhead per
// weight, or nil.
func leastOverhead(list []*Server) *Server {
	var l least
	for _, s := range list {
		if s.Usable() {
			l.offer(s)
		}
	}
	return l.server
}

// least is the server with the smallest overhead per weight of those offered so
// far. All need a positive weight.
type least struct {
	server *Server
	load   int64
}

func (l *least) offer(s *Server) {
	load := s.Overhead()
	// l.load/l.server.Weight > load/s.Weight, without the division.
	if l.server == nil || l.load*int64(s.Weight) > load*int64(l.server.Weight) {
		l.server, l.load = s, load
	}
}

func (w wlc) Clone(func(*Server) *Server) Scheduler { return w }

func (wlc) Explain(list []*Server, _ *Request) Account {
	return account(list, "the smallest load for its weight", "(256 x active + all) / weight",
		func(s *Server) (float64, bool) { return perWeight(s.Overhead(), s) })
}

package sched

func init() { register("lc", func(Options) Scheduler { return lc{} }) }

// lc is least connection (ip_vs_lc.c): the usable server with the smallest
// overhead, whatever its weight.
type lc struct{ stateless }

func (lc) Pick(list []*Server, _ *Request) *Server {
	var least *Server
	var load int64
	for _, s := range list {
		if !s.Usable() {
			continue
		}
		if l := s.Overhead(); least == nil || l < load {
			least, load = s, l
		}
	}
	return least
}

func (l lc) Clone(func(*Server) *Server) Scheduler { return l }

func (lc) Explain(list []*Server, _ *Request) Account {
	return account(list, "the fewest connections, active ones counting 256 more, whatever the weight", "256 x active + all",
		func(s *Server) (float64, bool) { return float64(s.Overhead()), true })
}

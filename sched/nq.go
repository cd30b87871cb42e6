package sched

func init() { register("nq", func(Options) Scheduler { return nq{} }) }

// nq is never queue (ip_vs_nq.c): the first usable server without an active
// connection, however slow; if all have some, the one sed picks.
type nq struct{ stateless }

func (nq) Pick(list []*Server, _ *Request) *Server {
	var l shortest
	for _, s := range list {
		if !s.Usable() {
			continue
		}
		active := s.Active.Load()
		if active == 0 {
			return s
		}
		l.offer(s, active)
	}
	return l.server
}

func (n nq) Clone(func(*Server) *Server) Scheduler { return n }

func (nq) Explain(list []*Server, _ *Request) Account {
	return account(list, "the first without an active connection, else the shortest expected delay", "0 if none is active, else (active + 1) / weight",
		func(s *Server) (float64, bool) {
			active := s.Active.Load()
			if active == 0 {
				return 0, true
			}
			return perWeight(int64(active)+1, s)
		})
}

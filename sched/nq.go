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

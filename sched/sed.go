package sched

func init() { register("sed", func(Options) Scheduler { return sed{} }) }

// sed is shortest expected delay (ip_vs_sed.c): the usable server with the
// fewest active connections per weight, the new one counted in.
type sed struct{ stateless }

func (sed) Pick(list []*Server, _ *Request) *Server {
	var l shortest
	for _, s := range list {
		if s.Usable() {
			l.offer(s, s.Active.Load())
		}
	}
	return l.server
}

// shortest is the server with the fewest active connections per weight, the new
// one counted in, of those offered so far. All need a positive weight.
type shortest struct {
	server *Server
	load   int64
}

func (l *shortest) offer(s *Server, active int32) {
	load := int64(active) + 1
	if l.server == nil || l.load*int64(s.Weight) > load*int64(l.server.Weight) {
		l.server, l.load = s, load
	}
}

func (s sed) Clone(func(*Server) *Server) Scheduler { return s }

func (sed) Explain(list []*Server, _ *Request) Account {
	return account(list, "the fewest active connections for its weight, the new one counted in", "(active + 1) / weight",
		func(s *Server) (float64, bool) { return perWeight(int64(s.Active.Load())+1, s) })
}

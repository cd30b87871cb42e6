package sched

func init() { register("fo", func(Options) Scheduler { return fo{} }) }

// fo is weighted failover (ip_vs_fo.c): the usable server with the greatest
// weight.
type fo struct{ stateless }

func (fo) Pick(list []*Server, _ *Request) *Server {
	var best *Server
	for _, s := range list {
		if s.Usable() && (best == nil || s.Weight > best.Weight) {
			best = s
		}
	}
	return best
}

func (f fo) Clone(func(*Server) *Server) Scheduler { return f }

func (fo) Explain(list []*Server, _ *Request) Account {
	a := account(list, "the heaviest that can take it", "weight", byWeight)
	a.Greatest = true
	return a
}

func byWeight(s *Server) (float64, bool) { return float64(s.Weight), true }

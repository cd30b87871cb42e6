package sched

func init() { register("ovf", func(Options) Scheduler { return ovf{} }) }

// ovf is weighted overflow (ip_vs_ovf.c): the usable server with the greatest
// weight among those with no more active connections than their weight. When
// all have more, none is picked.
type ovf struct{ stateless }

func (ovf) Pick(list []*Server, _ *Request) *Server {
	var best *Server
	for _, s := range list {
		if !s.Usable() || s.Active.Load() > s.Weight {
			continue
		}
		if best == nil || s.Weight > best.Weight {
			best = s
		}
	}
	return best
}

func (o ovf) Clone(func(*Server) *Server) Scheduler { return o }

func (ovf) Explain(list []*Server, _ *Request) Account {
	a := account(list, "the heaviest with no more active connections than its weight", "weight", byWeight)
	a.Greatest = true
	for i := range a.Standings {
		if st := &a.Standings[i]; st.Counts && st.Server.Active.Load() > st.Server.Weight {
			st.Refusal, st.Counts = Full, false
		}
	}
	return a
}

package sched

func init() {
	register("lblc", func(o Options) Scheduler {
		return &lblc{cache{expiration: int64(o.CacheExpiration)}}
	})
}

// lblc is locality-based least connection (ip_vs_lblc.c), for caches behind a
// service by firewall mark: a destination stays with the server it was first
// given to, by wlc, until that is gone or too busy.
type lblc struct{ cache }

var _ Cache = (*lblc)(nil)

// Pick uses the destination's server even when it is overloaded, as the kernel
// does. When the cache is full, wlc's choice is used and not remembered.
func (l *lblc) Pick(list []*Server, req *Request) *Server {
	l.Tick(req.Now)
	e := l.lookup(&req.Virtual, req.Now)
	if e != nil {
		s := l.server(l.members.at(e.first))
		if s.Available && s.Weight > 0 && !tooBusy(s, list) {
			return s
		}
	}
	s := leastOverhead(list)
	if s == nil {
		return nil
	}
	seat, ok := l.seats.of(s)
	if !ok {
		return s
	}
	if e != nil {
		l.remove(e, &e.first, req.Now)
	} else if e = l.create(&req.Virtual, req.Now); e == nil {
		return s
	}
	l.insert(e, seat, req.Now)
	return s
}

func (l *lblc) Clone(twin func(*Server) *Server) Scheduler { return &lblc{l.clone(twin)} }

// Explain leaves aside that a collection may be due before the pick.
func (l *lblc) Explain(list []*Server, req *Request) Account {
	e := l.peek(&req.Virtual)
	if e == nil {
		return leastLoad(list, "the destination is new: the smallest load for its weight")
	}
	s := l.server(l.members.at(e.first))
	of := "the destination is " + s.String() + "'s"
	switch {
	case !s.Available:
		return leastLoad(list, of+", which was deleted: the smallest load for its weight")
	case s.Weight <= 0:
		return leastLoad(list, of+", which has weight 0: the smallest load for its weight")
	case tooBusy(s, list):
		a := leastLoad(list, of+", which is too busy: the smallest load for its weight")
		if st := a.of(s); st != nil {
			st.Note = "more active than its weight, another under half"
		}
		return a
	}
	a := account(list, of+", whatever its load", "", func(o *Server) (float64, bool) { return 0, o == s })
	a.elsewhere()
	if st := a.of(s); st != nil {
		st.Refusal, st.Counts = 0, true // even if it is overloaded
	}
	return a
}

// leastLoad is an account of leastOverhead.
func leastLoad(list []*Server, rule string) Account {
	return account(list, rule, "(256 x active + all) / weight", func(s *Server) (float64, bool) { return perWeight(s.Overhead(), s) })
}

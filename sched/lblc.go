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

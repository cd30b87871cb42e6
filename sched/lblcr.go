package sched

import "fmt"

func init() {
	register("lblcr", func(o Options) Scheduler {
		return &lblcr{cache{expiration: int64(o.CacheExpiration)}}
	})
}

// lblcr is locality-based least connection with replication (ip_vs_lblcr.c):
// like lblc, but a destination has a set of servers, the least loaded of which
// is picked. When that is too busy the set grows; a set that did not change
// for the time of expiration shrinks by its most loaded member.
type lblcr struct{ cache }

var _ Cache = (*lblcr)(nil)

func (l *lblcr) Pick(list []*Server, req *Request) *Server {
	l.Tick(req.Now)
	e := l.lookup(&req.Virtual, req.Now)
	if e != nil {
		s := l.leastMember(e)
		if e.size > 1 && req.Now > e.lastMod+l.expiration {
			l.removeMost(e, req.Now)
		}
		// The member just removed still serves this request.
		if s != nil && !tooBusy(s, list) {
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
	if e == nil {
		if e = l.create(&req.Virtual, req.Now); e == nil {
			return s
		}
	}
	if !l.contains(e, seat) {
		l.insert(e, seat, req.Now)
	}
	return s
}

// leastMember returns the member with the smallest overhead per weight of those
// that can take a connection, or nil.
func (l *lblcr) leastMember(e *entry) *Server {
	var best least
	for n := e.first; n != 0; {
		m := l.members.at(n)
		if s := l.server(m); hashed(s) {
			best.offer(s)
		}
		n = m.next
	}
	return best.server
}

// removeMost removes the member with the greatest overhead per weight, deleted
// and overloaded ones included; it spares those of weight 0.
func (l *lblcr) removeMost(e *entry, now int64) {
	var most *Server
	var mostLink *int32
	var mostLoad int64
	for link := &e.first; *link != 0; link = &l.members.at(*link).next {
		s := l.server(l.members.at(*link))
		if s.Weight <= 0 {
			continue
		}
		if load := s.Overhead(); most == nil || load*int64(most.Weight) > mostLoad*int64(s.Weight) {
			most, mostLink, mostLoad = s, link, load
		}
	}
	if most != nil {
		l.remove(e, mostLink, now)
	}
}

// contains reports whether the server of a seat is in a set.
func (l *lblcr) contains(e *entry, seat int32) bool {
	for n := e.first; n != 0; {
		m := l.members.at(n)
		if m.record.seat == seat {
			return true
		}
		n = m.next
	}
	return false
}

func (l *lblcr) Clone(twin func(*Server) *Server) Scheduler { return &lblcr{l.clone(twin)} }

// Explain leaves aside that a collection may be due before the pick.
func (l *lblcr) Explain(list []*Server, req *Request) Account {
	e := l.peek(&req.Virtual)
	if e == nil {
		return leastLoad(list, "the destination is new: the smallest load for its weight")
	}
	of := fmt.Sprintf("the destination has %s", count(int64(e.size), "server"))
	switch s := l.leastMember(e); {
	case s == nil:
		return leastLoad(list, of+", none of which can take it: the smallest load for its weight of all")
	case tooBusy(s, list):
		a := leastLoad(list, of+", all too busy: the smallest load for its weight of all")
		if st := a.of(s); st != nil {
			st.Note = "more active than its weight, another under half"
		}
		return a
	}
	a := account(list, of+": the smallest load for its weight of them", "(256 x active + all) / weight", func(s *Server) (float64, bool) {
		v, _ := perWeight(s.Overhead(), s)
		seat, ok := l.seats.of(s)
		return v, ok && l.contains(e, seat)
	})
	a.elsewhere()
	return a
}

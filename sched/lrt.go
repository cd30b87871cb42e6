package sched

import (
	"fmt"
	"math/bits"
	"time"
)

func init() {
	register("lrt", func(o Options) Scheduler { return &lrt{halfLife: int64(o.HalfLife)} })
}

// DefaultHalfLife is what Options.HalfLife 0 stands for.
const DefaultHalfLife = 10 * time.Second

// The bounds of Options.HalfLife.
const (
	lrtMinHalfLife = time.Millisecond
	lrtMaxHalfLife = 24 * time.Hour
)

// lrtFresh is how many half-lives a server counts as measured after its last
// answer. What is older is forgotten.
const lrtFresh = 4

// lrt is least response time; it is vsnat's own. It picks the usable server for
// which response time times load per weight is smallest: the load is wlc's
// overhead with the new connection counted in, the response time the average of
// what the server took to answer SYNs lately.
//
// An average is good for a server in good standing: one that has answered in
// the last lrtFresh half-lives and was given no more connections since than it
// is trusted with (see [response]). Any other, that is a new one, one that had no
// connection for long and one that went silent, is tried: once in a half-life,
// the one that waited longest first, it gets the next connection whatever the
// others' loads, and until it answers no second one. Only when no server is in
// good standing and none is due, connections are given by wlc's rule.
//
// Servers that never let their answer be seen (UDP, direct routing) are thus
// picked as by wlc but for the trials.
type lrt struct {
	stateless
	halfLife int64 // nanoseconds
}

var _ Observer = (*lrt)(nil)

// Changed forgets what was measured before a server joined: it may come back as
// another machine. An Init does not, so that a new half-life does not.
func (l *lrt) Changed(op Op, s *Server, _ int, _ []*Server) {
	if op == Add {
		s.response.forget()
	}
}

func (l *lrt) Pick(list []*Server, req *Request) *Server {
	var quickest *Server
	var cost uint64
	var due *Server
	var others least
	for _, s := range list {
		if !s.Usable() {
			continue
		}
		switch r := &s.response; l.class(r, req.Now) {
		case inGoodStanding:
			if c := r.cost(s.Overhead()); quickest == nil || exceeds(cost, s.Weight, c, quickest.Weight) {
				quickest, cost = s, c
			}
		case dueForTrial:
			if due == nil || r.before(&due.response) {
				due = s
			}
		default:
			others.offer(s)
		}
	}
	picked := quickest
	switch {
	case due != nil:
		picked = due
	case picked == nil:
		picked = others.server
	}
	if picked != nil {
		picked.response.give(req.Now)
	}
	return picked
}

func (l *lrt) Observe(s *Server, rtt, now int64) {
	s.response.note(rtt, now, l.halfLife)
}

// exceeds reports whether a times b is more than c times d.
func exceeds(a uint64, b int32, c uint64, d int32) bool {
	h, l := bits.Mul64(a, uint64(b))
	h2, l2 := bits.Mul64(c, uint64(d))
	return h > h2 || h == h2 && l > l2
}

// lrtClass is what lrt thinks of a server.
type lrtClass uint8

const (
	onTrial lrtClass = iota
	inGoodStanding
	dueForTrial
)

func (l *lrt) class(r *response, now int64) lrtClass {
	switch {
	case r.goodStanding(now, lrtFresh*l.halfLife):
		return inGoodStanding
	case !r.tried || now-r.given >= l.halfLife:
		return dueForTrial
	}
	return onTrial
}

// Clone needs no more: what was measured stands in the servers.
func (l *lrt) Clone(func(*Server) *Server) Scheduler { return &lrt{halfLife: l.halfLife} }

func (l *lrt) Explain(list []*Server, req *Request) Account {
	best := onTrial // the class that decides
	for _, s := range list {
		if s.Usable() {
			best = max(best, l.class(&s.response, req.Now))
		}
	}
	rule, compared := "no server was measured or is due for a trial: the smallest load for its weight", "(256 x active + all) / weight"
	switch best {
	case inGoodStanding:
		rule, compared = "the smallest response time x load for its weight", "ms x (256 x active + all, with the new one) / weight"
	case dueForTrial:
		rule, compared = "one that is not measured is due for a trial: the one that waited longest", "seconds since its last trial"
	}
	a := account(list, rule, compared, func(s *Server) (float64, bool) {
		r := &s.response
		c := l.class(r, req.Now)
		if c != best {
			return 0, false
		}
		switch c {
		case inGoodStanding:
			return float64(r.cost(s.Overhead())) / 1000 / float64(s.Weight), true
		case dueForTrial:
			if !r.tried {
				return float64(req.Now)/1e9 + 1, true // longer than any other
			}
			return float64(req.Now-r.given) / 1e9, true
		}
		return perWeight(s.Overhead(), s)
	})
	a.Greatest = best == dueForTrial
	for i := range a.Standings {
		st := &a.Standings[i]
		r := &st.Server.response
		switch {
		case st.Refusal != 0:
			continue
		case best == dueForTrial && !st.Counts:
			st.Refusal = Waits
		}
		switch l.class(r, req.Now) {
		case inGoodStanding:
			st.Note = fmt.Sprintf("answers in %.3g ms", float64(r.mean.Load())/1000)
		case dueForTrial:
			if st.Note = "due for a trial"; !r.tried {
				st.Note = "never tried"
			}
		default:
			st.Note = fmt.Sprintf("on trial, owes %s", count(int64(r.waiting.Load()), "answer"))
		}
	}
	return a
}

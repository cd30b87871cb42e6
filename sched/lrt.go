package sched

import (
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
		switch r := &s.response; {
		case !s.Usable():
			continue
		case r.goodStanding(req.Now, lrtFresh*l.halfLife):
			if c := r.cost(s.Overhead()); quickest == nil || exceeds(cost, s.Weight, c, quickest.Weight) {
				quickest, cost = s, c
			}
		case !r.tried || req.Now-r.given >= l.halfLife:
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

package sched

import "math/rand/v2"

func init() {
	register("twos", func(o Options) Scheduler { return newTwos(*rand.NewPCG(o.Seed, 0)) })
}

// twos is the power of two choices (ip_vs_twos.c): of two servers drawn at
// random, by weight, the one with the smaller overhead per weight. Both draws
// may give the same.
type twos struct {
	stateless
	source rand.PCG // of random, which keeps nothing itself
	random *rand.Rand
}

func newTwos(source rand.PCG) *twos {
	t := &twos{source: source}
	t.random = rand.New(&t.source)
	return t
}

func (t *twos) Pick(list []*Server, _ *Request) *Server {
	a, b := t.draw(list)
	if a == nil || b == nil || !lighter(b, a) {
		return a
	}
	return b
}

// lighter compares as the kernel does: in 32 bits, wrapping.
func lighter(s, than *Server) bool {
	return s.Weight*int32(than.Overhead()) > than.Weight*int32(s.Overhead())
}

func (t *twos) Clone(func(*Server) *Server) Scheduler { return newTwos(t.source) }

func (t *twos) Explain(list []*Server, _ *Request) Account {
	a, b := newTwos(t.source).draw(list)
	var overflown *Server // which loses because the products do not fit
	if a != nil && b != nil {
		va, _ := perWeight(a.Overhead(), a)
		vb, _ := perWeight(b.Overhead(), b)
		switch second := lighter(b, a); {
		case second && va < vb:
			overflown = a
		case !second && vb < va:
			overflown = b
		}
	}
	acc := account(list, "of two drawn at random by weight, the smaller load for its weight; of equal ones the first drawn",
		"(256 x active + all) / weight", func(s *Server) (float64, bool) {
			v, _ := perWeight(s.Overhead(), s)
			return v, s != overflown && (s == a || s == b)
		})
	for i := range acc.Standings {
		switch st := &acc.Standings[i]; {
		case st.Refusal != 0:
		case st.Server == overflown:
			st.Note = "drawn, but loses: weight times load does not fit 32 bits, as in the kernel"
		case st.Server == a && a == b:
			st.Note = "drawn twice"
		case st.Server == a:
			st.Note = "drawn first"
		case st.Server == b:
			st.Note = "drawn second"
		default:
			st.Refusal = NotDrawn
		}
	}
	return acc
}

// draw draws two of the usable servers, nil if there are none.
func (t *twos) draw(list []*Server) (a, b *Server) {
	var sum int64
	for _, s := range list {
		if s.Usable() {
			sum += int64(s.Weight)
		}
	}
	if sum == 0 {
		return nil, nil
	}
	// Both ends of 0 to sum can be drawn: the first server is as likely as if
	// its weight were 1 more.
	a = walk(list, t.random.Int64N(sum+1))
	return a, walk(list, t.random.Int64N(sum+1))
}

// walk walks the usable servers until their weights have used up r. It is nil
// only if all became overloaded since they were summed up.
func walk(list []*Server, r int64) *Server {
	var last *Server
	for _, s := range list {
		if !s.Usable() {
			continue
		}
		last = s
		if r -= int64(s.Weight); r <= 0 {
			break
		}
	}
	return last
}

package sched

import "math/rand/v2"

func init() {
	register("twos", func(o Options) Scheduler {
		return &twos{random: rand.New(rand.NewPCG(o.Seed, 0))}
	})
}

// twos is the power of two choices (ip_vs_twos.c): of two servers drawn at
// random, by weight, the one with the smaller overhead per weight. Both draws
// may give the same.
type twos struct {
	stateless
	random *rand.Rand
}

func (t *twos) Pick(list []*Server, _ *Request) *Server {
	var sum int64
	for _, s := range list {
		if s.Usable() {
			sum += int64(s.Weight)
		}
	}
	if sum == 0 {
		return nil
	}
	// Both ends of 0 to sum can be drawn: the first server is as likely as if
	// its weight were 1 more.
	a := draw(list, t.random.Int64N(sum+1))
	b := draw(list, t.random.Int64N(sum+1))
	if a == nil || b == nil {
		return a
	}
	// The kernel compares in 32 bits, wrapping.
	if b.Weight*int32(a.Overhead()) > a.Weight*int32(b.Overhead()) {
		return b
	}
	return a
}

// draw walks the usable servers until their weights have used up r. It is nil
// only if all became overloaded since they were summed up.
func draw(list []*Server, r int64) *Server {
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

package sched

func init() { register("rr", func(Options) Scheduler { return &rr{cur: head} }) }

// head is the position before the first server of a list, the list head itself
// in the kernel.
const head = -1

// rr is round robin (ip_vs_rr.c): the servers take turns, weights above 0 count
// alike.
type rr struct {
	cur int // index of the server picked last, or head
}

func (r *rr) Init([]*Server) { r.cur = head }

// Changed keeps cur on its server. When that server leaves, its predecessor
// takes its place, so that its successor is still next.
func (r *rr) Changed(op Op, _ *Server, at int, _ []*Server) {
	switch {
	case op == Add && r.cur != head:
		r.cur++
	case op == Delete && r.cur >= at:
		r.cur--
	}
}

// Pick tries every server once, from the one after cur round to cur itself. In
// an older list cur may lie beyond the end.
func (r *rr) Pick(list []*Server, _ *Request) *Server {
	for i := r.cur + 1; i < len(list); i++ {
		if list[i].Usable() {
			r.cur = i
			return list[i]
		}
	}
	for i := range min(r.cur+1, len(list)) {
		if list[i].Usable() {
			r.cur = i
			return list[i]
		}
	}
	return nil
}

func (r *rr) Clone(func(*Server) *Server) Scheduler {
	c := *r
	return &c
}

func (r *rr) Explain(list []*Server, _ *Request) Account {
	next := r.cur + 1
	if next >= len(list) {
		next = 0
	}
	i := -1
	return account(list, "each in turn"+after(list, r.cur), "places to go in the list", func(s *Server) (float64, bool) {
		for i++; list[i] != s; i++ { // past those that are refused
		}
		return float64((i - next + len(list)) % len(list)), true
	})
}

// after says where a scheduler that goes round the list has got to.
func after(list []*Server, cur int) string {
	if cur < 0 || cur >= len(list) {
		return ", from the head of the list"
	}
	return ", after " + list[cur].String()
}

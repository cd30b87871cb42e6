package sched

import (
	"fmt"
	"math"
)

func init() { register("wrr", func(Options) Scheduler { return &wrr{cur: head} }) }

// wrr is weighted round robin (ip_vs_wrr.c): rounds over the list, each for the
// servers whose weight reaches a threshold that falls from the greatest weight
// in steps of the weights' greatest common divisor.
type wrr struct {
	cur    int   // index of the server picked last, or head
	weight int32 // the threshold of the present round
	max    int32 // the threshold the rounds start with; 0 if no server has a weight
	step   int32 // greatest common divisor of the positive weights, 1 if there are none
}

func (w *wrr) Init(list []*Server) {
	w.measure(list)
	w.weight = w.max
}

// Changed starts over at the list's head, in the round whose threshold is the
// lowest one of the present step: servers that are added one by one leave it
// at 1.
func (w *wrr) Changed(_ Op, _ *Server, _ int, list []*Server) {
	w.measure(list)
	switch {
	case w.weight > w.max || w.weight == 0:
		w.weight = w.max
	case w.step > 1:
		w.weight = w.weight/w.step*w.step + 1
	}
}

// measure sets what follows from the list. Thresholds are 1 above a multiple of
// step, which compares like the multiple above and never reaches 0.
func (w *wrr) measure(list []*Server) {
	var greatest, divisor int32
	for _, s := range list {
		greatest = max(greatest, s.Weight)
		if s.Weight > 0 {
			divisor = gcd(s.Weight, divisor)
		}
	}
	w.cur = head
	w.step = max(divisor, 1)
	w.max = 0
	if greatest > 0 {
		w.max = greatest - (w.step - 1)
	}
}

// Pick goes on from the last server, round by round, and gives up when every
// server was seen at the lowest threshold.
func (w *wrr) Pick(list []*Server, _ *Request) *Server {
	if w.max == 0 {
		return nil
	}
	start := w.cur
	stop := head // where the search ends inside the list, if anywhere
	var lastRound, restarted bool
	for i := start + 1; ; i = 0 {
		greatest := int32(math.MaxInt32) // weight not overloaded, if the round is whole
		if i == 0 {
			greatest = 0
		}
		for ; i < len(list); i++ {
			s := list[i]
			if !s.Overloaded.Load() {
				if s.Weight >= w.weight {
					w.cur = i
					return s
				}
				greatest = max(greatest, s.Weight)
			}
			if i == stop {
				w.cur = i
				return nil
			}
		}
		w.lower(greatest)
		if w.weight <= 0 {
			w.weight = w.max
			if lastRound || start == head {
				w.cur = head
				return nil
			}
			restarted = true
		}
		lastRound = w.weight <= w.step
		if lastRound && restarted && start != head {
			stop = start
		}
	}
}

// lower goes on to the next threshold, or past those above the greatest weight
// to be had: their rounds would be in vain, and with weights far apart there
// may be millions. The last round is not skipped, for its end is what counts.
func (w *wrr) lower(greatest int32) {
	w.weight -= w.step
	if floor := max(greatest, w.step); w.weight > floor {
		w.weight -= (w.weight - floor + w.step - 1) / w.step * w.step
	}
}

// gcd returns the greatest common divisor; gcd(x, 0) is x.
func gcd(a, b int32) int32 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

func (w *wrr) Clone(func(*Server) *Server) Scheduler {
	c := *w
	return &c
}

// foreseen bounds the picks that Explain looks ahead.
const foreseen = 1000

// Explain has a copy pick until each server had its turn, as far as that is not
// too long.
func (w *wrr) Explain(list []*Server, req *Request) Account {
	turn := make(map[*Server]int, len(list))
	ahead := *w
	for n := 1; n <= foreseen && len(turn) < len(list); n++ {
		s := ahead.Pick(list, req)
		if s == nil {
			break
		}
		if turn[s] == 0 {
			turn[s] = n
		}
	}
	rule := fmt.Sprintf("turns by weight%s, in a round for weights from %d up, in steps of %d", after(list, w.cur), w.weight, w.step)
	a := account(list, rule, "next turn", func(s *Server) (float64, bool) { return float64(turn[s]), turn[s] != 0 })
	for i := range a.Standings {
		if st := &a.Standings[i]; st.Refusal == 0 && !st.Counts {
			st.Note = fmt.Sprintf("not within the next %d turns", foreseen)
		}
	}
	return a
}

package schedtest

import (
	"fmt"
	"math"

	"vsnat/sched"
)

// checkForesight takes two services through the same history. One is asked before
// every pick what that will be, by an account and by a clone: both must be right,
// and the other service, which is never asked, must pick the same all along.
func checkForesight(subject Subject) error {
	asked, left := newBench(subject), newBench(subject)
	for step := range 10_000 {
		did := asked.happen()
		left.happen()
		asked.tick() // what is due has been done when an account is asked for
		left.tick()
		asked.next()
		clone, twins := asked.clone()
		account := asked.sched.Explain(asked.list, &asked.req)
		req := asked.req
		foreseen := clone.Pick(twins, &req)
		s := asked.sched.Pick(asked.list, &asked.req)
		other := left.pick()
		where := fmt.Sprintf("step %d, after %q, %d servers", step, did, len(asked.list))
		if name(foreseen) != name(s) {
			return fmt.Errorf("%s: the clone picked %s, and then %s was picked", where, name(foreseen), name(s))
		}
		if name(other) != name(s) {
			return fmt.Errorf("%s: %s was picked, and %s had been without asking before", where, name(s), name(other))
		}
		if err := asked.agrees(&account, s); err != nil {
			return fmt.Errorf("%s: %q: %w", where, account.Rule, err)
		}
		asked.opens(s)
		left.opens(other)
	}
	return nil
}

func name(s *sched.Server) string {
	if s == nil {
		return "none"
	}
	return s.String()
}

// clone returns the service's scheduler and list for another world.
func (b *bench) clone() (sched.Scheduler, []*sched.Server) {
	twins := map[*sched.Server]*sched.Server{}
	twin := func(s *sched.Server) *sched.Server {
		t := twins[s]
		if t == nil {
			t = new(sched.Server)
			s.Copy(t)
			twins[s] = t
		}
		return t
	}
	list := make([]*sched.Server, len(b.list))
	for i, s := range b.list {
		list[i] = twin(s)
	}
	return b.sched.Clone(twin), list
}

// agrees holds an account against what was picked.
func (b *bench) agrees(a *sched.Account, picked *sched.Server) error {
	if len(a.Standings) != len(b.list) {
		return fmt.Errorf("%d standings of %d servers", len(a.Standings), len(b.list))
	}
	if a.Rule == "" {
		return fmt.Errorf("no rule is told")
	}
	var best *sched.Standing
	var own *sched.Standing
	for i := range a.Standings {
		st := &a.Standings[i]
		switch {
		case st.Server != b.list[i]:
			return fmt.Errorf("standing %d is not of the server there", i)
		case st.Refusal != 0 && st.Counts:
			return fmt.Errorf("%s is refused (%s), and its value counts", st.Server, st.Refusal)
		case math.IsNaN(st.Value) || math.IsInf(st.Value, 0):
			return fmt.Errorf("%s has the value %v", st.Server, st.Value)
		}
		if st.Server == picked {
			own = st
		}
		if st.Counts && (best == nil || better(a, st.Value, best.Value)) {
			best = st
		}
	}
	switch {
	case picked == nil && best == nil:
	case picked == nil:
		return fmt.Errorf("%s had the best value, %v, and none was picked", best.Server, best.Value)
	case own == nil:
		return fmt.Errorf("%s was picked, which has no standing", picked)
	case own.Refusal != 0 || !own.Counts:
		return fmt.Errorf("%s was picked, whose standing is %+v", picked, *own)
	case better(a, best.Value, own.Value):
		return fmt.Errorf("%s was picked with the value %v, while %s had %v", picked, own.Value, best.Server, best.Value)
	}
	return nil
}

// better reports whether one value is better than another by more than rounding:
// schedulers compare without it.
func better(a *sched.Account, one, other float64) bool {
	if a.Greatest {
		one, other = -one, -other
	}
	return one < other-1e-9*math.Abs(other)
}

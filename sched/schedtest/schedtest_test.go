package schedtest

import (
	"slices"
	"testing"

	"vsnat/sched"
)

// broken breaks one law through its pick function; n counts the picks.
type broken struct {
	n       int
	old     []*sched.Server
	pick    func(b *broken, list []*sched.Server) *sched.Server
	clone   func(b *broken) *broken
	explain func(b *broken, a *sched.Account)
}

func (b *broken) Init(list []*sched.Server) { b.old = list }

func (b *broken) Changed(_ sched.Op, _ *sched.Server, _ int, list []*sched.Server) {
	if len(list) > len(b.old) {
		b.old = list
	}
}

func (b *broken) Pick(list []*sched.Server, _ *sched.Request) *sched.Server {
	b.n++
	return b.pick(b, list)
}

func (b *broken) Clone(twin func(*sched.Server) *sched.Server) sched.Scheduler {
	c := *b
	c.old = nil
	for _, s := range b.old {
		c.old = append(c.old, twin(s))
	}
	if b.clone != nil {
		return b.clone(&c)
	}
	return &c
}

// Explain accounts for the first usable server.
func (b *broken) Explain(list []*sched.Server, _ *sched.Request) sched.Account {
	a := sched.Account{Rule: "the first", Standings: make([]sched.Standing, len(list))}
	for i, s := range list {
		a.Standings[i] = sched.Standing{Server: s, Value: float64(i), Counts: s.Usable()}
		if !s.Usable() {
			a.Standings[i].Refusal = sched.NoWeight
		}
	}
	if b.explain != nil {
		b.explain(b, &a)
	}
	return a
}

func first(list []*sched.Server, ok func(*sched.Server) bool) *sched.Server {
	if i := slices.IndexFunc(list, ok); i >= 0 {
		return list[i]
	}
	return nil
}

var sink []byte

// TestLawsCatch shows that each law fails a scheduler that breaks it, and that
// a lawful one passes all.
func TestLawsCatch(t *testing.T) {
	lawful := func(_ *broken, list []*sched.Server) *sched.Server { return first(list, (*sched.Server).Usable) }
	firstShare := func(w []int32) []float64 {
		shares := make([]float64, len(w))
		shares[0] = 1
		return shares
	}
	turns := func(b *broken, list []*sched.Server) *sched.Server {
		if len(list) == 0 {
			return nil
		}
		return list[b.n%len(list)]
	}
	foresight := func(explain func(b *broken, a *sched.Account), clone func(b *broken) *broken) broken {
		return broken{pick: lawful, explain: explain, clone: clone}
	}
	for _, tt := range []struct {
		law string // "" for none
		broken
	}{
		{"", broken{pick: lawful}},
		{"foresight", broken{pick: turns, clone: func(b *broken) *broken { b.n++; return b }}},
		{"foresight", foresight(func(b *broken, _ *sched.Account) { b.pick = turns }, nil)},
		{"foresight", foresight(func(_ *broken, a *sched.Account) { a.Greatest = true }, nil)},
		{"foresight", foresight(func(_ *broken, a *sched.Account) { a.Rule = "" }, nil)},
		{"foresight", foresight(func(_ *broken, a *sched.Account) { a.Standings = a.Standings[:len(a.Standings)/2] }, nil)},
		{"foresight", foresight(func(_ *broken, a *sched.Account) {
			for i := range a.Standings {
				a.Standings[i].Refusal = sched.TooMany
			}
		}, nil)},
		{"empty", broken{pick: func(b *broken, list []*sched.Server) *sched.Server {
			if len(list) == 0 {
				return new(sched.Server)
			}
			return lawful(b, list)
		}}},
		{"quiesced", broken{pick: func(_ *broken, list []*sched.Server) *sched.Server {
			return first(list, func(s *sched.Server) bool { return !s.Overloaded.Load() })
		}}},
		{"overloaded", broken{pick: func(_ *broken, list []*sched.Server) *sched.Server {
			return first(list, func(s *sched.Server) bool { return s.Weight > 0 })
		}}},
		{"changes", broken{pick: func(b *broken, _ []*sched.Server) *sched.Server { return first(b.old, (*sched.Server).Usable) }}},
		{"changes", broken{pick: func(b *broken, list []*sched.Server) *sched.Server {
			if b.n%3_000 == 0 {
				return nil
			}
			return lawful(b, list)
		}}},
		{"changes", broken{pick: func(b *broken, list []*sched.Server) *sched.Server {
			if b.n%3_000 == 0 {
				slices.Reverse(list)
			}
			return lawful(b, list)
		}}},
		{"shares", broken{pick: func(b *broken, list []*sched.Server) *sched.Server {
			if b.n%50 == 0 {
				return lawful(b, list[min(1, len(list)):])
			}
			return lawful(b, list)
		}}},
		{"allocations", broken{pick: func(b *broken, list []*sched.Server) *sched.Server {
			if b.n%500 == 0 {
				sink = make([]byte, 1)
			}
			return lawful(b, list)
		}}},
	} {
		subject := Subject{
			New:       func() sched.Scheduler { b := tt.broken; return &b },
			Shares:    firstShare,
			Tolerance: 0.01,
		}
		failed := map[string]error{}
		for _, law := range laws {
			if err := law.check(subject); err != nil {
				failed[law.name] = err
			}
		}
		if tt.law == "" && len(failed) > 0 {
			t.Errorf("a lawful scheduler failed: %v", failed)
		}
		if tt.law != "" && failed[tt.law] == nil {
			t.Errorf("law %q did not catch its breach", tt.law)
		}
	}
}

package schedtest

import (
	"slices"
	"testing"

	"vsnat/sched"
)

// broken breaks one law through its pick function; n counts the picks.
type broken struct {
	n    int
	old  []*sched.Server
	pick func(b *broken, list []*sched.Server) *sched.Server
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
	for _, tt := range []struct {
		law  string // "" for none
		pick func(b *broken, list []*sched.Server) *sched.Server
	}{
		{"", lawful},
		{"empty", func(b *broken, list []*sched.Server) *sched.Server {
			if len(list) == 0 {
				return new(sched.Server)
			}
			return lawful(b, list)
		}},
		{"quiesced", func(_ *broken, list []*sched.Server) *sched.Server {
			return first(list, func(s *sched.Server) bool { return !s.Overloaded.Load() })
		}},
		{"overloaded", func(_ *broken, list []*sched.Server) *sched.Server {
			return first(list, func(s *sched.Server) bool { return s.Weight > 0 })
		}},
		{"changes", func(b *broken, _ []*sched.Server) *sched.Server { return first(b.old, (*sched.Server).Usable) }},
		{"changes", func(b *broken, list []*sched.Server) *sched.Server {
			if b.n%3_000 == 0 {
				return nil
			}
			return lawful(b, list)
		}},
		{"changes", func(b *broken, list []*sched.Server) *sched.Server {
			if b.n%3_000 == 0 {
				slices.Reverse(list)
			}
			return lawful(b, list)
		}},
		{"shares", func(b *broken, list []*sched.Server) *sched.Server {
			if b.n%50 == 0 {
				return lawful(b, list[min(1, len(list)):])
			}
			return lawful(b, list)
		}},
		{"allocations", func(b *broken, list []*sched.Server) *sched.Server {
			if b.n%500 == 0 {
				sink = make([]byte, 1)
			}
			return lawful(b, list)
		}},
	} {
		subject := Subject{
			New:       func() sched.Scheduler { return &broken{pick: tt.pick} },
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

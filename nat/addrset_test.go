package nat

import (
	"math/rand/v2"
	"testing"
)

func TestAddrSetIsAMap(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		var s addrSet
		model := map[Addr]bool{}
		draw := func() Addr {
			if rnd.IntN(4) == 0 {
				return Addr{0: 0x20, 7: byte(rnd.IntN(2)), 15: byte(rnd.Uint32())}
			}
			return Addr{10: 0xff, 11: 0xff, 12: 10, 14: byte(rnd.IntN(4)), 15: byte(rnd.IntN(256))}
		}
		for range rnd.IntN(600) {
			a := draw()
			s.add(a)
			model[a] = true
		}
		if s.n != len(model) || 2*s.n > len(s.slots) {
			t.Fatalf("%d addresses in %d slots, want %d", s.n, len(s.slots), len(model))
		}
		for a := range model {
			if !s.has(&a) {
				t.Fatalf("%v is missing", a)
			}
		}
		for range 600 {
			if a := draw(); s.has(&a) != model[a] {
				t.Fatalf("%v: %v", a, s.has(&a))
			}
		}
	}
	var empty addrSet
	empty.add(Addr{})
	if empty.has(&Addr{}) || empty.n != 0 {
		t.Error("the zero address is in a set")
	}
}

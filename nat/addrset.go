package nat

import (
	"encoding/binary"
	"math/bits"
)

// addrSet is a set of addresses that every packet is looked up in, for which a
// map takes several times as long. The address :: is never in it. The zero
// value is empty.
type addrSet struct {
	slots []Addr // a power of two, at most half of them in use; zero is free
	n     int
}

func (s *addrSet) has(a *Addr) bool {
	return s.hasWords(binary.LittleEndian.Uint64(a[:8]), binary.LittleEndian.Uint64(a[8:]))
}

// hasWords is has of an address whose halves are these, read little endian.
func (s *addrSet) hasWords(first, second uint64) bool {
	if s.n == 0 {
		return false
	}
	for i := spread(first, second); ; i++ {
		slot := &s.slots[i&(len(s.slots)-1)]
		a, b := binary.LittleEndian.Uint64(slot[:8]), binary.LittleEndian.Uint64(slot[8:])
		if a == first && b == second {
			return a|b != 0
		}
		if a|b == 0 {
			return false
		}
	}
}

// place returns where a is, or would be.
func (s *addrSet) place(a *Addr) int {
	mask := len(s.slots) - 1
	for i := spread(binary.LittleEndian.Uint64(a[:8]), binary.LittleEndian.Uint64(a[8:])); ; i++ {
		if slot := &s.slots[i&mask]; *slot == *a || *slot == (Addr{}) {
			return i & mask
		}
	}
}

// spread returns where an address is looked for first.
func spread(first, second uint64) int {
	// The upper half of a product is mixed best (Fibonacci hashing).
	hi, lo := bits.Mul64(first^second, 0x9e3779b97f4a7c15)
	return int(hi ^ lo>>32)
}

func (s *addrSet) add(a Addr) {
	if 2*s.n >= len(s.slots) {
		old := s.slots
		*s = addrSet{slots: make([]Addr, max(8, 2*len(old)))}
		for _, b := range old {
			if b != (Addr{}) {
				s.add(b)
			}
		}
	}
	if i := s.place(&a); a != (Addr{}) && s.slots[i] == (Addr{}) {
		s.slots[i] = a
		s.n++
	}
}

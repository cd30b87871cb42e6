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

func (s *addrSet) has(a *Addr) bool { return s.hasWords(wordsOf(a)) }

// hasWords is has of an address whose halves are these, read little endian.
func (s *addrSet) hasWords(first, second uint64) bool {
	if s.n == 0 {
		return false
	}
	return s.slots[s.place(first, second)] != Addr{}
}

// place returns where the address with these halves is, or would be.
func (s *addrSet) place(first, second uint64) int {
	mask := len(s.slots) - 1
	// The upper half of a product is mixed best (Fibonacci hashing).
	hi, lo := bits.Mul64(first^second, 0x9e3779b97f4a7c15)
	for i := int(hi ^ lo>>32); ; i++ {
		if a, b := wordsOf(&s.slots[i&mask]); a == first && b == second || a|b == 0 {
			return i & mask
		}
	}
}

// wordsOf returns an address's halves, read little endian.
func wordsOf(a *Addr) (first, second uint64) {
	return binary.LittleEndian.Uint64(a[:8]), binary.LittleEndian.Uint64(a[8:])
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
	if i := s.place(wordsOf(&a)); a != (Addr{}) && s.slots[i] == (Addr{}) {
		s.slots[i] = a
		s.n++
	}
}

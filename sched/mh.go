package sched

import "math/bits"

func init() {
	register("mh", func(o Options) Scheduler { return &mh{size: uint32(o.MHTableSize)} })
}

// mhSizes are the table sizes the kernel can be built with, all prime
// (IP_VS_MH_TAB_INDEX 8 to 17).
var mhSizes = [...]int{251, 509, 1021, 2039, DefaultMHTableSize, 8191, 16381, 32749, 65521, 131071}

// DefaultMHTableSize is what Options.MHTableSize 0 stands for: the kernel's
// default.
const DefaultMHTableSize = 4093

// The keys of the two hashes (ip_vs_mh.c: hash1 and hash2), each used for both
// halves of SipHash's key.
const (
	mhKey1 = 2654435761
	mhKey2 = 2654446892
)

// mh is Maglev hashing (ip_vs_mh.c): like sh a fixed server for each client
// address, or address and port with Flag2 (mh-port), but with few clients moved
// when servers come and go. Flag1 (mh-fallback) tries others when the hashed
// server cannot take the request.
type mh struct {
	size  uint32 // slots, one of mhSizes
	slots []*Server

	// Scratch of rebuild. Claimed slots are marked in taken, which unlike slots
	// fits the fastest cache however large the table.
	turns []mhTurn
	taken []uint64
}

// mhTurn is a server's way through the table while it is filled.
type mhTurn struct {
	pos, skip uint32
	slots     int32 // claimed at each turn
}

var _ Limited = (*mh)(nil)

// MaxServers is the size of the table: each server needs a slot.
func (m *mh) MaxServers() int { return int(m.size) }

func (m *mh) Init(list []*Server) {
	m.slots = make([]*Server, m.size)
	m.taken = make([]uint64, (m.size+63)/64)
	m.rebuild(list)
}

func (m *mh) Changed(_ Op, _ *Server, _ int, list []*Server) { m.rebuild(list) }

// rebuild fills the table: the servers claim slots in turn, each along its own
// permutation of them. It goes by the last weight, so that quiescing a server
// moves nobody else's clients. As in the kernel, a list longer than the table
// leaves the old table in force.
func (m *mh) rebuild(list []*Server) {
	if len(list) > len(m.slots) {
		return
	}
	clear(m.slots)
	clear(m.taken)
	if !m.plan(list) {
		return
	}
	for free := m.size; ; {
		for i, s := range list {
			t := &m.turns[i]
			for range t.slots {
				for m.taken[t.pos/64]>>(t.pos%64)&1 != 0 {
					if t.pos += t.skip; t.pos >= m.size {
						t.pos -= m.size
					}
				}
				m.taken[t.pos/64] |= 1 << (t.pos % 64)
				m.slots[t.pos] = s
				if free--; free == 0 {
					return
				}
			}
		}
	}
}

// plan sets the turns; false if no server ever had a weight.
func (m *mh) plan(list []*Server) bool {
	var greatest, divisor int32
	for _, s := range list {
		greatest = max(greatest, s.LastWeight)
		if s.LastWeight > 0 {
			divisor = gcd(s.LastWeight, divisor)
		}
	}
	if divisor == 0 {
		return false
	}
	// The greatest weight has at most 6 bits left: at most 63 slots a turn.
	shift := max(0, bits.Len32(uint32(greatest/divisor))-6)
	m.turns = m.turns[:0]
	for _, s := range list {
		v := fold(&s.Addr) + uint32(s.Port)
		t := mhTurn{
			pos:   sipHash13(v, mhKey1) % m.size,
			skip:  sipHash13(v, mhKey2)%(m.size-1) + 1,
			slots: s.LastWeight / divisor >> shift,
		}
		if t.slots == 0 && s.LastWeight != 0 {
			t.slots = 1
		}
		m.turns = append(m.turns, t)
	}
	return true
}

func (m *mh) Pick(_ []*Server, req *Request) *Server {
	v := source(req)
	first := sipHash13(v, mhKey1) % m.size
	s := m.slots[first]
	switch {
	case s == nil:
		return nil
	case hashed(s):
		return s
	case req.Flags&fallback == 0:
		return nil
	}
	for off := range m.size {
		if s := m.probe(v, first, off); hashed(s) {
			return s
		}
	}
	return nil
}

// probe returns the server at an offset of the search for another one.
func (m *mh) probe(v, first, off uint32) *Server {
	r := (first + off) % m.size
	return m.slots[sipHash13(v+r, mhKey1)%m.size]
}

// Clone leaves out what only a rebuild needs; it is made then.
func (m *mh) Clone(twin func(*Server) *Server) Scheduler {
	c := &mh{size: m.size, slots: make([]*Server, len(m.slots)), taken: make([]uint64, len(m.taken))}
	twins(c.slots, m.slots, twin)
	return c
}

func (m *mh) Explain(list []*Server, req *Request) Account {
	v := source(req)
	first := sipHash13(v, mhKey1) % m.size
	return explainTable(list, hashRule(req, first, m.size), func(f func(*Server) bool) {
		if !f(m.slots[first]) || m.slots[first] == nil || req.Flags&fallback == 0 {
			return
		}
		for off := uint32(0); off < m.size && f(m.probe(v, first, off)); off++ {
		}
	})
}

// sipHash13 is SipHash with one round for the message and three at the end, of
// the 4 bytes of v in little endian, with the key twice as its 128 bits; the
// lower half of the result (hsiphash_1u32 of 64-bit kernels, lib/siphash.c).
func sipHash13(v uint32, key uint64) uint32 {
	h := sipState{
		0x736f6d6570736575 ^ key,
		0x646f72616e646f6d ^ key,
		0x6c7967656e657261 ^ key,
		0x7465646279746573 ^ key,
	}
	b := 4<<56 | uint64(v) // the length and the last, incomplete word
	h[3] ^= b
	h.round()
	h[0] ^= b
	h[2] ^= 0xff
	h.round()
	h.round()
	h.round()
	return uint32(h[0] ^ h[1] ^ h[2] ^ h[3])
}

type sipState [4]uint64

func (h *sipState) round() {
	h[0] += h[1]
	h[1] = bits.RotateLeft64(h[1], 13) ^ h[0]
	h[0] = bits.RotateLeft64(h[0], 32)
	h[2] += h[3]
	h[3] = bits.RotateLeft64(h[3], 16) ^ h[2]
	h[0] += h[3]
	h[3] = bits.RotateLeft64(h[3], 21) ^ h[0]
	h[2] += h[1]
	h[1] = bits.RotateLeft64(h[1], 17) ^ h[2]
	h[2] = bits.RotateLeft64(h[2], 32)
}

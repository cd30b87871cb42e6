package frag

import (
	"encoding/binary"
	"math/bits"
)

// Table holds a bounded number of datagrams. One goroutine at a time uses it.
type Table[F any] struct {
	seed    uint64
	records []Datagram[F] // 0 is never used; allocated with the first datagram
	buckets []uint32      // first record of each chain
	max     int
	used    int
	// Records are taken in turn, so that the next one is that of the oldest
	// datagram, or free. The turn goes back when the newest is done with: where
	// fragments come one behind another, as mostly, the record that is near is used
	// again.
	turn int
}

// New returns an empty table for at most max datagrams. seed is a secret: who
// does not know it cannot choose datagrams that collide.
func New[F any](max int, seed uint64) *Table[F] { return &Table[F]{seed: seed, max: max} }

// Find returns the datagram of that key, or nil if there is none or it has timed
// out. It is good until the next Make or Done. now is in nanoseconds.
func (t *Table[F]) Find(k *Key, now int64) *Datagram[F] {
	if t.used == 0 {
		return nil
	}
	for n := t.buckets[t.bucket(k)]; n != 0; n = t.records[n].next {
		if d := &t.records[n]; d.key == *k {
			if now-d.since >= Timeout {
				t.remove(n)
				return nil
			}
			return d
		}
	}
	return nil
}

// Make adds a datagram that Find has not found. When the table is full it takes
// the place of the oldest, which displaced tells: a datagram's fragments
// come close behind one another, so that the oldest is the one least likely to
// be waited for.
func (t *Table[F]) Make(k *Key, now int64) (d *Datagram[F], displaced bool) {
	if t.records == nil {
		t.records = make([]Datagram[F], t.max+1)
		t.buckets = make([]uint32, 1<<bits.Len(uint(t.max)))
	}
	t.turn = t.turn%t.max + 1
	n := uint32(t.turn)
	d = &t.records[n]
	if d.since != 0 {
		displaced = now-d.since < Timeout
		t.remove(n)
	}
	b := &t.buckets[t.bucket(k)]
	d.key, d.since, d.next = *k, max(now, 1), *b // the rest of a free one is zero
	if *b != 0 {
		t.records[*b].prev = n
	}
	*b = n
	t.used++
	return d, displaced
}

// Done forgets a datagram.
func (t *Table[F]) Done(k *Key) {
	if t.used == 0 {
		return
	}
	for n := t.buckets[t.bucket(k)]; n != 0; n = t.records[n].next {
		if t.records[n].key == *k {
			t.remove(n)
			if int(n) == t.turn {
				t.turn--
			}
			return
		}
	}
}

// Len returns how many datagrams are remembered, those timed out included.
func (t *Table[F]) Len() int { return t.used }

func (t *Table[F]) remove(n uint32) {
	d := &t.records[n]
	if d.next != 0 {
		t.records[d.next].prev = d.prev
	}
	if d.prev != 0 {
		t.records[d.prev].next = d.next
	} else {
		t.buckets[t.bucket(&d.key)] = d.next
	}
	*d = Datagram[F]{}
	t.used--
}

func (t *Table[F]) bucket(k *Key) int {
	hi, lo := bits.Mul64(t.seed^binary.LittleEndian.Uint64(k.Src[8:])^uint64(k.ID)<<32, 0x9e3779b97f4a7c15^binary.LittleEndian.Uint64(k.Dst[8:]))
	hi, lo = bits.Mul64(hi^lo^uint64(k.Proto), t.seed|1)
	return int(hi^lo) & (len(t.buckets) - 1)
}

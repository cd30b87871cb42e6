package conntrack

import "math/bits"

const (
	// slots is how many entries a line of the index has room for.
	slots = 15
	// perLine is how many connections there are for each line when the table is full.
	// Then one line in 20 has more than its slots, and one connection in 100 is beyond
	// them.
	perLine = 10
)

// line is a cache line of the index: entries, newest first, 0 where there are no more,
// and the first of those that have no room. They hang on one another by their records'
// next, and are older. An entry is a record's number, and in the bits above that some
// of the hash, so that few records are looked at that are not the one.
type line [slots + 1]uint32

// index finds a shard's records by hash, mostly by one cache line. Its size is fixed.
type index struct {
	lines []line
	ids   uint32 // the bits of an entry that are a record's number
}

// line returns where entries of that hash are. The upper bits of its lower half decide.
func (x *index) line(hash uint64) *line {
	return &x.lines[uint64(uint32(hash))*uint64(len(x.lines))>>32]
}

// tag returns what entries of that hash have above the number. The highest eight bits
// of a hash are not in it, as those in a shard have them in common.
func (x *index) tag(hash uint64) uint32 { return uint32(hash>>24) &^ x.ids }

// walk is a search for the records of one hash.
type walk struct {
	line   *line
	found  uint32 // slots that are still to be looked at
	tag    uint32
	beyond uint32 // the next entry that has no slot
}

func (s *Shard) walk(hash uint64) walk {
	l, tag := s.index.line(hash), s.index.tag(hash)
	return walk{l, match(l, tag, s.index.ids) &^ (1 << slots), tag, l[slots]}
}

// more returns the next record that may have the hash, newest first; nil at the end. The
// caller compares.
func (w *walk) more(s *Shard) *Conn {
	if w.found != 0 {
		if c := w.slot(s); c.ref != 0 {
			return c
		}
	}
	return w.rest(s)
}

// slot is more while there are slots to be looked at. In place of an entry that is 0 it
// returns record 0, which is nobody's.
func (w *walk) slot(s *Shard) *Conn {
	e := w.line[bits.TrailingZeros32(w.found)&slots]
	w.found &= w.found - 1
	return s.record(e & s.index.ids)
}

// rest is more for those that have no slot.
func (w *walk) rest(s *Shard) *Conn {
	for w.beyond != 0 {
		e := w.beyond
		c := s.record(e & s.index.ids)
		w.beyond = c.next
		if e&^s.index.ids == w.tag {
			return c
		}
	}
	return nil
}

// enter adds record c in front of the others.
func (s *Shard) enter(c *Conn, hash uint64) {
	x := &s.index
	l, e := x.line(hash), uint32(c.ref)|x.tag(hash)
	for i := range slots {
		was := l[i]
		if store(&l[i], e); was == 0 {
			return
		}
		e = was
	}
	s.record(e & x.ids).next = l[slots]
	store(&l[slots], e)
}

// leave takes record c out.
func (s *Shard) leave(c *Conn) {
	x := &s.index
	l, id := x.line(s.hash(c)), uint32(c.ref)
	for i := range slots {
		if l[i]&x.ids == id {
			s.fill(l, i)
			return
		}
	}
	if l[slots]&x.ids == id {
		store(&l[slots], c.next)
		return
	}
	before := s.record(l[slots] & x.ids)
	for before.next&x.ids != id {
		before = s.record(before.next & x.ids)
	}
	before.next = c.next
}

// fill closes the gap at slot i of line l.
func (s *Shard) fill(l *line, i int) {
	for ; i < slots-1; i++ {
		if store(&l[i], l[i+1]); l[i] == 0 {
			return
		}
	}
	first := l[slots]
	store(&l[i], first)
	if first != 0 {
		c := s.record(first & s.index.ids)
		store(&l[slots], c.next)
		c.next = 0
	}
}

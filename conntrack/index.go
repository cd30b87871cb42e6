package conntrack

import (
	"math/bits"
	"sync/atomic"
)

const (
	// slots is how many entries a line of the index has room for.
	slots = 15
	// perLine is how many connections there are for each line when the table is full.
	// Then one line in 20 has more than its slots, and one connection in 100 is beyond
	// them.
	perLine = 10
)

// line is a cache line of the index: entries, newest first, 0 where there are no more,
// and the number of a [spill] with the first of those that have no room, which are
// older. An entry is a record's number, and in the bits above that some
// of the hash, so that few records are looked at that are not the one.
type line [slots + 1]uint32

// spill is an entry that has no room in its line, and the number of the next one.
type spill struct{ entry, next uint32 }

// overflow are a shard's spills. There may be as many as connections.
type overflow struct {
	all []spill // immutable: those of the whole table
	own numbers
}

func (o *overflow) bytes() int { return int(o.own.used) * spillSize }

// index finds a shard's records by hash, mostly by one cache line. Its size is fixed.
type index struct {
	lines []line
	ids   uint32 // the bits of an entry that are a record's number
	// entered counts entries, so that a [Hint] can tell that there are none since. Read
	// without the lock, atomically.
	entered uint32
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
	beyond uint32 // the spill with the next entry that has no slot
}

func (s *Shard) walk(hash uint64) walk {
	l, tag := s.index.line(hash), s.index.tag(hash)
	return walk{l, match(l, tag, s.index.ids) &^ (1 << slots), tag, l[slots]}
}

// next is more, and begins the search if it has not begun.
func (w *walk) next(s *Shard, hash uint64) *Conn {
	if w.line == nil {
		*w = s.walk(hash)
	}
	return w.more(s)
}

// more returns the next record that may have the hash, newest first; nil at the end. The
// caller compares.
func (w *walk) more(s *Shard) *Conn {
	if w.found != 0 {
		if c := w.slot(s); c.Flags&inUse != 0 {
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
		o := &s.more.all[w.beyond]
		w.beyond = o.next
		if o.entry&^s.index.ids == w.tag {
			return s.record(o.entry & s.index.ids)
		}
	}
	return nil
}

// enter adds the record with that number in front of the others.
func (s *Shard) enter(id uint32, hash uint64) {
	x := &s.index
	l, e := x.line(hash), id|x.tag(hash)
	for i := range slots {
		was := l[i]
		if store(&l[i], e); was == 0 {
			atomic.AddUint32(&x.entered, 1)
			return
		}
		e = was
	}
	first := s.spill()
	store(&s.more.all[first].entry, e)
	s.more.all[first].next = l[slots]
	store(&l[slots], first)
	atomic.AddUint32(&x.entered, 1)
}

// spill returns the number of a spill that is not in use.
func (s *Shard) spill() uint32 {
	o := &s.more
	if n := o.own.free; n != 0 {
		o.own.free = o.all[n].next
		return n
	}
	return o.own.take(&s.table.spillPool, s.num)
}

// unspill takes the first of a list of spills out of it.
func (o *overflow) unspill(first uint32) (e, next uint32) {
	was := &o.all[first]
	e, next = was.entry, was.next
	was.next, o.own.free = o.own.free, first
	return e, next
}

// leave takes the record with that number out, which is in the index by that hash.
func (s *Shard) leave(id uint32, hash uint64) {
	x := &s.index
	l := x.line(hash)
	for i := range slots {
		if l[i]&x.ids == id {
			s.fill(l, i)
			return
		}
	}
	all := s.more.all
	if all[l[slots]].entry&x.ids == id {
		_, next := s.more.unspill(l[slots])
		store(&l[slots], next)
		return
	}
	before := &all[l[slots]]
	for all[before.next].entry&x.ids != id {
		before = &all[before.next]
	}
	_, before.next = s.more.unspill(before.next)
}

// fill closes the gap at slot i of line l.
func (s *Shard) fill(l *line, i int) {
	for ; i < slots-1; i++ {
		if store(&l[i], l[i+1]); l[i] == 0 {
			return
		}
	}
	e, next := uint32(0), uint32(0)
	if l[slots] != 0 {
		e, next = s.more.unspill(l[slots])
	}
	store(&l[i], e)
	store(&l[slots], next)
}

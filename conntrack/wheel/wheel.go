// Package wheel is a timer wheel without pointers, goroutines or a clock: it
// orders numbered timers by the tick they are due in, and hands them out when
// the caller says what time it is. Setting, moving and deleting a timer take
// constant time.
//
// The wheel has levels of 64 slots. A slot of level 0 is one tick, one of
// level l is 64^l ticks. A timer stands at the level of the highest digit, in
// base 64, in which its tick differs from the current one, and moves down when
// the current tick enters its slot: at most once per level. Seven levels span
// every tick there is, so no timer is too far away, and bitmaps of the slots
// in use make a jump of any length as cheap as what is due in it.
package wheel

import "math/bits"

const (
	tickBits = 26
	// Tick is the wheel's resolution in nanoseconds, about 67 ms.
	Tick = 1 << tickBits

	digit  = 6 // bits of a tick that one level looks at
	slots  = 1 << digit
	levels = 7 // int64 nanoseconds are at most 2^37 ticks, and 7*6 > 38
)

// Node is one timer: its place in a list. When it is due its owner knows.
type Node struct{ next, prev uint32 }

// Wheel is a timer wheel. It is empty and at time 0 when it was given its nodes by Init.
type Wheel struct {
	nodes []Node

	// now is the current tick. Timers in slots are due after it.
	now int64
	// due are the timers due at now or before, down those that left a slot of
	// a higher level and are not yet in their next place: first in the list.
	due, down uint32

	used [levels]uint64 // bit i: slot[level][i] is not empty
	slot [levels][slots]uint32
}

// TickOf returns the first tick that does not begin before the time at, in
// nanoseconds. Times before 0 count as 0.
func TickOf(at int64) int64 {
	if at <= 0 {
		return 0
	}
	return (at-1)>>tickBits + 1
}

// Init makes the wheel ready: timer i is nodes[i]. Wheels may
// have a slice in common, if no two use the same numbers.
func (w *Wheel) Init(nodes []Node) { w.nodes = nodes }

// Set sets timer id, which is not set, to the tick due, and returns
// the tick it is really due in: the next one if due is not after the current
// tick. id is not 0.
func (w *Wheel) Set(id uint32, due int64) int64 {
	due = max(due, w.now+1)
	w.place(id, due)
	return due
}

// Del stops timer id, which is set; due is the tick that Set returned.
func (w *Wheel) Del(id uint32, due int64) {
	n := w.node(id)
	if n.next != 0 {
		w.node(n.next).prev = n.prev
	}
	if n.prev != 0 {
		w.node(n.prev).next = n.next
	} else {
		w.behead(id, n.next, due)
	}
}

// Next says that it is now, in nanoseconds, and takes out and returns one of
// the timers due, or 0. A now before the last one counts as the last one.
//
// Each timer handed out or moved down a level takes 1 from budget; without
// budget Next returns 0 and goes on the next time. due says of a timer that is set what
// Set returned.
func (w *Wheel) Next(now int64, budget *int, due func(id uint32) int64) uint32 {
	target := max(now>>tickBits, w.now)
	for {
		for w.down != 0 {
			if *budget <= 0 {
				return 0
			}
			*budget--
			id := w.pop(&w.down)
			w.place(id, due(id))
		}
		if w.due != 0 {
			if *budget <= 0 {
				return 0
			}
			*budget--
			return w.pop(&w.due)
		}
		if w.now == target || !w.enter(target) {
			w.now = target
			return 0
		}
	}
}

// pop takes the first timer out of a list that is not empty.
func (w *Wheel) pop(head *uint32) uint32 {
	id := *head
	if *head = w.node(id).next; *head != 0 {
		w.node(*head).prev = 0
	}
	return id
}

// enter makes the next slot in use, if it begins no later than target, the
// current time, and empties it into w.due or w.down.
func (w *Wheel) enter(target int64) bool {
	// A lower level's slots all come before a higher one's.
	for l, used := range w.used {
		if used == 0 {
			continue
		}
		i := bits.TrailingZeros64(used)
		shift := uint(l * digit)
		begin := w.now&^(1<<(shift+digit)-1) | int64(i)<<shift
		if begin > target {
			return false
		}
		w.now = begin
		w.used[l] &^= 1 << i
		id := w.slot[l][i]
		w.slot[l][i] = 0
		if l == 0 {
			w.due = id
			return true
		}
		w.down = id
		return true
	}
	return false
}

// place puts timer id, which is in no list, where due says.
func (w *Wheel) place(id uint32, due int64) {
	head := &w.due
	if due > w.now {
		l, i := w.where(due)
		w.used[l] |= 1 << i
		head = &w.slot[l][i]
	}
	n := w.node(id)
	n.next, n.prev = *head, 0
	if *head != 0 {
		w.node(*head).prev = id
	}
	*head = id
}

// behead makes next the first timer of the list that timer id is the first of. Only the first needs to know its list; the others are taken out by
// their neighbours.
func (w *Wheel) behead(id, next uint32, due int64) {
	switch id {
	case w.due:
		w.due = next
	case w.down:
		w.down = next
	default:
		l, i := w.where(due)
		w.slot[l][i] = next
		if next == 0 {
			w.used[l] &^= 1 << i
		}
	}
}

// where returns the slot of a tick after the current one. It stays the same as
// time goes by, until the current tick enters the slot.
func (w *Wheel) where(due int64) (level, slot int) {
	level = (bits.Len64(uint64(due^w.now)) - 1) / digit
	return level, int(due>>(level*digit)) & (slots - 1)
}

func (w *Wheel) node(id uint32) *Node { return &w.nodes[id] }

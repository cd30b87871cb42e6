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

// The lists that timers are in: those of the slots, level by level; those due at the
// current tick or before; and those that left a slot of a higher level and are not yet
// in their next place.
const (
	dueList  = levels * slots
	downList = dueList + 1
	lists    = downList + 1
)

// Node is one timer: its place in a list. The zero value is not set. The first of a list
// has the list's number in place of the one before it, with all bits inverted: no timer
// has so high a number. When it is due its owner knows.
type Node struct{ next, prev uint32 }

// MaxTimer is the highest number that a timer may have.
const MaxTimer = ^uint32(lists)

// Wheel is a timer wheel. It is empty and at time 0 when it was given its nodes by Init.
type Wheel struct {
	nodes []Node

	// now is the current tick. Timers in slots are asked about after it.
	now int64

	used  [levels + 1]uint64 // bit i: list 64*level+i is not empty
	first [lists]uint32      // timer in each list
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

// Set sets timer id, or moves it if it is set, to the tick due, or to the next one if due
// is not after the current tick. id is not 0 and at most MaxTimer.
func (w *Wheel) Set(id uint32, due int64) {
	w.Del(id)
	w.place(id, max(due, w.now+1))
}

// IsSet reports whether timer id is set.
func (w *Wheel) IsSet(id uint32) bool { return w.node(id).prev != 0 }

// Del stops timer id if it is set.
func (w *Wheel) Del(id uint32) {
	n := w.node(id)
	if n.prev == 0 {
		return
	}
	if n.next != 0 {
		w.node(n.next).prev = n.prev
	}
	if n.prev > MaxTimer {
		w.begin(^n.prev, n.next)
	} else {
		w.node(n.prev).next = n.next
	}
	n.prev = 0
}

// Next says that it is now, in nanoseconds, and takes out and returns one of
// the timers due, or 0. A now before the last one counts as the last one.
//
// Each timer handed out or moved down a level takes 1 from budget; without
// budget Next returns 0 and goes on the next time. due says of a timer that is set when
// it is due: the tick that it was set to, or a later one if it has been put off since.
func (w *Wheel) Next(now int64, budget *int, due func(id uint32) int64) uint32 {
	target := max(now>>tickBits, w.now)
	for {
		for w.first[downList] != 0 {
			if *budget <= 0 {
				return 0
			}
			*budget--
			id := w.first[downList]
			w.Del(id)
			w.place(id, due(id))
		}
		if id := w.first[dueList]; id != 0 {
			if *budget <= 0 {
				return 0
			}
			*budget--
			w.Del(id)
			return id
		}
		if w.now == target || !w.enter(target) {
			w.now = target
			return 0
		}
	}
}

// enter makes the next slot in use, if it begins no later than target, the
// current time, and has its timers be due or go down.
func (w *Wheel) enter(target int64) bool {
	// A lower level's slots all come before a higher one's.
	for l, used := range w.used[:levels] {
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
		from, to := uint32(l*slots+i), uint32(downList)
		if l == 0 {
			to = dueList
		}
		id := w.first[from]
		w.begin(from, 0)
		w.begin(to, id)
		w.node(id).prev = ^to
		return true
	}
	return false
}

// begin makes timer id the first of a list, or the list empty if that is 0.
func (w *Wheel) begin(list, id uint32) {
	w.first[list] = id
	if bit := uint64(1) << (list % slots); id != 0 {
		w.used[list/slots] |= bit
	} else {
		w.used[list/slots] &^= bit
	}
}

// place puts timer id, which is in no list, where due says.
func (w *Wheel) place(id uint32, due int64) {
	list := uint32(dueList)
	if due > w.now {
		list = w.where(due)
	}
	n, next := w.node(id), w.first[list]
	n.next, n.prev = next, ^list
	if next != 0 {
		w.node(next).prev = id
	}
	w.begin(list, id)
}

// where returns the slot of a tick after the current one.
func (w *Wheel) where(due int64) uint32 {
	level := (bits.Len64(uint64(due^w.now)) - 1) / digit
	return uint32(level*slots + int(due>>(level*digit))&(slots-1))
}

func (w *Wheel) node(id uint32) *Node { return &w.nodes[id] }

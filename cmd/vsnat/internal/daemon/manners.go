package daemon

import (
	"time"

	"golang.org/x/sys/unix"
)

const (
	// lateWeight is how many wakings in time make up for a late one, and lateMost
	// what they may come to before the thread pushes: three in a row.
	lateWeight, lateMost = 4, 12
	// leastPush and mostPush bound how long it pushes before it tries again not to.
	leastPush, mostPush = time.Second, time.Minute
)

// manners decides whether a thread that wakes takes its CPU from whoever runs there,
// or is merely the next. Who sends and who serves on the same machine runs for some
// tens of microseconds at a time, and to be interrupted for each packet costs both
// sides more than that. But somebody who computes keeps the CPU for milliseconds. So
// the thread waits for its turn until that is seen to take long.
type manners struct {
	late  int           // wakings that were, weighed against those that were not
	push  bool          // it takes the CPU
	since time.Duration // since epoch: when that became as it is
	span  time.Duration // for how long it pushes
}

// woken takes how late the thread woke after the frame that woke it, and returns
// whether push has changed.
func (m *manners) woken(late, now time.Duration) bool {
	if m.push {
		if now-m.since < m.span {
			return false
		}
		m.push, m.since = false, now
		return true
	}
	if late < hogged {
		m.late = max(m.late-1, 0)
		return false
	}
	if m.late += lateWeight; m.late < lateMost {
		return false
	}
	// Soon after the last time, it is the same who computes.
	if now-m.since < m.span {
		m.span = min(2*m.span, mostPush)
	} else {
		m.span = leastPush
	}
	m.late, m.push, m.since = 0, true, now
	return true
}

// behave applies it to the calling thread. One of SCHED_BATCH does not preempt others
// when it wakes, and is otherwise as any (sched(7); check_preempt_wakeup_fair in
// kernel/sched/fair.c). Where that is not allowed, the thread stays as it is.
func (m *manners) behave() {
	attr, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		return
	}
	attr.Policy = unix.SCHED_BATCH
	if m.push {
		attr.Policy = unix.SCHED_NORMAL
	}
	_ = unix.SchedSetAttr(0, attr, 0)
}

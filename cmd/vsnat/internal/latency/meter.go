package latency

import (
	"context"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// meterSleep is how long the meter sleeps each time: 200 times a second it costs
	// a thousandth of a core.
	meterSleep = 5 * time.Millisecond
	// meterRounds is after how many it asks whether to go on, and meterIdle how long
	// after it has stopped.
	meterRounds = 20
	meterIdle   = 200 * time.Millisecond
	// gapFrom is the shortest gap that is kept: to wake takes some tens of
	// microseconds where nothing else goes on.
	gapFrom = 100 * time.Microsecond
	// gapsKept are all that a minute can have.
	gapsKept = 1 << 14
)

// Interval is a time in which something went on, in nanoseconds since 1970.
type Interval struct{ From, To int64 }

// overlap returns for how long of it i went on too.
func (i Interval) overlap(o Interval) int64 {
	return max(min(i.To, o.To)-max(i.From, o.From), 0)
}

// Overlap returns for how long of one interval any of several went on.
func Overlap(of Interval, all []Interval) (sum int64) {
	for _, i := range all {
		sum += i.overlap(of)
	}
	return sum
}

// Meter measures the scheduling gaps of the machine: a thread with the priority
// of a worker sleeps for meterSleep again and again, and what it wakes late by
// beyond gapFrom is a gap. A gap on one CPU of several is seen only if the thread
// was to wake there; a machine that stood still is always seen.
type Meter struct {
	mu   sync.Mutex
	gaps [gapsKept]Interval // guarded by mu; a circle
	next int                // guarded by mu
}

// Run measures until ctx ends, while busy is true: where there is nothing to do, what
// the machine does keeps nobody waiting. The calling goroutine keeps its thread.
func (m *Meter) Run(ctx context.Context, busy func() bool) {
	runtime.LockOSThread() // for good: the thread, with its priority, ends with the goroutine
	// Without the right to it the meter waits longer than workers do that have it.
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), -20)
	for n := 0; ctx.Err() == nil; n++ {
		if n%meterRounds == 0 && !busy() {
			n = -1
			time.Sleep(meterIdle)
			continue
		}
		due := time.Now().Add(meterSleep)
		if errno := doze(meterSleep); errno != 0 && errno != unix.EINTR {
			return // no such clock: no gaps are told
		}
		if late := time.Since(due); late > gapFrom {
			m.add(Interval{due.UnixNano(), due.UnixNano() + int64(late)})
		}
	}
}

func (m *Meter) add(gap Interval) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gaps[m.next%gapsKept] = gap
	m.next++
}

// Gaps returns the gaps that ended since a time.
func (m *Meter) Gaps(from int64) (all []Interval) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := max(m.next-gapsKept, 0); i < m.next; i++ {
		if g := m.gaps[i%gapsKept]; g.To >= from {
			all = append(all, g)
		}
	}
	return all
}

// Pauses returns the pauses of this program for garbage collection that ended
// since a time, up to the last 256.
func Pauses(from int64) (all []Interval) {
	var s debug.GCStats
	debug.ReadGCStats(&s)
	for i, end := range s.PauseEnd {
		if to := end.UnixNano(); to >= from {
			all = append(all, Interval{to - int64(s.Pause[i]), to})
		}
	}
	return all
}

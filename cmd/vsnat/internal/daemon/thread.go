package daemon

import (
	"errors"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"vsnat/nic"
)

const (
	// idleWait bounds the sleep of a thread that has had nothing to do for a while.
	// Who has something to tell it wakes it, but for the devices.
	idleWait = time.Second
	// aloneWait is that of a thread that nobody can wake: its device has no
	// descriptor.
	aloneWait = 100 * time.Millisecond
	// dueEvery is the time between two looks for what is due without frames, while
	// there are some, and the longest sleep while frames are held.
	dueEvery = 5 * time.Millisecond
	// briefUntil is how long there must have been no frame for the thread to tell
	// Go's scheduler that it sleeps; see [sleeper.sleep].
	briefUntil = 10 * time.Millisecond
)

// thread is an OS thread that serves receive queues in turn: it receives, has
// frames judged, sends. The queues may be of several NICs.
type thread struct {
	epoch time.Time // zero of the engine's clock
	ask   func(index int, nextHop nic.Addr)
	log   *zap.Logger

	queues atomic.Pointer[[]*queue] // a list is never changed: control makes a new one
	ports  atomic.Pointer[ports]
	turns  atomic.Uint64 // ended, so that control knows when old queues and ports are unused
	stop   atomic.Bool
	done   chan struct{} // closed when it has ended
	tid    atomic.Int32  // once it runs
	busy   atomic.Int64  // when there was a frame last, in nanoseconds since epoch

	scratch
	sleeper sleeper
	spin    spin
	manners manners
	slept   bool // since the last frame
	woke    time.Time
}

// run is the thread's work. It keeps an OS thread to itself until it is stopped.
func (t *thread) run() {
	runtime.LockOSThread() // for good: the thread, with its priority, ends with this
	t.tid.Store(int32(unix.Gettid()))
	// Like the kernel's own packet work, ours goes before what runs on the
	// same cores. Without the right to it (CAP_SYS_NICE) it does without.
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), -20)
	t.manners.behave()
	defer close(t.done)
	var list *[]*queue
	var begin, due time.Duration // since epoch: of the wait for frames, and of the last look for what is due
	waiting := false
	for ; !t.stop.Load(); t.turns.Add(1) {
		if l := t.queues.Load(); l != list {
			list = l
			t.sleeper.of(*list)
		}
		some := false
		for _, q := range *list {
			if t.serve(q) {
				some = true
			}
		}
		now := time.Since(t.epoch)
		if now-due >= dueEvery {
			due = now
			t.due(*list, now)
		}
		if some {
			t.busy.Store(int64(now))
			if waiting {
				t.spin.found(now-begin, t.slept)
			}
			waiting, t.slept = false, false
			continue
		}
		if !waiting {
			waiting, begin = true, now
			rest(*list)
		}
		switch t.next(now - begin) {
		case yield:
			_, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
			t.spin.yielded(time.Since(t.epoch) - now)
		case sleep:
			t.sleep(*list, now-begin)
		}
	}
}

// next returns what to do when there has been no frame for that long.
func (t *thread) next(idle time.Duration) choice {
	if t.slept {
		return sleep // what woke us was no frame
	}
	return t.spin.next(idle)
}

// serve receives a batch from the queue and does what is to be done with it.
func (t *thread) serve(q *queue) bool {
	if q.failed.Load() {
		return false
	}
	n, err := q.dev.Recv(&t.batch)
	if err != nil && !errors.Is(err, syscall.ENETDOWN) {
		t.log.Warn("NIC is gone", zap.String("nic", q.dev.Name()), zap.Error(err))
		q.failed.Store(true)
		t.sleeper.of(*t.queues.Load())
		return false
	}
	if n == 0 {
		return false
	}
	now := time.Now()
	if t.slept && t.manners.woken(t.late(&t.batch.Frames[0]), now.Sub(t.epoch)) {
		t.manners.behave()
	}
	q.worker.Process(&t.batch, now.Sub(t.epoch).Nanoseconds())
	judged := time.Now()
	t.send(q.worker, *t.ports.Load())
	t.measure(q, &t.batch, now, judged)
	t.finish(q)
	q.dev.Release()
	return true
}

// late returns how long after the kernel received the frame the thread woke; 0 if it
// was awake, or the device does not know.
func (t *thread) late(f *nic.Frame) time.Duration {
	if f.Time == 0 {
		return 0
	}
	return max(time.Duration(t.woke.UnixNano()-f.Time), 0)
}

// due does what is due without frames.
func (t *thread) due(queues []*queue, now time.Duration) {
	for _, q := range queues {
		if q.failed.Load() {
			continue
		}
		if dev, ok := q.dev.(nic.Polled); ok {
			_ = dev.Look() // what is wrong, Recv tells
		}
		q.worker.Idle(now.Nanoseconds())
		t.send(q.worker, *t.ports.Load())
		t.finish(q)
	}
}

// rest tells the workers that no frame waits.
func rest(queues []*queue) {
	for _, q := range queues {
		if !q.failed.Load() {
			q.worker.Rest()
		}
	}
}

func (t *thread) finish(q *queue) {
	for _, a := range q.worker.Asks() {
		t.ask(a.Port, a.NextHop)
	}
	q.worker.Commit()
}

// sleep waits for frames; there have been none for that long.
func (t *thread) sleep(queues []*queue, idle time.Duration) {
	if len(queues) == 1 {
		if _, ok := queues[0].dev.(nic.Polled); !ok {
			t.sleepAlone(queues[0])
			return
		}
	}
	wait, brief := idleWait, idle < briefUntil
	if brief {
		wait = briefUntil
	}
	for _, q := range queues {
		if q.holds() {
			wait = dueEvery
		}
	}
	if err := t.sleeper.sleep(wait, brief); err != nil {
		time.Sleep(aloneWait) // it is not to be expected, and must not keep a CPU busy
	}
	t.slept, t.woke = true, time.Now()
}

// sleepAlone waits for a device that has no descriptor.
func (t *thread) sleepAlone(q *queue) {
	wait := aloneWait
	if q.holds() {
		wait = dueEvery
	}
	if q.failed.Load() {
		time.Sleep(wait)
	} else {
		_ = q.dev.Wait(wait) // what is wrong, Recv tells
	}
	t.slept, t.woke = true, time.Now()
}

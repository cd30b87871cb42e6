package daemon

import (
	"errors"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"vsnat/cmd/vsnat/internal/latency"
	"vsnat/nat"
	"vsnat/nic"
)

const (
	// idleWait bounds one wait for frames, so that a stopped loop ends soon
	// and what is due without frames gets done.
	idleWait = 100 * time.Millisecond
	// heldWait is the bound while frames wait for a neighbour, and the time
	// between two rounds without frames of a worker that does not sleep.
	heldWait = 5 * time.Millisecond
)

// ports are a worker's ways out, by ifindex. A set is never changed: the
// manager gives the worker a new one when a NIC comes or goes.
type ports map[int]nic.Sender

// loop is one worker at work: it receives, has frames judged, sends.
type loop struct {
	dev    nic.Device
	worker *nat.Worker
	epoch  time.Time     // zero of the engine's clock
	spin   time.Duration // how long to look for more frames before sleeping
	ask    func(index int, nextHop nic.Addr)
	log    *zap.Logger

	ports  atomic.Pointer[ports]
	rounds atomic.Uint64 // ends of rounds, so that closing knows old ports are unused
	stop   atomic.Bool
	done   chan struct{}
	failed atomic.Bool // the device is gone

	// What is measured, replaced by control to begin anew. Of single services there
	// are none unless somebody asked.
	record   atomic.Pointer[latency.Record]
	services atomic.Pointer[serviceRecords]
	tid      atomic.Int32 // of its thread, once it runs
	slept    bool         // since the last batch
	woke     time.Time    // after that
	took     [nic.MaxBatch]int64

	rest   []int // of what the worker let out, frames that are still to be sent
	frames [nic.MaxBatch]*nic.Frame
	which  [nic.MaxBatch]int
	errnos [nic.MaxBatch]syscall.Errno
}

// run is the loop. It keeps an OS thread to itself until it is stopped or the
// device is gone.
func (l *loop) run() {
	runtime.LockOSThread() // for good: the thread, with its priority, ends with the loop
	l.tid.Store(int32(unix.Gettid()))
	// Like the kernel's own packet work, ours goes before what runs on the
	// same cores. Without the right to it (CAP_SYS_NICE) it does without.
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), -20)
	defer close(l.done)
	defer l.worker.Close()
	var batch nic.Batch
	var lastFrame, lastRound time.Time
	for !l.stop.Load() {
		n, err := l.dev.Recv(&batch)
		if err != nil && !errors.Is(err, syscall.ENETDOWN) {
			l.log.Warn("NIC is gone", zap.String("nic", l.dev.Name()), zap.Error(err))
			l.failed.Store(true)
			return
		}
		now := time.Now()
		if n > 0 {
			lastFrame, lastRound = now, now
			l.worker.Process(&batch, now.Sub(l.epoch).Nanoseconds())
			judged := time.Now()
			l.send()
			l.measure(&batch, now, judged)
			l.finish()
			l.dev.Release()
			continue
		}
		wait := idleWait
		switch {
		case now.Sub(lastFrame) < l.spin:
			if now.Sub(lastRound) < heldWait {
				continue
			}
			wait = 0 // only to be told of a NIC that went down
		case l.worker.Held() > 0:
			wait = heldWait
		}
		lastRound = now
		if err := l.dev.Wait(wait); errors.Is(err, syscall.ENETDOWN) {
			time.Sleep(idleWait) // down: poll would return at once
		}
		// What woke us may be a frame: it is picked up in the next turn. What
		// is due by the clock is due now.
		l.slept, l.woke = true, time.Now()
		l.worker.Idle(l.woke.Sub(l.epoch).Nanoseconds())
		l.send()
		l.finish()
	}
}

func (l *loop) finish() {
	for _, a := range l.worker.Asks() {
		l.ask(a.Port, a.NextHop)
	}
	l.worker.Commit()
	l.rounds.Add(1)
}

// send transmits what the worker let out: port by port, the frames of each in
// order.
func (l *loop) send() {
	out := l.worker.Out()
	if len(out) == 0 {
		return
	}
	ways := *l.ports.Load()
	l.rest = l.rest[:0]
	for i := range out {
		l.rest = append(l.rest, i)
	}
	for rest := l.rest; len(rest) > 0; {
		port, n := out[rest[0]].Port, 0
		others := rest[:0]
		for _, i := range rest {
			if out[i].Port != port || n == nic.MaxBatch {
				others = append(others, i)
				continue
			}
			l.frames[n], l.which[n] = out[i].Frame, i
			n++
		}
		l.transmit(ways[port], n)
		rest = others
	}
}

// transmit sends the first n of frames, by way of nothing if the port is gone.
func (l *loop) transmit(way nic.Sender, n int) {
	if way == nil {
		for i := range n {
			l.worker.Failed(l.which[i], syscall.ENODEV)
		}
		return
	}
	if way.Send(l.frames[:n], l.errnos[:]) == n {
		return
	}
	for i := range n {
		if l.errnos[i] != 0 {
			l.worker.Failed(l.which[i], l.errnos[i])
		}
	}
}

package bench

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"vsnat/nat"
	"vsnat/nat/wire"
	"vsnat/nic"
)

// timed is what some batches took, in CPU time of the thread: what else the
// machine does meanwhile is not in it.
type timed struct {
	packets int
	total   time.Duration // dealing and judging
	dealing time.Duration // dealing alone, as many again
	mallocs uint64
	gcs     uint32
}

// net returns the engine's own nanoseconds a packet.
func (t *timed) net() float64 {
	return float64((t.total - t.dealing).Nanoseconds()) / float64(t.packets)
}

func (t *timed) gross() float64 { return float64(t.total.Nanoseconds()) / float64(t.packets) }

// watch runs fn and adds what it allocated.
func (t *timed) watch(fn func()) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	fn()
	runtime.ReadMemStats(&after)
	t.mallocs += after.Mallocs - before.Mallocs
	t.gcs += after.NumGC - before.NumGC
}

// established times packets of connections that are there.
func (b *bed) established(w *nat.Worker, h *hand, packets int) (t timed, err error) {
	batches := packets / h.batch.N
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	t.packets = batches * h.batch.N
	before := w.Ledger()
	t.watch(func() {
		start := threadTime()
		for range batches {
			h.deal()
			w.Process(&h.batch, b.now)
			w.Commit()
			b.now += batchTime
		}
		t.total = threadTime() - start
	})
	start := threadTime()
	for range batches {
		h.deal()
	}
	t.dealing = threadTime() - start
	if after := w.Ledger(); after.Forwarded-before.Forwarded != uint64(t.packets) {
		return t, fmt.Errorf("bench: %d packets were forwarded, not %d: %+v", after.Forwarded-before.Forwarded, t.packets, after)
	}
	return t, nil
}

// connect times the first packets of so many connections, in a table that has
// none, and ends them afterwards.
func (b *bed) connect(w *nat.Worker, h *hand, conns int) (t timed, err error) {
	batches := conns / h.batch.N
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	t.packets = batches * h.batch.N
	t.watch(func() {
		start := threadTime()
		for i := range batches {
			h.next(i * h.batch.N)
			w.Process(&h.batch, b.now)
			w.Commit()
			b.now += batchTime
		}
		t.total = threadTime() - start
	})
	start := threadTime()
	for i := range batches {
		h.next(i * h.batch.N)
	}
	t.dealing = threadTime() - start
	if got := b.engine.Table().Len(); got != t.packets {
		return t, fmt.Errorf("bench: %d of %d connections came to be: %+v", got, t.packets, w.Ledger())
	}
	// All timers are of minutes at most here.
	for b.now += time.Hour.Nanoseconds(); b.engine.Expire(b.now, t.packets) > 0; {
	}
	if got := b.engine.Table().Len(); got != 0 {
		return t, fmt.Errorf("bench: %d connections do not end", got)
	}
	return t, nil
}

// side is one worker of a pair, what it is dealt, and the CPU that it is held to: CPUs
// may differ by more than workers do, so that both at once are to be compared with each
// alone on the same one.
type side struct {
	worker *nat.Worker
	hand   *hand
	cpu    int
}

func (b *bed) side(nicIndex int, h *hand, cpu int) *side {
	return &side{b.engine.NewWorker(nicIndex), h, cpu}
}

// filled returns an engine with so many connections.
func filled(conns int) (*bed, error) {
	b, err := newBed(conns)
	if err != nil {
		return nil, err
	}
	return b, b.fill(conns)
}

// apart returns a worker with half of the clients, and one of another engine that has as
// many clients as that.
func (b *bed) apart(other *bed, cpus []int) [2]*side {
	half := b.conns / 2
	return [2]*side{
		b.side(bedClients, newHand(nic.MaxBatch/2, wire.ACK, 0, half, nil), cpus[0]),
		other.side(bedClients, newHand(nic.MaxBatch/2, wire.ACK, 0, half, nil), cpus[1]),
	}
}

// disjoint returns two workers with half of the clients each.
func (b *bed) disjoint(cpus []int) [2]*side {
	half := b.conns / 2
	return [2]*side{
		b.side(bedClients, newHand(nic.MaxBatch/2, wire.ACK, 0, half, nil), cpus[0]),
		b.side(bedClients, newHand(nic.MaxBatch/2, wire.ACK, half, half, nil), cpus[1]),
	}
}

// shared returns two workers for the two directions of the same flows.
func (b *bed) shared(cpus []int) [2]*side {
	return [2]*side{
		b.side(bedClients, newHand(nic.MaxBatch/2, wire.ACK, 0, b.conns, nil), cpus[0]),
		b.side(bedServers, newHand(nic.MaxBatch/2, wire.ACK, 0, b.conns, b.server), cpus[1]),
	}
}

// pace is packets a second of time, and of the thread's CPU time: without what
// it was kept waiting for, be it by the machine or by a lock.
type pace struct{ wall, cpu float64 }

// together runs workers at once and returns the sum of their paces. They begin
// together, and each works for the time d.
func (b *bed) together(d time.Duration, sides ...*side) (sum pace, err error) {
	paces := make([]pace, len(sides))
	errs := make(chan error, len(sides))
	var ready sync.WaitGroup
	var begin atomic.Bool
	ready.Add(len(sides))
	for i, s := range sides {
		go func() {
			pinned := hold(s.cpu)
			now := b.now
			before := s.worker.Ledger()
			ready.Done()
			for !begin.Load() {
				runtime.Gosched()
			}
			start, startCPU := time.Now(), threadTime()
			var packets int
			var took time.Duration
			for took < d {
				for range 64 {
					s.hand.deal()
					s.worker.Process(&s.hand.batch, now)
					s.worker.Commit()
					now += batchTime
					packets += s.hand.batch.N
				}
				took = time.Since(start)
			}
			paces[i] = pace{float64(packets) / took.Seconds(), float64(packets) / (threadTime() - startCPU).Seconds()}
			if after := s.worker.Ledger(); after.Forwarded-before.Forwarded != uint64(packets) {
				errs <- fmt.Errorf("bench: %d packets were forwarded, not %d: %+v", after.Forwarded-before.Forwarded, packets, after)
				return
			}
			errs <- pinned
		}()
	}
	ready.Wait()
	begin.Store(true)
	for range sides {
		if e := <-errs; e != nil {
			err = e
		}
	}
	b.now += d.Nanoseconds()
	for _, p := range paces {
		sum.wall += p.wall
		sum.cpu += p.cpu
	}
	return sum, err
}

// threadTime returns the CPU time of the calling thread.
func threadTime() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t) // never fails
	return time.Duration(t.Nano())
}

// resident returns the process's resident memory in bytes, freed memory given
// back first.
func resident() (int, error) {
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, fmt.Errorf("bench: %w", err)
	}
	fields := bytes.Fields(text)
	if len(fields) < 2 {
		return 0, fmt.Errorf("bench: /proc/self/statm says %q", text)
	}
	pages, err := strconv.Atoi(string(fields[1]))
	if err != nil {
		return 0, fmt.Errorf("bench: /proc/self/statm: %w", err)
	}
	return pages * os.Getpagesize(), nil
}

// available returns how much memory the machine can spare, in bytes; 0 if it
// does not say.
func available() int {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(text) {
		if f := bytes.Fields(line); len(f) > 1 && string(f[0]) == "MemAvailable:" {
			kilobytes, _ := strconv.Atoi(string(f[1])) // the kernel writes a number
			return kilobytes << 10
		}
	}
	return 0
}

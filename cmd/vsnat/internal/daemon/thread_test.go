package daemon

import (
	"net/netip"
	"syscall"
	"testing"
	"time"

	"vsnat/nat"
	"vsnat/nat/wire"
	"vsnat/nic"
)

// from is the client with that port.
func from(port int) netip.AddrPort { return netip.AddrPortFrom(client.Addr(), uint16(port)) }

// run1 has a thread that does not run judge and send these frames as one batch.
func run1(l *one, frames ...*nic.Frame) {
	b := nic.Batch{N: len(frames)}
	for i, f := range frames {
		b.Frames[i] = *f
	}
	l.worker.Process(&b, time.Since(l.epoch).Nanoseconds())
	l.send(l.worker, *l.ports.Load())
	l.finish(l.queue)
}

func TestThreadCarriesBothWays(t *testing.T) {
	e, _ := newEngine(t)
	nearC, clients := newWire(t, clientNIC)
	nearS, servers := newWire(t, serverNIC)
	nearO, others := newWire(t, otherNIC)
	ways := ports{clientNIC: nearC, serverNIC: nearS, otherNIC: nearO}
	var loops []*one
	for _, dev := range []nic.Device{nearC, nearS, nearO} {
		l := newOne(e, dev, ways)
		loops = append(loops, l)
		go l.run()
	}
	clients.send(segment(clientNIC, from(1), vip, wire.SYN))
	if got := others.receive(); got != (flow{from(1), other}) {
		t.Errorf("at the first server: %v", got)
	}
	others.send(segment(otherNIC, other, from(1), wire.SYN|wire.ACK))
	if got := clients.receive(); got != (flow{vip, from(1)}) {
		t.Errorf("at the client: %v", got)
	}
	clients.send(segment(clientNIC, from(2), vip, wire.SYN))
	if got := servers.receive(); got != (flow{from(2), server}) {
		t.Errorf("at the second server: %v", got)
	}
	clients.send(segment(clientNIC, from(3), vip, wire.ACK)) // of no connection
	if got := clients.receive(); got != (flow{vip, from(3)}) {
		t.Errorf("the answer: %v", got)
	}
	sum := loops[0].end(t)
	for _, l := range loops[1:] {
		o := l.end(t)
		sum.Add(&o)
	}
	if sum.Received != 4 || sum.Forwarded != 3 || sum.Replied != 1 {
		t.Errorf("ledger %+v", sum)
	}
	if n := countOf(&loops[0].record.Load().Sent); n != 3 {
		t.Errorf("%d latencies of frames that left, want 3", n)
	}
}

// Frames that leave by the same NIC are handed to it together, in order,
// whatever stands between them.
func TestThreadSendsPortByPort(t *testing.T) {
	e, _ := newEngine(t)
	dev, _ := newWire(t, clientNIC)
	toServer, toOther, toClient := &recorder{t: t}, &recorder{t: t}, &recorder{t: t}
	l := newOne(e, dev, ports{clientNIC: toClient, serverNIC: toServer, otherNIC: toOther})
	var frames []*nic.Frame
	for i := range 8 { // rr: every other one to .12
		frames = append(frames, segment(clientNIC, from(1000+i), vip, wire.SYN))
	}
	frames = append(frames, segment(clientNIC, from(1), vip, wire.ACK)) // answered by a reset
	run1(l, frames...)
	for name, c := range map[string]struct {
		rec   *recorder
		first int
		to    netip.AddrPort
	}{"first": {toOther, 1000, other}, "second": {toServer, 1001, server}} {
		if len(c.rec.calls) != 1 || len(c.rec.calls[0]) != 4 {
			t.Errorf("%s server: sent in %d turns: %v", name, len(c.rec.calls), c.rec.calls)
			continue
		}
		for i, f := range c.rec.calls[0] {
			if f != (flow{from(c.first + 2*i), c.to}) {
				t.Errorf("%s server, frame %d: %v", name, i, f)
			}
		}
	}
	if len(toClient.calls) != 1 || len(toClient.calls[0]) != 1 {
		t.Errorf("answers: %v", toClient.calls)
	}
	if got := l.worker.Ledger(); got.Forwarded != 8 || got.Replied != 1 || got.Received != 9 {
		t.Errorf("ledger %+v", got)
	}
}

// More frames than a batch leave at once when frames that waited are let go.
func TestThreadSendsMoreThanABatch(t *testing.T) {
	e, r := newEngine(t)
	r.resolve(serverNIC, false)
	r.resolve(otherNIC, false)
	dev, _ := newWire(t, clientNIC)
	toServer, toOther := &recorder{t: t}, &recorder{t: t}
	l := newOne(e, dev, ports{serverNIC: toServer, otherNIC: toOther})
	syns := func(first int) (all []*nic.Frame) {
		for i := range nic.MaxBatch {
			all = append(all, segment(clientNIC, from(first+i), vip, wire.SYN))
		}
		return all
	}
	asked := 0
	l.ask = func(int, nic.Addr) { asked++ }
	run1(l, syns(1000)...)
	if held := l.worker.Held(); held != nic.MaxBatch || asked == 0 {
		t.Fatalf("%d frames wait, %d requests to resolve", held, asked)
	}
	for _, index := range []int{serverNIC, otherNIC} {
		r.resolve(index, true)
	}
	e.SetRoutes(&fakeRoutes{unresolved: map[int]bool{}})
	run1(l, syns(2000)...)
	for _, rec := range []*recorder{toServer, toOther} {
		if rec.n != nic.MaxBatch {
			t.Errorf("%d frames left, want %d", rec.n, nic.MaxBatch)
		}
		for _, c := range rec.calls {
			for i := 1; i < len(c); i++ {
				if c[i].src.Port() <= c[i-1].src.Port() {
					t.Fatalf("out of order: %v", c)
				}
			}
		}
	}
	if got := l.worker.Ledger(); got.Forwarded != 2*nic.MaxBatch || got.Held != 0 || !got.Balanced() {
		t.Errorf("ledger %+v", got)
	}
}

// A frame that is not sent is dropped for the kernel's reason; the others of
// its batch are not.
func TestThreadCountsWhatIsNotSent(t *testing.T) {
	for _, c := range []struct {
		errno syscall.Errno
		want  nat.Reason
	}{
		{syscall.EMSGSIZE, nat.TxTooBig},
		{syscall.ENOBUFS, nat.TxNoBuffer},
		{syscall.EAGAIN, nat.TxNoBuffer},
		{syscall.ENETDOWN, nat.TxNICDown},
		{syscall.ENXIO, nat.TxNICDown},
		{syscall.EPERM, nat.TxFailed},
	} {
		e, _ := newEngine(t)
		dev, _ := newWire(t, clientNIC)
		toServer := &recorder{t: t, fail: func(frame int) syscall.Errno {
			if frame == 1 {
				return c.errno
			}
			return 0
		}}
		toClient := &recorder{t: t, fail: func(int) syscall.Errno { return c.errno }}
		// No way to .12's NIC: every other frame has none.
		l := newOne(e, dev, ports{serverNIC: toServer, clientNIC: toClient})
		var frames []*nic.Frame
		for i := range 6 {
			frames = append(frames, segment(clientNIC, from(1000+i), vip, wire.SYN))
		}
		frames = append(frames, segment(clientNIC, from(1), vip, wire.ACK))
		run1(l, frames...)
		got := l.worker.Ledger()
		want := nat.Ledger{Received: 7, Forwarded: 2}
		want.Dropped[nat.TxNICDown] = 3
		want.Dropped[c.want] += 2
		if got != want {
			t.Errorf("%v: ledger %+v, want %+v", c.errno, got, want)
		}
	}
}

func TestThreadNoticesThatItsNICIsGone(t *testing.T) {
	e, r := newEngine(t)
	r.resolve(otherNIC, false)
	dev, clients := newWire(t, clientNIC)
	l := newOne(e, dev, ports{})
	go l.run()
	clients.send(segment(clientNIC, from(1), vip, wire.SYN))
	eventually(t, "the frame waits", func() bool { return l.worker.Ledger().Held == 1 })
	dev.Remove()
	eventually(t, "the thread notices", l.failed.Load)
	if got := l.end(t); got.Held != 0 || got.Dropped[nat.Abandoned] != 1 {
		t.Errorf("ledger %+v", got)
	}
}

func TestThreadOutlivesADownNIC(t *testing.T) {
	e, _ := newEngine(t)
	dev, clients := newWire(t, clientNIC)
	nearO, others := newWire(t, otherNIC)
	l := newOne(e, dev, ports{otherNIC: nearO})
	go l.run()
	dev.Down()
	eventually(t, "turns go on while the NIC is down", func() bool { return l.turns.Load() > 1 })
	dev.Up()
	clients.send(segment(clientNIC, from(1), vip, wire.SYN))
	if got := others.receive(); got != (flow{from(1), other}) {
		t.Errorf("at the server: %v", got)
	}
	l.end(t)
	if l.failed.Load() {
		t.Error("counts as gone")
	}
}

// A thread that looks for frames without sleeping does all else too: it sees
// new ports, lets frames go that waited, and ends.
func TestSpinningThreadDoesWhatIsDue(t *testing.T) {
	e, r := newEngine(t)
	r.resolve(otherNIC, false)
	dev, clients := newWire(t, clientNIC)
	nearO, others := newWire(t, otherNIC)
	l := newOne(e, dev, ports{otherNIC: nearO})
	l.spin = spin{bound: time.Hour, window: time.Hour}
	go l.run()
	clients.send(segment(clientNIC, from(1), vip, wire.SYN))
	eventually(t, "the frame waits", func() bool { return l.worker.Ledger().Held == 1 })
	quiet := make(chan struct{})
	go func() { quiesce([]*hand{{thread: l.thread, started: true}}); close(quiet) }()
	select {
	case <-quiet:
	case <-time.After(patience):
		t.Fatal("turns never end while the thread spins")
	}
	e.SetRoutes(&fakeRoutes{unresolved: map[int]bool{}})
	if got := others.receive(); got != (flow{from(1), other}) {
		t.Errorf("at the server: %v", got)
	}
	l.end(t)
}

package nat

import (
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"vsnat/conntrack"
	"vsnat/nat/wire"
	"vsnat/nic"
	"vsnat/sched"
)

// TestExplainBesideWorkers asks while workers judge, servers come and go, and
// connections end. What it says cannot be checked then; that it says something, and
// that the counts of connections are right in the end, can. A trace is taken from
// meanwhile. The race detector does the rest.
func TestExplainBesideWorkers(t *testing.T) {
	b := newBed(t, Options{Conns: conntrack.Config{Max: 500}})
	b.command("-E -t 192.0.2.1:80 -s wlc -p 2", "-a -t 192.0.2.1:80 -r 10.0.0.12:8080 -m -w 2")
	var clock atomic.Int64
	clock.Store(1e9)
	const rounds = 400
	var work sync.WaitGroup
	stop := make(chan struct{})
	run := func(f func(n int)) {
		work.Go(func() {
			for n := range rounds {
				f(n)
			}
		})
	}
	trace, err := b.e.Trace(TraceFilter{})
	if err != nil {
		t.Fatal(err)
	}
	for index, w := range b.workers {
		run(func(n int) {
			var batch nic.Batch
			for i := range 8 {
				src := netip.AddrPortFrom(netip.AddrFrom4([4]byte{100, 0, 0, byte(n + i)}), uint16(1024+i))
				f := packet(ProtoTCP, src, vip, wire.SYN, nil)
				if index == serverNIC {
					f = packet(ProtoTCP, rip, src, wire.SYN|wire.ACK, nil)
				}
				batch.Frames[i] = f
				batch.N++
			}
			w.Process(&batch, clock.Add(1e6))
			w.Commit()
		})
	}
	run(func(n int) {
		line := fmt.Sprintf("-e -t 192.0.2.1:80 -r 10.0.0.12:8080 -m -w %d -x %d", n%3, n%7)
		switch n % 10 {
		case 3:
			line = "-d -t 192.0.2.1:80 -r 10.0.0.12:8080"
		case 4:
			line = "-a -t 192.0.2.1:80 -r 10.0.0.12:8080 -m"
		case 5:
			line = "-E -t 192.0.2.1:80 -p 2 -s " + sched.Names()[n/10%len(sched.Names())]
		}
		_ = command(b.e, line) // some are refused
	})
	traced := 0
	var asking sync.WaitGroup
	asking.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			q := Question{Src: netip.AddrPortFrom(netip.AddrFrom4([4]byte{100, 0, 0, byte(n)}), uint16(1024+n%8)), Dst: vip}
			d, err := b.e.Explain(q, clock.Load())
			if err != nil || d.Verdict == (Verdict{}) {
				t.Errorf("%+v, %v", d, err)
			}
			all, _ := trace.Take()
			traced += len(all)
			for _, d := range all {
				told(d)
			}
			b.e.Expire(clock.Load(), 100)
			b.e.Tick(clock.Load())
		}
	})
	work.Wait()
	close(stop)
	asking.Wait()
	if traced == 0 {
		t.Error("nothing was traced")
	}
	for b.e.Expire(clock.Add(1e12), 1000) > 0 {
	}
	b.e.Update(func(tx *Tx) {
		for _, s := range tx.Services() {
			for _, srv := range append(s.Servers, s.Removed...) {
				if srv.Active != 0 || srv.Inactive != 0 || srv.Persistent != 0 {
					t.Errorf("%+v has connections, and there are %d", srv.Key, b.e.Table().Len())
				}
			}
		}
	})
}

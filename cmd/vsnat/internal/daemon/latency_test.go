package daemon

import (
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/cmd/vsnat/internal/latency"
	"vsnat/nat"
	"vsnat/nat/wire"
	"vsnat/nic"
)

// measureOnce has a thread that does not run judge these frames, which the kernel
// received that long ago, as one batch.
func measureOnce(l *one, ago []time.Duration, frames ...*nic.Frame) {
	b := nic.Batch{N: len(frames)}
	picked := time.Now()
	for i, f := range frames {
		b.Frames[i] = *f
		b.Frames[i].Time = picked.Add(-ago[i]).UnixNano()
	}
	l.worker.Process(&b, picked.Sub(l.epoch).Nanoseconds())
	judged := time.Now()
	l.send(l.worker, *l.ports.Load())
	l.measure(l.queue, &b, picked, judged)
	l.slept = false
	l.finish(l.queue)
}

func countOf(h *latency.Histogram) uint64 {
	var s latency.Snapshot
	s.Add(h)
	return s.Summarize(1).Count
}

// Frames that left are counted, and the slowest of a batch is kept with what it
// was and where its time went.
func TestMeasure(t *testing.T) {
	e, _ := newEngine(t)
	dev, _ := newWire(t, clientNIC)
	way := &recorder{t: t}
	l := newOne(e, dev, ports{clientNIC: way, serverNIC: way, otherNIC: way})
	l.slept, l.woke = true, time.Now().Add(-time.Second)
	arp := &nic.Frame{Buf: make([]byte, nic.VNetHdrLen+60)} // passed: not ours
	measureOnce(l, []time.Duration{2 * time.Second, 3 * time.Second, 9 * time.Second, time.Millisecond},
		segment(clientNIC, from(1), vip, wire.SYN), // forwarded
		segment(clientNIC, from(2), vip, wire.SYN), // forwarded
		arp,
		segment(clientNIC, from(3), vip, wire.ACK)) // answered with a reset
	r := l.record.Load()
	for name, h := range map[string]*latency.Histogram{"verdict": &r.Verdict, "sent": &r.Sent, "receive": &r.Receive} {
		if n := countOf(h); n != 3 {
			t.Errorf("%s: %d packets, want 3", name, n)
		}
	}
	slow := r.Slowest.Since(0, nil)
	if len(slow) != 1 {
		t.Fatalf("%d slow packets, want the slowest of the batch", len(slow))
	}
	p := &slow[0]
	parts := p.Parts()
	// It waited 3 s, in the first two of which the worker slept.
	if total := time.Duration(p.Total()); total < 3*time.Second || total > 3*time.Second+patience {
		t.Errorf("it took %v", total)
	}
	if w := time.Duration(parts.WakeUp); w < 2*time.Second-time.Millisecond || w > 2*time.Second+patience || time.Duration(parts.Ring) > time.Second+patience {
		t.Errorf("parts %+v", parts)
	}
	if d := p.Record.Decision(); d.Verdict.Kind != p.Kind || d.NIC != clientNIC || d.Before.SrcPort != from(2).Port() || d.Service == nil || d.Connection == nil || len(d.Out) != 1 {
		t.Errorf("decided %+v", d)
	}
	s := &p.Subject
	if endpointText(s.Src, s.SrcPort) != from(2).String() || endpointText(s.Dst, s.DstPort) != vip.String() || !s.Owned ||
		serviceID(s.Service).Address != vip.Addr() || p.Batch != 4 {
		t.Errorf("%+v", p)
	}
	// The next batch did not have to wait for the worker to wake.
	measureOnce(l, []time.Duration{time.Second}, segment(clientNIC, from(1), vip, wire.ACK))
	for _, p := range r.Slowest.Since(0, nil) {
		if endpointText(p.Subject.Src, p.Subject.SrcPort) == from(1).String() && p.Slept {
			t.Errorf("slept before the second batch: %+v", p)
		}
	}
}

// Neither does a batch whose oldest packet is among the slowest, by either way.
func TestMeasureAllocatesNothing(t *testing.T) {
	e, _ := newEngine(t)
	dev, _ := newWire(t, clientNIC)
	l := newOne(e, dev, ports{})
	m := &measured{services: map[nat.ServiceKey]time.Time{serviceKey(&control.ServiceID{Family: control.IPv4, Protocol: control.TCP, Address: vip.Addr(), Port: vip.Port()}): {}}}
	l.services.Store(m.records(nil))
	now, took := time.Now(), time.Millisecond
	for _, frame := range []*nic.Frame{
		{Buf: make([]byte, nic.VNetHdrLen+60)}, // passed
		segment(clientNIC, from(1), vip, wire.SYN),
		segment(clientNIC, from(1), vip, wire.ACK),
	} {
		fresh := slices.Clone(frame.Buf)
		b := nic.Batch{N: 1}
		b.Frames[0] = *frame
		if n := testing.AllocsPerRun(100, func() {
			copy(b.Frames[0].Buf, fresh)
			took += time.Microsecond // slower than those before
			b.Frames[0].Time = now.Add(-took).UnixNano()
			l.worker.Process(&b, now.Sub(l.epoch).Nanoseconds())
			l.measure(l.queue, &b, now, now)
			l.worker.Commit()
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
		slowest := slices.ContainsFunc(l.record.Load().Slowest.Since(0, nil), func(p latency.Packet) bool { return p.Received == b.Frames[0].Time })
		if k := l.worker.Verdict(0).Kind; (k == nat.Forward) != slowest {
			t.Errorf("of the verdict %d, and among the slowest: %v", k, slowest)
		}
	}
}

// A service is measured by itself from when it is asked for until it is
// forgotten; a reset begins everything anew; NICs that left count.
func TestLatencyRecord(t *testing.T) {
	d, w, r := newDaemon(t, clientNIC, otherNIC)
	d.mustReconcile(t, r)
	web := control.ServiceID{Family: control.IPv4, Protocol: control.TCP, Address: vip.Addr(), Port: vip.Port()}
	report := func() *Latency { return d.nics.latency(100*time.Microsecond, time.Now()) }
	if l := report(); len(l.Services) != 0 || l.Receive.Count != 0 || len(l.NICs) != 2 {
		t.Fatalf("%+v", l)
	}
	d.nics.measured.since = time.Now().Add(-time.Hour)
	if err := d.Measure(control.Measuring{Record: []control.ServiceID{web}}); err != nil {
		t.Fatal(err)
	}
	if l := report(); l.Since < 3600 || l.Services[0].Since > 60 {
		t.Errorf("the record is %v s long, and of the service, which is asked for now, %v s", l.Since, l.Services[0].Since)
	}
	w.passes(1, otherNIC)
	// The service's own record is written last.
	eventually(t, "the packet is measured", func() bool { return report().Services[0].Receive.Count == 1 })
	l := report()
	if len(l.Services) != 1 || l.Services[0].Service != web || l.Services[0].Receive.Count != 1 || l.Services[0].Verdict.Count != 1 {
		t.Errorf("services %+v", l.Services)
	}
	if len(l.Slowest) != 1 || l.Slowest[0].Service == nil || *l.Slowest[0].Service != web || l.Slowest[0].Verdict != "forwarded" ||
		l.Slowest[0].Server != other.String() || l.Slowest[0].Protocol != "tcp" {
		t.Errorf("slowest %+v", l.Slowest)
	} else if d := l.Slowest[0].Decision; d.Verdict != "forward" || d.Packet.DstPort != vip.Port() || d.Service == nil || d.Service.ServiceID != web ||
		!d.Scheduling.Brief || d.Scheduling.Servers != nil || d.Connection.Destination != other || d.Connection.InPkts != 1 {
		t.Errorf("decided %+v", d)
	}
	// To ask for it again changes nothing.
	if err := d.Measure(control.Measuring{Record: []control.ServiceID{web}}); err != nil || report().Services[0].Receive.Count != 1 {
		t.Errorf("%v, %+v", err, report().Services)
	}
	b, err := json.Marshal(l)
	if err != nil || !strings.Contains(string(b), `"pickup_to_verdict"`) || strings.Contains(string(b), "null") {
		t.Errorf("%v: %s", err, b)
	}

	// The client's NIC leaves.
	r.setLinks(link(otherNIC))
	d.mustReconcile(t, r)
	if l := report(); len(l.NICs) != 1 || l.Receive.Count != 1 {
		t.Errorf("after its NIC left: %d packets by %d NICs", l.Receive.Count, len(l.NICs))
	}
	if err := d.Measure(control.Measuring{Reset: true}); err != nil {
		t.Fatal(err)
	}
	if l := report(); l.Receive.Count != 0 || len(l.Slowest) != 0 || len(l.Services) != 1 || l.Services[0].Receive.Count != 0 || l.Since > 60 {
		t.Errorf("after a reset: %+v", l)
	}
	if err := d.Measure(control.Measuring{Forget: []control.ServiceID{web}}); err != nil || len(report().Services) != 0 {
		t.Errorf("%v, %+v", err, report().Services)
	}
	none := control.ServiceID{Family: control.IPv4, Protocol: control.UDP, Address: vip.Addr(), Port: vip.Port()}
	for _, m := range []control.Measuring{{Record: []control.ServiceID{web, none}}, {Forget: []control.ServiceID{none}}} {
		if err := d.Measure(m); !errors.Is(err, syscall.ESRCH) || len(report().Services) != 0 {
			t.Errorf("a service that there is not: %v, %d are measured", err, len(report().Services))
		}
	}
	var many control.Measuring
	for i := range servicesMeasured + 1 {
		many.Record = append(many.Record, control.ServiceID{Family: control.IPv4, Protocol: control.TCP, Address: netip.MustParseAddr("192.0.2.9"), Port: uint16(1 + i)})
	}
	if err := d.measure(many); !errors.Is(err, syscall.ENOSPC) || len(report().Services) != 0 {
		t.Errorf("%v, %d services", err, len(report().Services))
	}
}

func TestClocks(t *testing.T) {
	if _, err := os.Stat("/proc/self/task/self/schedstat"); err != nil {
		t.Log("this kernel tells no schedstat of a thread:", err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	me := []int32{int32(unix.Gettid())}
	var c clocks
	now := time.Now()
	for i := range 100 {
		c.look(now.Add(time.Duration(i)*time.Second), me)
	}
	if n := len(c.past); n != 61 {
		t.Errorf("%d looks are kept, want those of a minute", n)
	}
	stolen, queue := c.since()
	if stolen < 0 || stolen > 1 || queue < -1 {
		t.Errorf("stolen %v, waited %v", stolen, queue)
	}
	if _, total := cpuTicks(); total == 0 {
		t.Error("no CPU time at all")
	}
	if got := waited([]int32{-1}); got != -1 {
		t.Errorf("a thread that there is not waited %d ns", got)
	}
}

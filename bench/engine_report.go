package bench

import (
	"fmt"
	"io"
)

// engineTargets are what a packet may cost at most, in nanoseconds, by the
// number of connections.
var engineTargets = map[int]float64{1_000: 40, 100_000: 110, 1_000_000: 120, 10_000_000: 160}

// Most bytes of memory that a connection may take, and that a process with ten
// million of them may have resident.
const (
	connTarget     = 128
	residentTarget = 1.5e9
)

// targets sets what is to be reached beside what was measured.
func (r *EngineResult) targets(cpus int) {
	add := func(t Target) { r.Targets = append(r.Targets, t) }
	allocs := r.NewAllocs
	for _, c := range r.Cost {
		allocs = max(allocs, c.Allocs)
		if want, ok := engineTargets[c.Connections]; ok && c.Batch == engineBatches[0] {
			add(Target{What: fmt.Sprintf("a packet, %s connections, batch of %d", count(c.Connections), c.Batch), Want: want, AtMost: true, Is: c.Net, Unit: "ns"})
		}
	}
	add(Target{What: "new connections, one worker, rr over 100 servers", Want: 1, Is: scaled(r.New, 1e-6), Unit: "million/s"})
	// Less than one in ten thousand is the runtime's own, such as its timers.
	add(Target{What: "allocations a packet", Want: 1e-4, AtMost: true, Is: Series{allocs}})
	for i, m := range r.Memory {
		if i == len(r.Memory)-1 {
			add(Target{What: "memory a connection, of " + count(m.Connections), Want: connTarget, AtMost: true, Is: Series{max(m.Table, m.Resident)}, Unit: "bytes"})
		}
		if m.Connections == 10_000_000 {
			add(Target{What: "resident with 10 million connections", Want: residentTarget / 1e9, AtMost: true, Is: Series{float64(m.Process) / 1e9}, Unit: "GB"})
		}
	}
	if cpus > 1 {
		add(Target{What: "two workers, disjoint flows, of one", Want: 1.8, Is: r.Disjoint.Wall})
		add(Target{What: "two workers, one a direction, of one", Want: 1.6, Is: r.Shared.Wall})
	}
}

func scaled(s Series, by float64) Series {
	r := make(Series, len(s))
	for i := range s {
		r[i] = s[i] * by
	}
	return r
}

// count prints a number of connections in words.
func count(n int) string {
	switch {
	case n >= 1_000_000 && n%1_000_000 == 0:
		return fmt.Sprintf("%d million", n/1_000_000)
	case n >= 1000 && n%1000 == 0:
		return fmt.Sprintf("%d thousand", n/1000)
	}
	return fmt.Sprint(n)
}

// WriteReport writes the tables.
func (r *EngineResult) WriteReport(w io.Writer) {
	p := &printer{w: w}
	p.line("The engine in memory, one worker, no NIC: %d rounds, median (least..most)", r.Rounds)
	r.Machine.write(p)
	for _, s := range r.Missing {
		p.line("  not measured: %s", s)
	}
	p.head("A packet of 64 bytes of a TCP connection that is there, flows in random order: parse, look up, rewrite")
	p.line("  %-14s %6s %22s %22s %12s %4s", "connections", "batch", "ns a packet", "with making it", "allocations", "GCs")
	for _, c := range r.Cost {
		p.line("  %-14s %6d %22s %22s %12.4f %4d", count(c.Connections), c.Batch, c.Net.spread(1), c.Gross.spread(1), c.Allocs, c.GCs)
	}
	p.line("  CPU time of the worker's thread. Making packets was timed alone, in the same order, and taken off; what the")
	p.line("  CPU does of both at once is taken off too much.")
	p.head("Memory")
	p.line("  %-14s %18s %18s %16s %12s", "connections", "table, bytes each", "grown, bytes each", "resident in all", "filled in")
	for _, m := range r.Memory {
		p.line("  %-14s %18.1f %18.1f %13.1f MB %10.2f s", count(m.Connections), m.Table, m.Resident, float64(m.Process)/1e6, m.Fill)
	}
	p.head("New connections a second of CPU time, one worker, rr over 100 servers, batch of %d", engineBatches[0])
	p.line("  %s million, %.4f allocations each", scaled(r.New, 1e-6).spread(2), r.NewAllocs)
	p.head("Two workers at once, %s connections: packets a second, of one worker's", count(r.Pair))
	p.line("  %-26s %22s %22s", "", "by time", "by CPU time")
	p.line("  %-26s %22s %22s", "an engine of its own each", r.Apart.Wall.spread(2), r.Apart.CPU.spread(2))
	p.line("  %-26s %22s %22s", "flows of its own each", r.Disjoint.Wall.spread(2), r.Disjoint.CPU.spread(2))
	p.line("  %-26s %22s %22s", "one a direction", r.Shared.Wall.spread(2), r.Shared.CPU.spread(2))
	p.line("  Two engines have nothing in common: less than 2 is the machine's. The others are to be read beside that.")
	p.line("  Making packets is in it, which always scales. By CPU time a machine that has no second CPU to spare does")
	p.line("  not count against them, and neither does sleeping for a lock.")
	p.head("What it is to reach (medians; printed, not asserted)")
	for i := range r.Targets {
		t := &r.Targets[i]
		digits := 1
		if t.Unit == "" || t.Unit == "million/s" || t.Unit == "GB" {
			digits = 2
		}
		if t.Want < 0.01 {
			digits = 4
		}
		t.write(p, digits)
	}
}

package bench

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// WriteReport writes the experiment's result beside the paper's figures, in at
// most 80 columns.
func (r *PaperResult) WriteReport(w io.Writer) {
	p := &printer{w: w}
	p.line("The paper's experiment: LVS/NAT, one director, %d real servers", len(r.Shares))
	limit := "not held to any rate"
	if r.Rate > 0 {
		limit = fmt.Sprintf("each held to %.0f requests/s, ten times the paper's", r.Rate)
	}
	p.line("Real servers %s", limit)
	p.line("%d clients at a time; Linux %s, %d CPUs", r.Cluster.Concurrency, r.Kernel, r.CPUs)
	for _, s := range r.Setup {
		p.line("  # %s", s)
	}
	tableI, tableII := r.Direct[0], (*LoadResult)(nil)
	switch {
	case len(r.Direct) > 1:
		tableII = r.Direct[1]
	case tableI.all() == TableII.Requests:
		tableI, tableII = nil, tableI
	}
	p.table(TableI, tableI)
	p.table(TableII, tableII)
	p.table(TableIII, r.Cluster)
	r.comparison(p)
	r.shares(p)
	r.latency(p)
	r.capacity(p)
	r.ledger(p)
}

type printer struct{ w io.Writer }

func (p *printer) line(format string, args ...any) {
	fmt.Fprintln(p.w, strings.TrimRight(fmt.Sprintf(format, args...), " "))
}

func (p *printer) head(format string, args ...any) {
	p.line("")
	p.line(format, args...)
}

// table prints one of the paper's tables and what was measured of it, if it was.
func (p *printer) table(t Table, r *LoadResult) {
	p.head("Table %s: %s, %d requests", t.Name, t.What, t.Requests)
	if r == nil {
		p.line("  %-26s %12s %12s", "", "the paper", "")
		p.line("  %-26s %12.2f              kBytes/s", "transfer rate", t.Transfer)
		p.line("  %-26s %12.2f              1/s", "requests per second", t.Rate)
		p.line("  %-26s %12.2f              ms", "time per request", t.Time)
		p.line("  not measured: --full sends as many requests as the paper did")
		return
	}
	p.line("  %-26s %12s %12s", "", "the paper", "measured")
	p.line("  %-26s %12d %12d", "requests", t.Requests, r.all())
	p.line("  %-26s %12s %12d", "  of them failed", "-", r.Failed)
	p.line("  %-26s %12.2f %12.2f kBytes/s", "transfer rate", t.Transfer, r.Transfer())
	p.line("  %-26s %12.2f %12.2f 1/s", "requests per second", t.Rate, r.Rate())
	if r.Complete > 0 {
		p.line("  %-26s %12.2f %12.3f ms, over all clients", "time per request", t.Time, r.TimePerRequest())
	}
	for _, row := range []struct {
		name       string
		percentile int
	}{{"  of one client, median", 50}, {"  p99", 99}, {"  longest", 100}} {
		p.line("  %-26s %12s %12.3f ms", row.name, "-", ms(r.Percentiles[row.percentile]))
	}
	p.line("  %-26s %12d %12d bytes", "page", t.Bytes, TableIII.Bytes)
	for _, why := range slices.Sorted(maps.Keys(r.Errors)) {
		p.line("  failed %d times: %s", r.Errors[why], why)
	}
}

// barWidth is the length of the longest bar: the longest line before one leaves
// that much of 80 columns.
const barWidth = 44

func bar(value, longest float64) string {
	if longest <= 0 {
		return ""
	}
	n := int(value/longest*barWidth + 0.5)
	if n == 0 && value > 0 {
		return "▏"
	}
	return strings.Repeat("█", n)
}

// comparison is the paper's figure 3.
func (r *PaperResult) comparison(p *printer) {
	p.head("Figure 3: virtual server (VS) and one real server (RS), requests per second")
	longest := r.Cluster.Rate()
	for _, d := range r.Direct {
		longest = max(longest, d.Rate())
	}
	for _, d := range r.Direct {
		p.line("  RS %7d requests %10.2f %s", d.all(), d.Rate(), bar(d.Rate(), longest))
	}
	p.line("  VS %7d requests %10.2f %s", r.Cluster.all(), r.Cluster.Rate(), bar(r.Cluster.Rate(), longest))
	one := r.Direct[len(r.Direct)-1]
	if one.Complete > 0 {
		p.line("  gain here: VS / RS = %.2f, that is %+.0f %%", r.Cluster.Rate()/one.Rate(), 100*(r.Cluster.Rate()/one.Rate()-1))
	}
	ratio := TableIII.Rate / TableII.Rate
	p.line("  the paper says +%d %%; its tables II and III give %.2f, that is %+.0f %%", PaperGain, ratio, 100*(ratio-1))
	if r.Rate <= 0 {
		p.line("  Servers that are not held to a rate are faster than the director: VS is its")
		p.line("  own limit here, where it shares %d CPUs with the client and all servers.", r.CPUs)
	}
}

func (r *PaperResult) shares(p *printer) {
	p.head("Requests that each real server took")
	var sum, most uint64
	for _, s := range r.Shares {
		sum += s.Served
		most = max(most, s.Served)
	}
	for _, s := range r.Shares {
		if s.Lost != "" {
			p.line("  %-15s  not known:", s.Server)
			p.line("    %s", strings.TrimPrefix(s.Lost, "lab: "))
			continue
		}
		p.line("  %-15s %8d %6.2f %% %s", s.Server, s.Served, 100*float64(s.Served)/float64(max(sum, 1)), bar(float64(s.Served), float64(most)))
	}
}

func (r *PaperResult) latency(p *printer) {
	l := &r.Latency
	p.head("Translation latency of each packet, against the budget of %g µs", us(l.Budget))
	columns := []struct {
		from, to string
		l        *Latency
	}{{"pickup", "to verdict", &l.Verdict}, {"pickup", "to sent", &l.Pickup}, {"kernel receive", "to sent", &l.Receive}}
	row := func(name string, cell func(*Latency) string) {
		line := fmt.Sprintf("  %-18s", name)
		for _, c := range columns {
			line += fmt.Sprintf(" %17s", cell(c.l))
		}
		p.line("%s", line)
	}
	i := -1
	row("", func(*Latency) string { i++; return columns[i].from })
	i = -1
	row("", func(*Latency) string { i++; return columns[i].to })
	row("packets", func(l *Latency) string { return fmt.Sprint(l.Count) })
	for _, at := range []struct {
		name string
		ns   func(*Latency) int64
	}{
		{"p50", func(l *Latency) int64 { return l.P50 }},
		{"p90", func(l *Latency) int64 { return l.P90 }},
		{"p99", func(l *Latency) int64 { return l.P99 }},
		{"p99.9", func(l *Latency) int64 { return l.P999 }},
		{"longest", func(l *Latency) int64 { return l.Max }},
	} {
		row(at.name, func(l *Latency) string { return fmt.Sprintf("%.1f µs", us(at.ns(l))) })
	}
	row("over the budget", func(l *Latency) string { return fmt.Sprintf("%.2f %%", 100*l.Over) })
	p.line("  Pickup is when the packet is taken out of the receive ring; the verdict is")
	p.line("  there when its batch is judged, and sent it is when its batch is. Sending on a")
	p.line("  virtual link runs the receiver's stack too: what ends with it overstates the")
	p.line("  director.")
	p.line("")
	p.histogram(&l.Receive, l.Budget)
}

// histogram prints the shares of latencies in ranges that double, with a line
// at the budget.
func (p *printer) histogram(l *Latency, budget int64) {
	bounds := []int64{2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 10_000_000}
	if !slices.Contains(bounds, budget) {
		bounds = append(bounds, budget)
		slices.Sort(bounds)
	}
	counts := make([]uint64, len(bounds)+1)
	for _, b := range l.Buckets {
		i, _ := slices.BinarySearch(bounds, b.Upper)
		counts[i] += b.Count
	}
	var most uint64
	for _, c := range counts {
		most = max(most, c)
	}
	p.line("  kernel receive to sent:")
	for i, c := range counts {
		label := fmt.Sprintf("more than %g µs", us(bounds[len(bounds)-1]))
		if i < len(bounds) {
			label = fmt.Sprintf("to %g µs", us(bounds[i]))
		}
		p.line("  %18s %6.2f %% %s", label, 100*float64(c)/float64(max(l.Count, 1)), bar(float64(c), float64(most)))
		if i < len(bounds) && bounds[i] == budget {
			p.line("  %s budget", strings.Repeat("-", 18))
		}
	}
}

func (r *PaperResult) capacity(p *printer) {
	p.head("Capacity model of the paper: packets of %d bytes, servers of %.0f kB/s", PaperPacket, PaperServerRate/1e3)
	own, _ := Capacity(PaperPacketTime)
	p.line("  %-32s %11s %14s %9s", "", "a packet", "bandwidth", "servers")
	p.line("  %-32s %8.1f µs %9.1f MB/s %9d", "the paper", PaperPacketTime*1e6, PaperBandwidth/1e6, PaperServers)
	for _, row := range []struct {
		name string
		time int64
	}{
		{"measured, median", r.Latency.Pickup.P50},
		{"measured, mean", int64(r.Latency.Pickup.Mean)},
	} {
		if row.time <= 0 {
			continue
		}
		bandwidth, servers := Capacity(float64(row.time) / 1e9)
		p.line("  %-32s %8.1f µs %9.1f MB/s %9d", row.name+", pickup to sent", us(row.time), bandwidth/1e6, servers)
	}
	p.line("  %d bytes in %.0f µs are %.1f MB/s, which is %.1f MiB/s: the paper counts in", PaperPacket, PaperPacketTime*1e6, own/1e6, own/(1<<20))
	p.line("  units of 2^20 bytes. The model takes a director that does one packet after")
	p.line("  the other, each in the time given here. Ours does up to 64 together, and")
	p.line("  segments of up to 64 kB as one, so it is a lower bound for it.")
}

func (r *PaperResult) ledger(p *printer) {
	p.head("What became of every frame")
	p.line("  %-12s %9s %9s %7s %7s %6s %8s %9s", "NIC", "received", "forwarded", "replied", "passed", "held", "dropped", "ring full")
	balance := "  received = forwarded + replied + passed + held + dropped"
	for _, n := range r.Drops {
		var dropped uint64
		for _, c := range n.Dropped {
			dropped += c
		}
		if !n.Balanced {
			balance = "  DOES NOT BALANCE: received is not the sum of the others"
		}
		p.line("  %-12s %9d %9d %7d %7d %6d %8d %9d",
			n.Name, n.Received, n.Forwarded, n.Replied, n.Passed, n.Held, dropped, n.RingFull)
		for _, why := range slices.Sorted(maps.Keys(n.Dropped)) {
			p.line("    %d %s: %s", n.Dropped[why], why, r.Reasons[why])
		}
	}
	p.line("%s", balance)
	if f := r.Failed(); f > 0 {
		p.head("FAILED: %d requests were not answered as they should", f)
	}
}

func us(ns int64) float64 { return float64(ns) / 1e3 }
func ms(ns int64) float64 { return float64(ns) / 1e6 }

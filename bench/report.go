package bench

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// WriteReport writes the experiment's result beside the paper's figures, in at
// most 100 columns.
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
	for i, d := range r.Direct {
		t := TableI
		if i > 0 || d.Complete+d.Failed == TableII.Requests {
			t = TableII
		}
		p.table(t, d)
	}
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

// table prints one of the paper's tables and what was measured of it.
func (p *printer) table(t Table, r *LoadResult) {
	p.head("Table %s: %s", t.Name, t.What)
	p.line("  %-22s %14s %14s", "", "the paper", "measured")
	p.line("  %-22s %14d %14d", "requests", t.Requests, r.Complete+r.Failed)
	p.line("  %-22s %14s %14d", "  of them failed", "-", r.Failed)
	p.line("  %-22s %14.2f %14.2f kBytes/s", "transfer rate", t.Transfer, r.Transfer())
	p.line("  %-22s %14.2f %14.2f 1/s", "requests per second", t.Rate, r.Rate())
	p.line("  %-22s %14.2f %14.3f ms (over all clients)", "time per request", t.Time, r.TimePerRequest())
	p.line("  %-22s %14s %14.3f ms (median; p99 %.3f, longest %.3f)", "  of one client", "-",
		ms(r.Percentiles[50]), ms(r.Percentiles[99]), ms(r.Percentiles[100]))
	p.line("  %-22s %14d %14d bytes", "page", t.Bytes, TableIII.Bytes)
	for _, why := range slices.Sorted(maps.Keys(r.Errors)) {
		p.line("  failed %d times: %s", r.Errors[why], why)
	}
}

// barWidth is the length of the longest bar.
const barWidth = 50

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
		p.line("  RS %7d requests %10.2f %s", d.Complete+d.Failed, d.Rate(), bar(d.Rate(), longest))
	}
	p.line("  VS %7d requests %10.2f %s", r.Cluster.Complete+r.Cluster.Failed, r.Cluster.Rate(), bar(r.Cluster.Rate(), longest))
	one := r.Direct[len(r.Direct)-1]
	p.line("  gain here: VS / RS = %.2f, that is %+.0f %%", r.Cluster.Rate()/one.Rate(), 100*(r.Cluster.Rate()/one.Rate()-1))
	ratio := TableIII.Rate / TableII.Rate
	p.line("  the paper words its own as +%d %%; its tables II and III give %.2f, that is %+.0f %%", PaperGain, ratio, 100*(ratio-1))
}

func (r *PaperResult) shares(p *printer) {
	p.head("Requests that each real server took")
	var sum, most uint64
	for _, s := range r.Shares {
		sum += s.Served
		most = max(most, s.Served)
	}
	for _, s := range r.Shares {
		p.line("  %-15s %8d %6.2f %% %s", s.Server, s.Served, 100*float64(s.Served)/float64(max(sum, 1)), bar(float64(s.Served), float64(most)))
	}
}

func (r *PaperResult) latency(p *printer) {
	l := &r.Latency
	p.head("Translation latency of each packet, against the budget of %.0f µs", us(l.Budget))
	p.line("  %-24s %9s %8s %8s %8s %8s %9s %9s", "µs", "packets", "p50", "p90", "p99", "p99.9", "max", "over")
	for _, row := range []struct {
		name string
		l    *Latency
	}{{"pickup to sent", &l.Pickup}, {"kernel receive to sent", &l.Receive}} {
		p.line("  %-24s %9d %8.1f %8.1f %8.1f %8.1f %9.1f %7.2f %%", row.name, row.l.Count,
			us(row.l.P50), us(row.l.P90), us(row.l.P99), us(row.l.P999), us(row.l.Max), 100*row.l.Over)
	}
	p.line("  pickup to sent: from taking the packet out of the receive ring until the batch it is in was sent;")
	p.line("  sending on a virtual link runs the receiver's stack too, so both figures overstate the director")
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
	p.line("  %-30s %12s %14s %10s", "", "a packet", "bandwidth", "servers")
	p.line("  %-30s %9.1f µs %9.1f MB/s %10d", "the paper", PaperPacketTime*1e6, PaperBandwidth/1e6, PaperServers)
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
		p.line("  %-30s %9.1f µs %9.1f MB/s %10d", row.name+", pickup to sent", us(row.time), bandwidth/1e6, servers)
	}
	p.line("  %d bytes in %.0f µs are %.1f MB/s, which is %.1f MiB/s: the paper counts in units of 2^20 bytes.",
		PaperPacket, PaperPacketTime*1e6, own/1e6, own/(1<<20))
	p.line("  The model takes a director that does one packet after the other, each in the time given here.")
	p.line("  Ours does up to 64 together, and segments of up to 64 kB as one, so it is a lower bound for it.")
}

func (r *PaperResult) ledger(p *printer) {
	p.head("What became of every frame")
	for _, n := range r.Drops {
		var dropped uint64
		for _, c := range n.Dropped {
			dropped += c
		}
		balance := "balances"
		if !n.Balanced {
			balance = "DOES NOT BALANCE"
		}
		p.line("  %-12s received %d, forwarded %d, passed %d, dropped %d, ring full %d: %s",
			n.Name, n.Received, n.Forwarded, n.Passed, dropped, n.RingFull, balance)
		for _, why := range slices.Sorted(maps.Keys(n.Dropped)) {
			p.line("    %d %s: %s", n.Dropped[why], why, r.Reasons[why])
		}
	}
	if f := r.Failed(); f > 0 {
		p.head("FAILED: %d requests were not answered as they should", f)
	}
}

func us(ns int64) float64 { return float64(ns) / 1e3 }
func ms(ns int64) float64 { return float64(ns) / 1e6 }

package bench

import (
	"fmt"
	"io"
	"math"
)

// series returns a figure of every round.
func (r *PathResult) series(peer, load string, figure func(*Turn) float64) Series {
	s := make(Series, r.Rounds)
	for i := range s {
		s[i] = math.NaN()
	}
	for i := range r.Turns {
		if t := &r.Turns[i]; t.Peer == peer && t.Load == load && t.Error == "" {
			s[t.Round] = figure(t)
		}
	}
	return s
}

func rateOf(t *Turn) float64 { return t.Rate }

// director returns what the director costs a packet that arrives: all of a
// turn's CPU time, less that of the cable in the same round for every packet
// that was sent. For those that the director lost this takes away the sink's
// part too, which is small and was not spent.
func (r *PathResult) director(peer, load string) Series {
	sum := func(t *Turn) float64 { return t.Cost.Sum() }
	s, floor := r.series(peer, load, sum), r.series(cableName, load, sum)
	sent := r.series(peer, load, func(t *Turn) float64 { return 1 / (1 - t.Loss) })
	for i := range s {
		s[i] -= floor[i] * sent[i]
	}
	return s
}

// has tells whether anything was measured of a peer and load.
func (r *PathResult) has(peer, load string) bool {
	return !math.IsNaN(r.series(peer, load, rateOf).Median())
}

// targets sets what is to be reached beside what was measured.
func (r *PathResult) targets() {
	for _, l := range r.Loads {
		rate := func(peer string) Series { return r.series(peer, l.Name, rateOf) }
		add := func(what string, want float64, atMost bool, is Series) {
			r.Targets = append(r.Targets, Target{What: what, Want: want, AtMost: atMost, Is: is})
		}
		switch l.Name {
		case "udp-1k", "udp-1m":
			add(l.Name+": packets/s, of nftables", 1, false, rate(ours).over(rate(kernelNAT)))
			add(l.Name+": director's CPU a packet, of nftables", 1.5, true, r.director(ours, l.Name).over(r.director(kernelNAT, l.Name)))
		case "udp-pace":
			latency := func(figure func(*DirectorLatency) int64) Series {
				return r.series(ours, l.Name, func(t *Turn) float64 {
					if t.Latency == nil || t.Latency.Receive.Count == 0 {
						return math.NaN()
					}
					return float64(figure(t.Latency)) / 1e3
				}).measured()
			}
			what := "udp-pace: kernel receive to sent, "
			r.Targets = append(r.Targets,
				Target{What: "udp-pace: pickup to verdict, median", Want: 1, AtMost: true, Unit: "µs", Is: latency(func(l *DirectorLatency) int64 { return l.Verdict.P50 })},
				Target{What: what + "median", Want: 6, AtMost: true, Unit: "µs", Is: latency(func(l *DirectorLatency) int64 { return l.Receive.P50 })},
				Target{What: what + "p90", Want: 10, AtMost: true, Unit: "µs", Is: latency(func(l *DirectorLatency) int64 { return l.Receive.P90 })})
		case "tcp-1":
			add("tcp-1: bit/s, of forwarding", 0.9, false, rate(ours).over(rate(ceiling)))
		case "tcp-16":
			add("tcp-16: bit/s, of forwarding", 0.95, false, rate(ours).over(rate(ceiling)))
		case "rr":
			add("rr: median round trip on one CPU, of forwarding", 1.5, true, rate(besideName).over(rate(ceiling)))
			if len(r.CPUs) > 1 {
				add("rr: median round trip across CPUs, of forwarding", 2.2, true, rate(ours).over(rate(ceiling)))
			}
		case "http":
			add("http: connections/s, of forwarding", 0.9, false, rate(ours).over(rate(ceiling)))
		}
	}
}

// WriteReport writes the tables, in at most 110 columns.
func (r *PathResult) WriteReport(w io.Writer) {
	p := &printer{w: w}
	p.line("The same services on the same namespaces, peer after peer: %d rounds, %.2f s each after %.2f s of warming up", r.Rounds, r.Window, r.Warm)
	r.Machine.write(p)
	for _, nic := range []string{clientNIC, directorNIC, "director-1", serverNIC} {
		p.line("  offloads of %-10s: %s", nic, r.Machine.Offloads[nic])
	}
	p.line("  congestion control of client: %s, of server: %s", r.Congestion[clientHost], r.Congestion[serverHost])
	for _, s := range append(append([]string(nil), r.Missing...), r.Notes...) {
		p.line("  %s", s)
	}
	for i := range r.Loads {
		r.table(p, &r.Loads[i])
	}
	r.legend(p)
	r.checks(p)
	p.head("What it is to reach (medians of ratios within one round; printed, not asserted)")
	for i := range r.Targets {
		r.Targets[i].write(p, 2)
	}
}

// table prints one load.
func (r *PathResult) table(p *printer, l *PathLoad) {
	p.head("%s: %s", l.Name, l.Title)
	base := ceiling
	rest := "of nftables"
	last := "CPU, all"
	switch l.kind {
	case PartUDP:
		last = "loss  CPU, all   of it director (its process)"
		if l.pace > 0 {
			last = "loss"
		}
	case PartRR:
		last = "p99        CPU, all"
	case PartBulk:
		last = "resent   CPU, all"
	}
	p.line("  %-15s %27s  %-19s %-19s %s", "", l.Unit, "of forwarding", rest, last)
	digits := 1
	if l.scale == 1e9 {
		digits = 2
	}
	for _, name := range r.Peers {
		if l.kind != PartRR && name == besideName {
			continue
		}
		r.failures(p, name, l)
		if !r.has(name, l.Name) {
			continue
		}
		rate := r.series(name, l.Name, rateOf)
		ratio := func(of string) string {
			if name == of || name == cableName {
				return ""
			}
			return rate.over(r.series(of, l.Name, rateOf)).spread(2)
		}
		p.line("  %-15s %27s  %-19s %-19s %s", name, rate.spread(digits), ratio(base), ratio(kernelNAT), r.rest(name, l))
	}
	if l.pace > 0 {
		r.latencies(p, l)
		return // all arrive: rates do not differ
	}
	for _, of := range []string{ceiling, kernelNAT, "IPVS"} {
		if r.has(ours, l.Name) && r.has(of, l.Name) {
			p.line("  vsnat against %s: %s", of, Difference(r.series(ours, l.Name, rateOf), r.series(of, l.Name, rateOf)))
		}
	}
}

// latencies prints how long packets were in vsnat.
func (r *PathResult) latencies(p *printer, l *PathLoad) {
	for _, row := range []struct {
		what string
		of   func(*DirectorLatency) *Latency
	}{
		{"vsnat, pickup to verdict", func(d *DirectorLatency) *Latency { return &d.Verdict }},
		{"vsnat, pickup to sent", func(d *DirectorLatency) *Latency { return &d.Pickup }},
		{"vsnat, kernel receive to sent", func(d *DirectorLatency) *Latency { return &d.Receive }},
	} {
		figure := func(f func(*Latency) float64) string {
			return r.series(ours, l.Name, func(t *Turn) float64 {
				if t.Latency == nil {
					return math.NaN()
				}
				return f(row.of(t.Latency))
			}).spread(1)
		}
		p.line("  %-30s p50 %s  p90 %s  p99 %s µs, %s %% over the budget", row.what,
			figure(func(l *Latency) float64 { return us(l.P50) }), figure(func(l *Latency) float64 { return us(l.P90) }),
			figure(func(l *Latency) float64 { return us(l.P99) }), figure(func(l *Latency) float64 { return 100 * l.Over }))
	}
}

// rest returns the columns that differ from load to load.
func (r *PathResult) rest(name string, l *PathLoad) string {
	median := func(figure func(*Turn) float64) float64 { return r.series(name, l.Name, figure).Median() }
	cpu := median(func(t *Turn) float64 { return t.Cost.Sum() })
	switch l.kind {
	case PartUDP:
		s := fmt.Sprintf("%5.1f %%", 100*median(func(t *Turn) float64 { return t.Loss }))
		if l.pace > 0 {
			return s // the sender spins between packets: CPU time says nothing
		}
		s += fmt.Sprintf(" %6.0f ns", cpu)
		if name != cableName && r.has(cableName, l.Name) {
			s += fmt.Sprintf("   %s ns", r.director(name, l.Name).spread(0))
		}
		if own := median(func(t *Turn) float64 { return t.Cost.Director }); own > 0 {
			s += fmt.Sprintf(" (%.0f)", own)
		}
		return s
	case PartRR:
		return fmt.Sprintf("%6.1f µs %7.1f µs", median(func(t *Turn) float64 { return float64(t.Result.P99) / 1e3 }), cpu/1e3)
	case PartBulk:
		return fmt.Sprintf("%6.0f %7.0f ns/kB", median(func(t *Turn) float64 { return float64(t.End.Retrans - t.Begin.Retrans) }), cpu)
	}
	return fmt.Sprintf("%.1f µs", cpu/1e3)
}

// failures prints the rounds of which nothing is known.
func (r *PathResult) failures(p *printer, name string, l *PathLoad) {
	for i := range r.Turns {
		t := &r.Turns[i]
		if t.Peer != name || t.Load != l.Name {
			continue
		}
		if t.Error != "" {
			p.line("  %-15s failed in round %d: %s", name, t.Round+1, t.Error)
		}
		for why, n := range t.Result.Errors {
			p.line("  %-15s %d requests failed in round %d: %s", name, n, t.Round+1, why)
		}
	}
}

// legend says what the columns mean.
func (r *PathResult) legend(p *printer) {
	p.head("How to read it: median (least..most) of the rounds; ratios are of one round, then the same.")
	for _, s := range []string{
		"\"No difference seen\": some round of the one is between rounds of the other.",
		"UDP rates are of the whole pipeline, sender and counting sink included, over all CPUs it has; the sender sends",
		"as fast as one thread can. Kernel forwarding runs within the sender's own system call, on its CPU; of vsnat the",
		"copy into the ring does, and the worker has another CPU where there is one.",
		"\"CPU, all\" is the CPU time of sender, sink, vsnat and ksoftirqd together, for each packet, request or kilobyte",
		"that arrived; steal is in it. \"Of it director\": the same less that of the cable, where no director is, for each",
		"packet sent: receiving, deciding and sending, whoever is charged for it. \"Its process\": vsnat's threads alone,",
		"which also pay for what the receiver does in their system call, and not for the copy into the ring.",
		"Resent: TCP segments in the window.",
	} {
		p.line("  %s", s)
	}
	if len(r.CPUs) > 1 {
		p.line("  udp and rr: endpoints on CPU %d, vsnat on CPUs %v; tcp and http: all of them everywhere.", r.CPUs[0], r.CPUs[1:])
	}
}

// checks prints our generators beside others.
func (r *PathResult) checks(p *printer) {
	if len(r.Checks) == 0 {
		return
	}
	p.head("Our generators beside others, over kernel forwarding, taking turns")
	p.line("  %-8s %-8s %-16s %24s %24s", "load", "program", "", "ours", "the program's")
	for _, c := range r.Checks {
		if len(c.Ours) > 0 {
			p.line("  %-8s %-8s %-16s %24s %24s", c.Load, c.Tool, c.Unit, c.Ours.spread(1), c.Theirs.spread(1))
			p.line("  %-8s ours against the program's: %s", "", Difference(c.Ours, c.Theirs))
		}
		if c.Missing != "" {
			p.line("  %-8s %-8s %s", c.Load, c.Tool, c.Missing)
		}
	}
}

package top

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/cmd/vsnat/internal/human"
)

// Order is how services and their servers are sorted.
type Order int

// The orders.
const (
	ByTraffic Order = iota
	ByConnections
	ByName
	orders
)

func (o Order) String() string {
	return [...]string{"traffic", "connections", "name"}[o]
}

// paint are the terminal's attributes; without color only reversed ones.
type paint bool

func (p paint) as(code, text string) string {
	if !p {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (p paint) bad(text string) string  { return p.as("31", text) }
func (p paint) warn(text string) string { return p.as("33", text) }

// head returns the lines above the table. before may be nil.
func head(before, s *Sample, p paint) []string {
	st := &s.Status
	share := 0.0
	if st.Connections.Max > 0 {
		share = 100 * float64(st.Connections.Now) / float64(st.Connections.Max)
	}
	t := &st.Total
	return []string{
		fmt.Sprintf("vsnat %s   up %s   guard %s   %s", st.Version, human.Seconds(uint32(st.Uptime)), st.Guard, s.At.Format("15:04:05")),
		fmt.Sprintf("conns    %d of %s (%.1f %%), %s new/s, services %s", st.Connections.Now, human.Count(uint64(st.Connections.Max)), share,
			human.Count(t.CPS), human.Count(uint64(st.Services))),
		fmt.Sprintf("traffic  in %s packets/s %sB/s, out %s packets/s %sB/s", human.Count(t.InPPS), human.Count(t.InBPS), human.Count(t.OutPPS), human.Count(t.OutBPS)),
		latencyLine(before, s, p),
		slowestLine(s),
		framesLine(before, s, p),
		dropsLine(before, s, p),
	}
}

// barWidth is how wide the bar of the budget is, in letters.
const barWidth = 14

// latencyLine sets the last packets' latency against the budget: the bar is as full
// as their 99th percentile fills it.
func latencyLine(before, s *Sample, p paint) string {
	sum := s.Latency.Pickup
	if before != nil {
		sum = sum.Since(&before.Latency.Pickup, s.Latency.Budget)
	}
	budget := human.Nanoseconds(s.Latency.Budget)
	if sum.Count == 0 || s.Latency.Budget <= 0 {
		return fmt.Sprintf("latency  no packets (budget %s)", budget)
	}
	full := min(barWidth, int(barWidth*sum.P99/s.Latency.Budget))
	bar := "[" + strings.Repeat("#", full) + strings.Repeat("-", barWidth-full) + "]"
	text := fmt.Sprintf("%s p50 %s p99 %s max %s, %.2f %% over %s", bar, human.Nanoseconds(sum.P50), human.Nanoseconds(sum.P99), human.Nanoseconds(sum.Max), 100*sum.Over, budget)
	if sum.P99 > s.Latency.Budget {
		text = p.bad(text)
	}
	return "latency  " + text
}

// slowestLine says what delayed the slowest packet of the last minute, in the
// columns that every terminal has: vsnat latency tells which it was, and of others.
func slowestLine(s *Sample) string {
	if len(s.Latency.Slowest) == 0 {
		return "slowest  none in the last minute"
	}
	slow := &s.Latency.Slowest[0]
	line := []rune(fmt.Sprintf("slowest  %s, %s ago: %s", human.Nanoseconds(slow.Total), human.Seconds(uint32(slow.Ago)), slow.Where()))
	if len(line) > leastName+figuresAt {
		line = append(line[:leastName+figuresAt-1], '…')
	}
	return string(line)
}

// framesLine says what became of the last frames.
func framesLine(before, s *Sample, p paint) string {
	now := s.frames()
	if !now.balanced {
		return "frames   " + p.bad("the ledger does not balance: see vsnat drops")
	}
	if before == nil {
		return "frames   -"
	}
	was, d := before.frames(), s.At.Sub(before.At)
	rate := func(from, to uint64) string { return human.Count(perSecond(from, to, d)) }
	return fmt.Sprintf("frames   %s/s: forwarded %s, replied %s, passed %s, held %s", rate(was.received, now.received),
		rate(was.forwarded, now.forwarded), rate(was.replied, now.replied), rate(was.passed, now.passed), rate(was.held, now.held))
}

// dropsLine names the reasons that drop most now, or else how many were dropped
// ever.
func dropsLine(before, s *Sample, p paint) string {
	now := s.frames()
	total := now.ringFull
	for _, n := range now.dropped {
		total += n
	}
	type rate struct {
		reason string
		n      uint64
	}
	var rates []rate
	if before != nil {
		was, d := before.frames(), s.At.Sub(before.At)
		now.dropped["ring full"], was.dropped["ring full"] = now.ringFull, was.ringFull
		for _, reason := range slices.Sorted(maps.Keys(now.dropped)) {
			if n := perSecond(was.dropped[reason], now.dropped[reason], d); n > 0 {
				rates = append(rates, rate{reason, n})
			}
		}
	}
	if len(rates) == 0 {
		return fmt.Sprintf("drops    none now, %s in all", human.Count(total))
	}
	slices.SortStableFunc(rates, func(a, b rate) int { return cmp.Compare(b.n, a.n) })
	var words []string
	for _, r := range rates[:min(2, len(rates))] {
		words = append(words, fmt.Sprintf("%s %s/s", r.reason, human.Count(r.n)))
	}
	return "drops    " + p.warn(strings.Join(words, ", ")) + fmt.Sprintf(", %s in all", human.Count(total))
}

// figures are the widths of the columns of figures, which follow the name.
const (
	figures   = "%-7s %6s %6s %6s %6s %6s %6s %6s"
	figuresAt = 57 // letters they take, with the blank before them
	leastName = 23 // of an IPv4 server
)

// titles are the table's.
func titles(width int) string {
	return pad("SERVICE, SERVER", nameWidth(width)) + " " +
		fmt.Sprintf(figures, "STATE", "WEIGHT", "ACTIVE", "INACT", "CONN/S", "IN/S", "OUT/S", "BYTE/S")
}

func nameWidth(width int) int { return max(leastName, width-figuresAt) }

// pad cuts or fills a text to a width.
func pad(s string, width int) string {
	n := utf8.RuneCountInString(s)
	if n > width {
		return string([]rune(s)[:width-1]) + "…"
	}
	return s + strings.Repeat(" ", width-n)
}

// rows returns the table's lines.
func rows(s *Sample, order Order, width int, p paint) (lines []string) {
	services := slices.Clone(s.Services)
	slices.SortStableFunc(services, func(a, b control.ServiceEntry) int {
		aa, ai := connections(a.Servers)
		ba, bi := connections(b.Servers)
		return order.compare(&a.Stats, &b.Stats, aa+ai, ba+bi, a.ServiceID.String(), b.ServiceID.String())
	})
	for i := range services {
		e := &services[i]
		active, inactive := connections(e.Servers)
		lines = append(lines, line(e.ServiceID.String(), width, e.Scheduler, "", active, inactive, &e.Stats))
		servers := slices.Concat(e.Servers, e.Removed)
		slices.SortStableFunc(servers, func(a, b control.ServerEntry) int {
			return order.compare(&a.Stats, &b.Stats, uint64(a.Active)+uint64(a.Inactive), uint64(b.Active)+uint64(b.Inactive), a.Address.StringExpanded(), b.Address.StringExpanded())
		})
		for j := range servers {
			v := &servers[j]
			l := line("  "+netip.AddrPortFrom(v.Address, v.Port).String(), width, string(v.State), fmt.Sprint(v.Weight), uint64(v.Active), uint64(v.Inactive), &v.Stats)
			switch v.State {
			case control.StateDown:
				l = p.bad(l)
			case control.StateDrain, control.StateRemoved:
				l = p.warn(l)
			}
			lines = append(lines, l)
		}
	}
	return lines
}

func line(name string, width int, state, weight string, active, inactive uint64, s *control.Stats) string {
	return pad(name, nameWidth(width)) + " " + fmt.Sprintf(figures, state, weight, human.Count(active), human.Count(inactive),
		human.Count(s.CPS), human.Count(s.InPPS), human.Count(s.OutPPS), human.Count(s.InBPS+s.OutBPS))
}

func connections(servers []control.ServerEntry) (active, inactive uint64) {
	for i := range servers {
		active += uint64(servers[i].Active)
		inactive += uint64(servers[i].Inactive)
	}
	return active, inactive
}

// compare puts the largest first, and what is as large by name.
func (o Order) compare(a, b *control.Stats, aConns, bConns uint64, aName, bName string) int {
	c := 0
	switch o {
	case ByTraffic:
		c = cmp.Compare(b.InBPS+b.OutBPS, a.InBPS+a.OutBPS)
	case ByConnections:
		c = cmp.Compare(bConns, aConns)
	}
	return cmp.Or(c, cmp.Compare(aName, bName))
}

// Every is how often a screen is drawn anew if nobody says otherwise: as often as
// the director estimates its rates.
const Every = 2 * time.Second

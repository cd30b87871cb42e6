package daemon

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"time"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/cmd/vsnat/internal/human"
	"vsnat/cmd/vsnat/internal/latency"
	"vsnat/nat"
)

// Latency is the report of how long packets took that left: those that were
// forwarded, and the answers to those that were not.
type Latency struct {
	Budget int64 `json:"budget_ns"`
	// Since is how long the record is.
	Since float64 `json:"since_s"`
	Times
	NICs []NICLatency `json:"nics"` // that packets came in by
	// Services are those that somebody asked for.
	Services []ServiceLatency `json:"services"`
	// Slowest are packets of the last minute, the slowest first. One stands for all
	// of its batch.
	Slowest []SlowPacket `json:"slowest"`
	Machine Machine      `json:"machine"` // in the last minute
}

// Times are how long packets took from one moment to another.
type Times struct {
	// Verdict is from taking the packet's batch out of the receive ring until all of
	// it was judged.
	Verdict latency.Summary `json:"pickup_to_verdict"`
	// Pickup goes on until all of it was sent.
	Pickup latency.Summary `json:"pickup_to_sent"`
	// Receive is from the kernel's receiving the packet until its batch was sent.
	Receive latency.Summary `json:"receive_to_sent"`
}

// NICLatency is one NIC's part of a Latency.
type NICLatency struct {
	Name string `json:"name"`
	Times
}

// ServiceLatency is one service's part of a Latency.
type ServiceLatency struct {
	Service control.ServiceID `json:"service"`
	Since   float64           `json:"since_s"` // how long its record is
	Verdict latency.Summary   `json:"pickup_to_verdict"`
	Receive latency.Summary   `json:"receive_to_sent"`
}

// SlowPacket is one of the slowest packets.
type SlowPacket struct {
	Ago      float64            `json:"ago_s"`
	NIC      string             `json:"nic"` // that it came in by
	Protocol string             `json:"protocol"`
	Source   string             `json:"source"`      // as it came
	Dest     string             `json:"destination"` // as it came
	TCPFlags []string           `json:"tcp_flags,omitempty"`
	Length   int                `json:"length"` // of the frame, in bytes
	Service  *control.ServiceID `json:"service,omitempty"`
	Server   string             `json:"server,omitempty"`
	Verdict  string             `json:"verdict"`
	Total    int64              `json:"receive_to_sent_ns"`
	latency.Parts
	Batch int `json:"batch"` // frames in its batch
	// Gap and GC are how much of the time the machine was seen not to run what
	// should run, and this program stood still for garbage collection.
	Gap int64 `json:"scheduling_gap_ns"`
	GC  int64 `json:"gc_pause_ns"`
	// Decision is what was decided about it, as it was noted then. What a scheduler
	// thought of every server is not in it.
	Decision *control.Decision `json:"decision"`
}

// Where tells where a packet's time went, the longest part first, and what the
// machine did meanwhile.
func (p *SlowPacket) Where() string {
	parts := []struct {
		name string
		ns   int64
	}{{"wake-up", p.WakeUp}, {"ring", p.Ring}, {"verdict", p.Parts.Verdict}, {"send", p.Send}}
	slices.SortStableFunc(parts, func(a, b struct {
		name string
		ns   int64
	},
	) int {
		return int(b.ns - a.ns)
	})
	var words []string
	for _, part := range parts {
		if part.ns > 0 {
			words = append(words, part.name+" "+human.Nanoseconds(part.ns))
		}
	}
	text := strings.Join(words, ", ")
	if p.Batch > 1 {
		text += fmt.Sprintf(", in a batch of %d", p.Batch)
	}
	if p.Gap > 0 {
		text += "; scheduling gap of the machine " + human.Nanoseconds(p.Gap)
	}
	if p.GC > 0 {
		text += "; garbage collection " + human.Nanoseconds(p.GC)
	}
	return text
}

const (
	// MostSlowest is how many of the slowest packets are told.
	MostSlowest = 20
	// servicesMeasured bounds the services that are measured by themselves: each takes
	// 60 kB for every NIC.
	servicesMeasured = control.MostMeasured
)

// measured is what is measured besides the workers' records. nics.mu guards it.
type measured struct {
	since    time.Time
	services map[nat.ServiceKey]time.Time // since when
	gone     [3]latency.Snapshot          // of NICs that left: verdict, sent, receive
}

// startRecord gives a queue a new record.
func (n *nics) startRecord(q *queue) {
	q.record.Store(new(latency.Record))
	q.services.Store(n.measured.records(nil))
}

// records returns a worker's records of the services that are measured; of those
// that it has had it keeps them. Nil if there are none.
func (m *measured) records(had *serviceRecords) *serviceRecords {
	if len(m.services) == 0 {
		return nil
	}
	all := make(serviceRecords, len(m.services))
	for k := range m.services {
		if had != nil && (*had)[k] != nil {
			all[k] = (*had)[k]
			continue
		}
		all[k] = new(serviceRecord)
	}
	return &all
}

// keepRecord keeps what was measured of a queue that has ended.
func (n *nics) keepRecord(q *queue) {
	r := q.record.Load()
	for i, h := range []*latency.Histogram{&r.Verdict, &r.Sent, &r.Receive} {
		n.measured.gone[i].Add(h)
	}
}

var _ control.Measured = (*daemon)(nil)

// Measure implements [control.Measured]. A service that there is not is refused: a
// slip must not look like a service without packets.
func (d *daemon) Measure(m control.Measuring) error {
	for _, id := range slices.Concat(m.Record, m.Forget) {
		if d.nics.measures(serviceKey(&id)) {
			continue // it may have been deleted since
		}
		if _, err := d.Service(id); err != nil {
			return fmt.Errorf("daemon: %s: there is no such service: %w", id, syscall.ESRCH)
		}
	}
	return d.measure(m)
}

// measures reports whether a service is measured by itself.
func (n *nics) measures(k nat.ServiceKey) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, ok := n.measured.services[k]
	return ok
}

// measure is Measure for services that may be still to come.
func (d *daemon) measure(m control.Measuring) error {
	n := d.nics
	n.mu.Lock()
	defer n.mu.Unlock()
	want := maps.Clone(n.measured.services)
	if want == nil {
		want = map[nat.ServiceKey]time.Time{}
	}
	for i := range m.Forget {
		delete(want, serviceKey(&m.Forget[i]))
	}
	now := time.Now()
	for i := range m.Record {
		if k := serviceKey(&m.Record[i]); want[k].IsZero() {
			want[k] = now
		}
	}
	if len(want) > servicesMeasured {
		return fmt.Errorf("daemon: at most %d services are measured by themselves: %w", servicesMeasured, syscall.ENOSPC)
	}
	n.measured.services = want
	if m.Reset {
		for k := range want {
			want[k] = now
		}
		n.measured.since = now
		n.measured.gone = [3]latency.Snapshot{}
	}
	for q := range n.queues() {
		if m.Reset {
			n.startRecord(q)
			continue
		}
		q.services.Store(n.measured.records(q.services.Load()))
	}
	return nil
}

// latency returns the report; now is the present moment.
func (n *nics) latency(budget time.Duration, now time.Time) *Latency {
	n.mu.Lock()
	defer n.mu.Unlock()
	r := &Latency{
		Budget: budget.Nanoseconds(), Since: now.Sub(n.measured.since).Seconds(),
		NICs: []NICLatency{}, Services: []ServiceLatency{}, Slowest: []SlowPacket{},
	}
	all := n.measured.gone
	for _, t := range n.sorted() {
		var s [3]latency.Snapshot
		for _, q := range t.queues {
			rec := q.record.Load()
			for i, h := range []*latency.Histogram{&rec.Verdict, &rec.Sent, &rec.Receive} {
				s[i].Add(h)
			}
		}
		for i := range s {
			all[i].Merge(&s[i])
		}
		r.NICs = append(r.NICs, NICLatency{t.name, times(&s, r.Budget)})
	}
	r.Times = times(&all, r.Budget)
	keys := slices.SortedFunc(maps.Keys(n.measured.services), func(a, b nat.ServiceKey) int {
		ida, idb := serviceID(a), serviceID(b)
		return slices.Compare([]byte(ida.String()), []byte(idb.String()))
	})
	for _, k := range keys {
		var verdict, receive latency.Snapshot
		for q := range n.queues() {
			if s := q.services.Load(); s != nil && (*s)[k] != nil {
				verdict.Add(&(*s)[k].verdict)
				receive.Add(&(*s)[k].receive)
			}
		}
		r.Services = append(r.Services, ServiceLatency{serviceID(k), now.Sub(n.measured.services[k]).Seconds(), verdict.Summarize(r.Budget), receive.Summarize(r.Budget)})
	}
	n.slowest(r, now)
	return r
}

func times(s *[3]latency.Snapshot, budget int64) Times {
	return Times{s[0].Summarize(budget), s[1].Summarize(budget), s[2].Summarize(budget)}
}

// slowest adds the slowest packets of the last minute, and the machine beside
// them. n.mu is held.
func (n *nics) slowest(r *Latency, now time.Time) {
	from := now.Add(-minute).UnixNano()
	gaps, pauses := n.d.meter.Gaps(from), latency.Pauses(from)
	r.Machine = Machine{Gaps: waits(gaps), GC: waits(pauses)}
	r.Machine.Stolen, r.Machine.RunQueue = n.d.clocks.since()
	type slow struct {
		latency.Packet
		nic string
	}
	var all []slow
	for q := range n.queues() {
		for _, p := range q.record.Load().Slowest.Since(from, nil) {
			all = append(all, slow{p, q.dev.Name()})
		}
	}
	routes := n.d.routes.Routes()
	slices.SortFunc(all, func(a, b slow) int { return latency.Slower(&a.Packet, &b.Packet) })
	for i := range all[:min(len(all), MostSlowest)] {
		p := &all[i]
		s := &p.Subject
		told := SlowPacket{
			Ago: time.Duration(now.UnixNano() - p.Sent).Seconds(), NIC: p.nic, Protocol: protocolName(s.Proto),
			Source: endpointText(s.Src, s.SrcPort), Dest: endpointText(s.Dst, s.DstPort), TCPFlags: tcpFlags(s), Length: s.Length,
			Verdict: kindName(p.Kind), Total: p.Total(), Parts: p.Parts(), Batch: p.Batch,
		}
		if s.Owned {
			id := serviceID(s.Service)
			told.Service, told.Server = &id, endpointText(s.Server.Addr, s.Server.Port)
		}
		decided := p.Record.Decision()
		words := teller{routes: routes, now: decided.At}
		told.Decision = words.decision(decided)
		while := latency.Interval{From: p.Received, To: p.Sent}
		told.Gap, told.GC = latency.Overlap(while, gaps), latency.Overlap(while, pauses)
		r.Slowest = append(r.Slowest, told)
	}
}

// tcpFlags returns the names of the packet's flags, if it is a segment.
func tcpFlags(s *nat.Subject) []string {
	if s.Proto != nat.ProtoTCP {
		return nil
	}
	return flagNames(s.TCPFlags)
}

// endpointText writes an address, and its port if there is one.
func endpointText(a nat.Addr, port uint16) string {
	ap := nat.AddrPort(a, port)
	if port == 0 {
		return ap.Addr().String()
	}
	return ap.String()
}

// protocolName writes an IP protocol: by its number if it is none of ours.
func protocolName(proto uint8) string {
	switch proto {
	case nat.ProtoTCP, nat.ProtoUDP, nat.ProtoSCTP:
		return string(control.ProtocolOf(proto))
	case syscall.IPPROTO_ICMP:
		return "icmp"
	case syscall.IPPROTO_ICMPV6:
		return "icmpv6"
	}
	return fmt.Sprint(proto)
}

func kindName(k nat.Kind) string {
	if k == nat.Reply {
		return "replied"
	}
	return "forwarded"
}

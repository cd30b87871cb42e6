package daemon

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"strings"
	"syscall"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/conntrack"
	"vsnat/nat"
	"vsnat/nat/wire"
	"vsnat/nic"
)

var _ control.Explainer = (*daemon)(nil)

// Explain implements [control.Explainer].
func (d *daemon) Explain(q control.Question) (*control.Decision, error) {
	return d.explain(q, d.now())
}

func (d *daemon) explain(q control.Question, now int64) (*control.Decision, error) {
	routes := d.routes.Routes()
	asked := nat.Question{Proto: q.Protocol.Number(), Src: q.From, Dst: q.To, Mark: q.FWMark}
	asked.TCPFlags, _ = q.TCPFlags() // they were checked
	down, _ := q.Down()
	for _, s := range down {
		asked.Down = append(asked.Down, nat.ServerKey{Addr: s.Addr().As16(), Port: s.Port()})
	}
	if q.NIC != "" {
		if asked.NIC = linkIndex(routes.Links(), q.NIC); asked.NIC == noNIC {
			return nil, fmt.Errorf("there is no NIC %s: %w", q.NIC, syscall.ENODEV)
		}
	}
	decided, err := d.engine.Explain(asked, now)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", strings.TrimPrefix(err.Error(), "nat: "), syscall.EINVAL)
	}
	t := teller{routes: routes, now: now}
	return t.decision(decided), nil
}

// teller puts decisions in the words of the control API.
type teller struct {
	routes nic.Routes
	now    int64
}

func (t *teller) nic(index int) string {
	l, _ := t.routes.Link(index)
	return l.Name
}

var verdicts = [...]string{nat.Forward: "forward", nat.Reply: "reply", nat.Pass: "pass", nat.Hold: "hold", nat.Dropped: "drop"}

func (t *teller) decision(d *nat.Decision) *control.Decision {
	c := &control.Decision{
		Packet: headers(&d.Before), NIC: t.nic(d.NIC), FWMark: d.Mark,
		From:    [...]string{"", "client", "server"}[d.From],
		Rule:    d.Rule.String(),
		Found:   t.connection(d.Found),
		GivenUp: d.GivenUp.String(),
		Life:    ruling(d.Life),

		Connection: t.connection(d.Connection),
		Verdict:    verdicts[d.Verdict.Kind],
		Cause:      d.Cause.String(),
	}
	if d.Service != nil {
		s := serviceOf(d.Service)
		c.Service = &s
	}
	for _, n := range d.Near {
		c.Near = append(c.Near, control.NearService{Service: serviceID(n.Key), Missed: n.Why.String()})
	}
	if u := d.Template; u != nil {
		c.Template = &control.DecidedTemplate{Found: t.connection(u.Found), GivenUp: u.GivenUp.String(), Life: ruling(u.Life), Now: t.connection(u.Now)}
	}
	if s := d.Scheduling; s != nil {
		c.Scheduling = scheduling(s)
	}
	if d.Connection != nil || d.Event != 0 {
		c.ServerState = serverState(d.Event)
	}
	if r := d.Verdict.Reason; r != 0 {
		c.Reason, c.Meaning = r.String(), r.Help()
	}
	if d.To != (nic.Addr{}) {
		c.NextHop = t.nextHop(d.To, &d.Hop)
	}
	for i := range d.Out {
		o := &d.Out[i]
		c.Out = append(c.Out, control.Departure{NIC: t.nic(o.Port), Headers: headers(&o.Headers), Answer: o.Kind == nat.Reply, Waits: o.Waits})
	}
	c.MoreOut = d.MoreOut
	if d.Reply != nil {
		c.Reply = t.decision(d.Reply)
	}
	return c
}

func (t *teller) connection(c *conntrack.Copy) *control.DecidedConnection {
	if c == nil {
		return nil
	}
	return &control.DecidedConnection{
		Connection: connection(c, t.now), Timer: uint32(c.Timeout() / 1e9), OnePacket: c.Flags&conntrack.OnePacket != 0,
	}
}

func (t *teller) nextHop(to nic.Addr, h *nic.Hop) *control.NextHop {
	n := &control.NextHop{
		To:    netip.AddrFrom16(to).Unmap(),
		State: [...]string{"", "resolved", "unresolved", "failed", "local", "no-route"}[h.State],
		NIC:   t.nic(h.Index), MTU: h.MTU,
	}
	if h.NextHop != (nic.Addr{}) && h.NextHop != to {
		n.Gateway = netip.AddrFrom16(h.NextHop).Unmap()
	}
	if h.State == nic.HopResolved {
		n.MAC = net.HardwareAddr(h.DstMAC[:]).String()
	}
	return n
}

func headers(h *nat.Headers) control.Headers {
	c := control.Headers{
		SrcMAC: hardware(h.SrcMAC), DstMAC: hardware(h.DstMAC), IPProtocol: h.Proto,
		Src: netip.AddrFrom16(h.Src).Unmap(), Dst: netip.AddrFrom16(h.Dst).Unmap(), SrcPort: h.SrcPort, DstPort: h.DstPort,
		TTL: h.TTL, Length: h.Length,
	}
	c.TCPFlags = flagNames(h.TCPFlags)
	if h.Proto == wire.ProtoICMP || h.Proto == wire.ProtoICMPv6 {
		c.ICMPType, c.ICMPCode = &h.ICMPType, &h.ICMPCode
	}
	return c
}

// flagNames returns the names of a segment's flags.
func flagNames(flags uint8) (names []string) {
	for i, name := range control.FlagNames {
		if flags>>i&1 != 0 {
			names = append(names, name)
		}
	}
	return names
}

// hardware returns a link-layer address, "" for the one of a frame that was never
// on a link.
func hardware(mac [6]byte) string {
	if mac == ([6]byte{}) {
		return ""
	}
	return net.HardwareAddr(mac[:]).String()
}

func ruling(r *nat.Ruling) *control.LifeRuling {
	if r == nil {
		return nil
	}
	return &control.LifeRuling{Event: r.Event.String(), Traffic: r.Traffic.String(), Action: r.Action.String(), Deadline: r.Deadline}
}

func scheduling(s *nat.Scheduling) *control.Scheduling {
	if s.Brief {
		return &control.Scheduling{Scheduler: s.Scheduler, Brief: true}
	}
	c := &control.Scheduling{Scheduler: s.Scheduler, Rule: s.Rule, Compared: s.Compared, Greatest: s.Greatest, Servers: make([]control.Candidate, len(s.Candidates))}
	for i := range s.Candidates {
		n := &s.Candidates[i]
		c.Servers[i] = control.Candidate{
			Server: nat.AddrPort(n.Key.Addr, n.Key.Port), Weight: n.Weight, Active: n.Active, Conns: n.Total,
			Refused: n.Refusal, Note: n.Note, Picked: i == s.Picked,
		}
		if n.Counts && s.Compared != "" {
			v := math.Round(n.Value*1000) / 1000
			c.Servers[i].Value = &v
		}
	}
	return c
}

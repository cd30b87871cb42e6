package nat

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"vsnat/conntrack"
	"vsnat/conntrack/state"
	"vsnat/nat/wire"
	"vsnat/nic"
)

// told is what a decision says, in the words of this file.
func told(d *Decision) string {
	var w []string
	add := func(words ...string) { w = append(w, strings.Join(words, " ")) }
	if d.Service != nil {
		add("service", d.Service.Key.String(), "by", d.Rule.String())
	}
	if c := d.Found; c != nil {
		add("found", c.StateName())
	}
	if d.GivenUp != 0 {
		add("given up:", d.GivenUp.String())
	}
	if l := d.Life; l != nil {
		add(l.Event.String(), l.Traffic.String(), l.Action.String())
	}
	if t := d.Template; t != nil {
		switch {
		case t.Found == nil:
			add("no template")
		case t.GivenUp != 0:
			add("template given up:", t.GivenUp.String())
		default:
			add("template")
		}
		if t.Life != nil {
			add(t.Life.Event.String(), t.Life.Traffic.String(), t.Life.Action.String())
		}
	}
	if s := d.Scheduling; s != nil {
		add(s.Scheduler)
		for i := range s.Candidates {
			if r := s.Candidates[i].Refusal; r != "" {
				add(AddrPort(s.Candidates[i].Key.Addr, 0).Addr().String(), r)
			}
		}
	}
	if d.Cause != 0 {
		add(d.Cause.String())
	}
	if c := d.Connection; c != nil {
		add("to", AddrPort(c.Dest, c.DestPort).String(), c.StateName(), c.Why().String())
	}
	if d.Event != 0 {
		add("server:", d.Event.String())
	}
	for _, n := range d.Near {
		add("near", n.Key.String(), n.Why.String())
	}
	add([]string{"", "forward", "reply", "pass", "hold", "drop"}[d.Verdict.Kind])
	if d.Verdict.Reason != 0 {
		add(d.Verdict.Reason.String())
	}
	return strings.Join(w, ", ")
}

// TestExplainTells asks about packets of which it is plain what becomes of them.
func TestExplainTells(t *testing.T) {
	second := "-a -t 192.0.2.1:80 -r 10.0.0.12:8080 -m"
	down := func(key ServerKey) func(*bed) {
		return func(b *bed) {
			b.e.Update(func(tx *Tx) {
				if err := tx.MarkServer(vipKey, key, true); err != nil {
					b.t.Fatal(err)
				}
			})
		}
	}
	life := func(name string) func(*bed) {
		return func(b *bed) {
			p, _ := LifePreset(name)
			b.e.Update(func(tx *Tx) { _ = tx.SetLife(vipKey, p) })
		}
	}
	set := func(f func(*Settings)) func(*bed) {
		return func(b *bed) {
			b.e.Update(func(tx *Tx) {
				s := tx.Settings()
				f(&s)
				_ = tx.SetSettings(s)
			})
		}
	}
	one := ServerKey{rip.Addr().As16(), rip.Port()}
	syn := Question{Src: client, Dst: vip}
	ack := Question{Src: client, Dst: vip, TCPFlags: wire.ACK}
	other := Question{Src: addrPort(client.Addr(), 40001), Dst: vip}
	at := func(addr string) Question { return Question{Src: client, Dst: netip.MustParseAddrPort(addr)} }
	for _, c := range []struct {
		name    string
		setup   []string
		connect bool
		then    []func(*bed)
		after   []string
		q       Question
		want    string
		reply   string
	}{
		{name: "a new connection", q: syn, want: "service tcp 192.0.2.1:80 by exact, rr, to 10.0.0.11:8080 SYN_RECV scheduled, forward", reply: "found SYN_RECV, to 10.0.0.11:8080 SYN_RECV scheduled, forward"},
		{name: "one that there is", connect: true, q: ack, want: "found ESTABLISHED, to 10.0.0.11:8080 ESTABLISHED scheduled, forward", reply: "found ESTABLISHED, to 10.0.0.11:8080 ESTABLISHED scheduled, forward"},
		{name: "no connection, no SYN", q: ack, want: "service tcp 192.0.2.1:80 by exact, begins-nothing, pass"},
		{name: "sloppy", then: []func(*bed){set(func(s *Settings) { s.SloppyTCP = true })}, q: ack, want: "service tcp 192.0.2.1:80 by exact, rr, to 10.0.0.11:8080 ESTABLISHED scheduled, forward", reply: "found ESTABLISHED, to 10.0.0.11:8080 ESTABLISHED scheduled, forward"},
		{name: "another port", setup: []string{"-A -u 192.0.2.1:81", "-A -t 192.0.2.1:443"}, q: at("192.0.2.1:81"), want: "no-service, near udp 192.0.2.1:81 other protocol, near tcp 192.0.2.1:80 other port, near tcp 192.0.2.1:443 other port, pass"},
		{name: "another address", setup: []string{"-A -f 5"}, q: at("192.0.2.9:80"), want: "no-service, near tcp 192.0.2.1:80 other address, near fwmark 5 no rule gives the packet this mark, pass"},
		{name: "all ports", setup: []string{"-A -t 192.0.2.1:0 -s rr -p 60", "-a -t 192.0.2.1:0 -r 10.0.0.12:0 -m"}, q: at("192.0.2.1:99"), want: "service tcp 192.0.2.1:0 by any-port, no template, rr, to 10.0.0.12:99 SYN_RECV scheduled, forward", reply: "found SYN_RECV, to 10.0.0.12:99 SYN_RECV scheduled, forward"},
		{
			name: "overloaded, weight 0 and down", after: []string{
				"-e -t 192.0.2.1:80 -r 10.0.0.11:8080 -m -x 1", second, "-e -t 192.0.2.1:80 -r 10.0.0.12:8080 -m -w 0", "-a -t 192.0.2.1:80 -r 10.0.0.13:8080 -m",
			}, then: []func(*bed){down(ServerKey{netip.MustParseAddr("10.0.0.13").As16(), 8080})}, connect: true, q: other,
			want: "service tcp 192.0.2.1:80 by exact, rr, 10.0.0.13 down, 10.0.0.12 weight 0, 10.0.0.11 overloaded, no-server, reply",
		},
		{name: "no server", setup: []string{"-d -t 192.0.2.1:80 -r 10.0.0.11:8080"}, q: syn, want: "service tcp 192.0.2.1:80 by exact, rr, no-server, reply"},
		{name: "quiesced, its connections stay", connect: true, after: []string{"-e -t 192.0.2.1:80 -r 10.0.0.11:8080 -m -w 0"}, q: ack, want: "found ESTABLISHED, to 10.0.0.11:8080 ESTABLISHED scheduled, server: drain, forward", reply: "found ESTABLISHED, to 10.0.0.11:8080 ESTABLISHED scheduled, server: drain, forward"},
		{
			name: "quiesced, a SYN goes elsewhere", connect: true, after: []string{second, "-e -t 192.0.2.1:80 -r 10.0.0.11:8080 -m -w 0", "-e -t 192.0.2.1:80 -r 10.0.0.12:8080 -m -w 1"}, then: []func(*bed){set(func(s *Settings) { s.ExpireNodestConn = true })}, q: syn,
			want: "service tcp 192.0.2.1:80 by exact, found ESTABLISHED, given up: server-quiesced, rr, 10.0.0.11 weight 0, to 10.0.0.12:8080 SYN_RECV scheduled, forward", reply: "found SYN_RECV, to 10.0.0.12:8080 SYN_RECV scheduled, forward",
		},
		{name: "deleted", connect: true, after: []string{"-d -t 192.0.2.1:80 -r 10.0.0.11:8080"}, q: ack, want: "found ESTABLISHED, to 10.0.0.11:8080 ESTABLISHED scheduled, server: removed, drop, server-gone"},
		{name: "deleted, expired", connect: true, after: []string{"-d -t 192.0.2.1:80 -r 10.0.0.11:8080"}, then: []func(*bed){set(func(s *Settings) { s.ExpireNodestConn = true })}, q: ack, want: "service tcp 192.0.2.1:80 by exact, found ESTABLISHED, given up: server-deleted, begins-nothing, pass"},
		{name: "down, fail-fast", connect: true, then: []func(*bed){life("fail-fast"), down(one)}, q: ack, want: "found ESTABLISHED, down established reset-both, to 10.0.0.11:8080 CLOSE scheduled, server: down, reply"},
		{name: "if it were down, fail-fast", connect: true, then: []func(*bed){life("fail-fast")}, q: Question{Src: client, Dst: vip, TCPFlags: wire.ACK, Down: []ServerKey{{Addr: one.Addr}}}, want: "found ESTABLISHED, down established reset-both, to 10.0.0.11:8080 CLOSE scheduled, server: down, reply"},
		{name: "if it were down", setup: []string{second}, q: Question{Src: client, Dst: vip, Down: []ServerKey{{Addr: netip.MustParseAddr("10.0.0.12").As16(), Port: 8080}}}, want: "service tcp 192.0.2.1:80 by exact, rr, 10.0.0.12 down, to 10.0.0.11:8080 SYN_RECV scheduled, forward", reply: "found SYN_RECV, to 10.0.0.11:8080 SYN_RECV scheduled, forward"},
		{name: "a template", setup: []string{"-E -t 192.0.2.1:80 -s rr -p 60"}, connect: true, q: other, want: "service tcp 192.0.2.1:80 by exact, template, to 10.0.0.11:8080 SYN_RECV template, forward", reply: "found SYN_RECV, to 10.0.0.11:8080 SYN_RECV template, forward"},
		{name: "a template that policy ends", setup: []string{"-E -t 192.0.2.1:80 -s rr -p 60", second}, connect: true, then: []func(*bed){life("stateful"), down(ServerKey{netip.MustParseAddr("10.0.0.12").As16(), 8080})}, q: other, want: "service tcp 192.0.2.1:80 by exact, template given up: policy, down persistent move, rr, 10.0.0.12 down, to 10.0.0.11:8080 SYN_RECV moved, forward", reply: "found SYN_RECV, to 10.0.0.11:8080 SYN_RECV moved, forward"},
		{name: "a template of weight 0", setup: []string{"-E -t 192.0.2.1:80 -s rr -p 60"}, connect: true, after: []string{"-e -t 192.0.2.1:80 -r 10.0.0.11:8080 -m -w 0"}, then: []func(*bed){set(func(s *Settings) { s.ExpireQuiescentTemplate = true })}, q: other, want: "service tcp 192.0.2.1:80 by exact, template given up: server-takes-none, rr, 10.0.0.11 weight 0, no-server, reply"},
		{name: "drop_packet", then: []func(*bed){set(func(s *Settings) { s.DropPacket, s.AMDropRate = 3, 1 })}, q: syn, want: "service tcp 192.0.2.1:80 by exact, drop, drop-packet"},
		{name: "a client that is local", q: Question{Src: netip.MustParseAddrPort("10.0.0.1:4000"), Dst: vip}, want: "service tcp 192.0.2.1:80 by exact, drop, martian-source"},
		{name: "no route", then: []func(*bed){func(b *bed) { b.routes.routes[1].hop.State = nic.HopNoRoute; b.e.SetRoutes(b.routes) }}, q: syn, want: "service tcp 192.0.2.1:80 by exact, rr, to 10.0.0.11:8080 SYN_RECV scheduled, reply"},
		{name: "an unresolved neighbour", then: []func(*bed){func(b *bed) { b.routes.routes[1].hop.State = nic.HopUnresolved; b.e.SetRoutes(b.routes) }}, q: syn, want: "service tcp 192.0.2.1:80 by exact, rr, to 10.0.0.11:8080 SYN_RECV scheduled, hold", reply: "found SYN_RECV, to 10.0.0.11:8080 SYN_RECV scheduled, forward"},
		{name: "a mark given", setup: []string{"-A -f 5 -s rr", "-a -f 5 -r 10.0.0.13:80 -m"}, q: Question{Src: client, Dst: netip.MustParseAddrPort("198.51.100.1:80"), Mark: new(uint32(5))}, want: "service fwmark 5 by mark, rr, to 10.0.0.13:80 SYN_RECV scheduled, forward", reply: "found SYN_RECV, to 10.0.0.13:80 SYN_RECV scheduled, forward"},
		{name: "a server's packet", connect: true, q: Question{Src: rip, Dst: client, TCPFlags: wire.ACK}, want: "found ESTABLISHED, to 10.0.0.11:8080 ESTABLISHED scheduled, forward"},
		{name: "direct routing", setup: []string{"-e -t 192.0.2.1:80 -r 10.0.0.11:8080 -g"}, q: syn, want: "service tcp 192.0.2.1:80 by exact, rr, to 10.0.0.11:8080 SYN_RECV scheduled, forward"},
		{name: "once", setup: []string{"-A -u 192.0.2.1:53 -s rr -o", "-a -u 192.0.2.1:53 -r 10.0.0.12:53 -m"}, q: Question{Proto: ProtoUDP, Src: client, Dst: netip.MustParseAddrPort("192.0.2.1:53")}, want: "service udp 192.0.2.1:53 by exact, rr, to 10.0.0.12:53 UDP scheduled, forward", reply: "pass"},
		{name: "IPv6", setup: []string{"-A -t [2001:db8:c::1]:80 -s wlc", "-a -t [2001:db8:c::1]:80 -r [2001:db8:5::11]:80 -m"}, q: Question{Src: netip.MustParseAddrPort("[2001:db8:c::7]:5000"), Dst: vip6}, want: "service tcp [2001:db8:c::1]:80 by exact, wlc, to [2001:db8:5::11]:80 SYN_RECV scheduled, forward", reply: "found SYN_RECV, to [2001:db8:5::11]:80 SYN_RECV scheduled, forward"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBed(t, Options{})
			b.command(c.setup...)
			if c.connect {
				for _, q := range []Question{syn, ack} {
					if v, _ := b.in(clientNIC, q.frameOf()); v != forwarded {
						t.Fatal(v)
					}
				}
				b.e.Table().Range(func(c *conntrack.Conn) bool { // as if its server had answered
					if c.Flags&conntrack.Template == 0 {
						c.State = uint8(state.TCPEstablished)
					}
					return true
				})
			}
			b.command(c.after...)
			for _, f := range c.then {
				f(b)
			}
			d, err := b.e.Explain(c.q, b.now+1e6)
			if err != nil {
				t.Fatal(err)
			}
			if got := told(d); got != c.want {
				t.Errorf("told: %s\nwant: %s", got, c.want)
			}
			got := ""
			if d.Reply != nil {
				got = told(d.Reply)
			}
			if got != c.reply {
				t.Errorf("of the reply: %s\nwant: %s", got, c.reply)
			}
		})
	}
}

// frameOf is frame with what is left open filled in.
func (q Question) frameOf() nic.Frame {
	if err := q.complete(&testRoutes{}); err != nil {
		panic(err)
	}
	return q.frame()
}

func TestExplainRefusesQuestions(t *testing.T) {
	b := newBed(t, Options{})
	for want, q := range map[string]Question{
		"a source and a destination":                         {},
		"of different address families":                      {Src: client, Dst: vip6},
		"protocol 50":                                        {Proto: 50, Src: client, Dst: vip},
		"there is 10.0.0.11:8080":                            {Src: client, Dst: vip, Down: []ServerKey{{Addr: netip.MustParseAddr("10.0.0.99").As16()}}},
		"no service with servers has to do with this packet": {Src: client, Dst: addrPort(vip.Addr(), 99), Down: []ServerKey{{Addr: rip.Addr().As16()}}},
	} {
		if _, err := b.e.Explain(q, b.now); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", q, err, want)
		}
	}
}

// TestCandidates holds the account of a pick against the servers.
func TestCandidates(t *testing.T) {
	b := newBed(t, Options{})
	b.connect()
	b.command("-E -t 192.0.2.1:80 -s wlc", "-a -t 192.0.2.1:80 -r 10.0.0.12:8080 -m -w 2")
	d, err := b.e.Explain(Question{Src: addrPort(client.Addr(), 9), Dst: vip}, b.now)
	if err != nil {
		t.Fatal(err)
	}
	want := []Candidate{
		{Key: ServerKey{netip.MustParseAddr("10.0.0.12").As16(), 8080}, Weight: 2, Counts: true},
		{Key: ServerKey{rip.Addr().As16(), 8080}, Weight: 1, Active: 1, Total: 1, Value: 257, Counts: true},
	}
	if s := d.Scheduling; !slices.Equal(s.Candidates, want) || s.Picked != 0 || s.Scheduler != "wlc" {
		t.Errorf("%+v", s)
	}
}

// The answer knows which ports connections have that have nothing to do with the
// question.
func TestExplainKnowsPorts(t *testing.T) {
	b := newFullBed(t, Options{})
	b.pools(Pool{Name: DefaultPool, Addrs: []Addr{lip.As16()}, First: 1000, Last: 1001})
	want := func(name string, want Verdict, src string) {
		t.Helper()
		other := Question{Src: netip.MustParseAddrPort("198.51.100.9:4000"), Dst: vip}
		d, err := b.e.Explain(other, b.now)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if len(d.Out) > 0 && d.Verdict == forwarded {
			got = AddrPort(d.Out[0].Headers.Src, d.Out[0].Headers.SrcPort).String()
		}
		if d.Verdict != want || got != src {
			t.Errorf("%s: %v (%v) from %q, want %v (%v) from %q", name, d.Verdict, d.Verdict.Reason, got, want, want.Reason, src)
		}
	}
	first := b.toServer(clientNIC, packet(ProtoTCP, client, vip, wire.SYN, nil), rip)
	free := netip.AddrPortFrom(lip, 2001-first.Port())
	want("one port is left", forwarded, free.String())
	second := b.toServer(clientNIC, packet(ProtoTCP, netip.MustParseAddrPort("198.51.100.7:9"), vip, wire.SYN, nil), rip)
	if second != free {
		t.Fatalf("the second connection comes from %v, want %v", second, free)
	}
	want("none is left", drop(NoPort), "")
	b.toServer(clientNIC, packet(ProtoTCP, client, vip, wire.ACK, nil), rip)
	b.toServer(clientNIC, packet(ProtoTCP, client, vip, wire.RST, nil), rip)
	want("one is over just now", drop(NoPort), "")
	b.now += 3e9
	want("one has been over for a while", forwarded, first.String())
	want("and it is not taken by asking", forwarded, first.String())
	if n := b.e.Table().Book().Used(); n != 2 {
		t.Errorf("%d ports are in use, want 2", n)
	}
}

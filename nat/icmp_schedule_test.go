package nat

import (
	"fmt"
	"net/netip"
	"testing"

	"vsnat/conntrack"
	"vsnat/nat/wire"
)

func TestScheduleICMP(t *testing.T) {
	for _, c := range []struct {
		name     string
		proto    uint8
		from, to string // client and VIP
		options  string
		want     Verdict
		server   string
		listed   int // connections and templates
	}{
		{"tcp", ProtoTCP, "192.0.2.7:40000", "192.0.2.1:80", "", forwarded, "10.0.0.11:8080", 1},
		{"udp", ProtoUDP, "192.0.2.7:40000", "192.0.2.1:80", "", forwarded, "10.0.0.11:8080", 1},
		{"sctp", ProtoSCTP, "192.0.2.7:40000", "192.0.2.1:80", "", forwarded, "10.0.0.11:8080", 1},
		{"udp, one packet", ProtoUDP, "192.0.2.7:40000", "192.0.2.1:80", " -o", forwarded, "10.0.0.11:8080", 0},
		{"persistent", ProtoTCP, "192.0.2.7:40000", "192.0.2.1:80", " -p 100", forwarded, "10.0.0.11:8080", 2},
		{"IPv6", ProtoTCP, "[2001:db8:c::7]:40000", "[2001:db8:c::1]:81", "", forwarded, "[2001:db8:5::11]:8080", 1},
		{"client port 20", ProtoTCP, "192.0.2.7:20", "192.0.2.1:80", "", passed, "", 0},
		{"no service", ProtoTCP, "192.0.2.7:40000", "192.0.2.1:99", "", passed, "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			from, to := netip.MustParseAddrPort(c.from), netip.MustParseAddrPort(c.to)
			b := newBed6(t, Options{Guarded: true})
			b.command("-C")
			if c.name != "no service" {
				opt := map[uint8]string{ProtoTCP: "-t ", ProtoUDP: "-u ", ProtoSCTP: "--sctp-service "}[c.proto]
				server := c.server
				if server == "" {
					server = "10.0.0.11:8080"
				}
				b.command("-A "+opt+c.to+" -s rr"+c.options, "-a "+opt+c.to+" -r "+server+" -m")
			} else {
				b.command("-A -t 192.0.2.1:80 -s rr", "-a -t 192.0.2.1:80 -r 10.0.0.11:8080 -m")
			}
			l4 := make([]byte, wire.TCPMinLen)
			copy(l4, []byte{byte(to.Port() >> 8), byte(to.Port()), byte(from.Port() >> 8), byte(from.Port())})
			complaint := func() (Verdict, []sent) {
				return b.in(clientNIC, errorAbout(from.Addr(), packetOf(c.proto, to.Addr(), from.Addr(), l4)))
			}
			if v, _ := complaint(); v != passed || b.e.Table().Len() != 0 {
				t.Fatalf("off: %v (%v), %d connections", v, v.Reason, b.e.Table().Len())
			}
			b.set(func(s *Settings) { s.ScheduleICMP = true })
			v, out := complaint()
			if v != c.want || b.e.Table().Len() != c.listed {
				t.Fatalf("%v (%v), %d connections", v, v.Reason, b.e.Table().Len())
			}
			if c.want != forwarded {
				return
			}
			out[0].checksums(t)
			var q wire.Packet
			q.ParseQuoted(out[0].Eth()[out[0].pkt.L4:], wire.ICMPLen, from.Addr().Is6())
			if AddrPort(q.Src, q.SrcPort).String() != c.server || AddrPort(q.Dst, q.DstPort) != from ||
				AddrPort(out[0].pkt.Dst, 0).Addr() != netip.MustParseAddrPort(c.server).Addr() {
				t.Errorf("to %+v, quoting %+v", out[0].pkt, q)
			}
			if got := b.e.Total(); got.Conns != 1 || got.InPkts != 1 {
				t.Errorf("counted %+v", got)
			}
			b.e.Table().Range(func(conn *conntrack.Conn) bool {
				if conn.Flags&conntrack.Template == 0 &&
					(conn.State != 0 || conn.Timeout() != 3e9 || conn.Expires != b.now+3e9 || conn.InPkts != 0 || conn.Flags&conntrack.Inactive == 0) {
					t.Errorf("connection %s", fmt.Sprint(b.stateOf(conn), conn.Timeout(), conn.InPkts, conn.Flags))
				}
				return true
			})
			// A second error finds it, and does not make it last longer.
			if c.listed == 1 {
				was := b.only().Expires
				complaint()
				if b.only().Expires != was {
					t.Error("a second error renews it")
				}
			}
		})
	}
	t.Run("no server", func(t *testing.T) {
		b := newBed(t, Options{Guarded: true})
		b.command("-d -t 192.0.2.1:80 -r 10.0.0.11:8080")
		b.set(func(s *Settings) { s.ScheduleICMP = true })
		if v, out := b.in(clientNIC, errorAbout(client.Addr(), packet(ProtoTCP, vip, client, wire.ACK, nil))); v != drop(NoAnswer) || len(out) != 0 {
			t.Errorf("%v (%v)", v, v.Reason)
		}
	})
	t.Run("wrong checksum", func(t *testing.T) {
		b := newBed(t, Options{Guarded: true})
		b.set(func(s *Settings) { s.ScheduleICMP = true })
		f := errorAbout(client.Addr(), packet(ProtoTCP, vip, client, wire.ACK, nil))
		f.Buf[len(f.Buf)-1]++
		if v, _ := b.in(clientNIC, f); v != drop(BadICMPChecksum) {
			t.Errorf("%v (%v)", v, v.Reason)
		}
		if c := b.only(); c.Expires != b.now+3e9 {
			t.Errorf("the connection that it made expires at %d", c.Expires)
		}
	})
}

// dh takes the destination of what is quoted, which is the client.
func TestScheduleICMPByDestination(t *testing.T) {
	b := newBed(t, Options{})
	b.command("-C", "-A -t 192.0.2.1:80 -s dh")
	for i := 11; i < 60; i++ {
		b.command(fmt.Sprintf("-a -t 192.0.2.1:80 -r 10.0.0.%d:80 -m", i))
	}
	b.set(func(s *Settings) { s.ScheduleICMP = true })
	_, out := b.in(clientNIC, packet(ProtoTCP, client, vip, wire.SYN, nil))
	bySYN := out[0].pkt.Dst
	other := addrPort(client.Addr(), 9)
	_, out = b.in(clientNIC, errorAbout(client.Addr(), packet(ProtoTCP, vip, other, wire.ACK, nil)))
	if len(out) != 1 || out[0].pkt.Dst == bySYN {
		t.Error("the error went where the SYN went: its own destination was taken, not that of what it quotes")
	}
}

func TestNATICMPSend(t *testing.T) {
	diameter := []string{"-A --sctp-service 192.0.2.1:3868 -s rr", "-a --sctp-service 192.0.2.1:3868 -r 10.0.0.11:3869 -m"}
	for _, c := range []struct {
		name  string
		setup []string
		from  netip.AddrPort
		proto uint8
		what  uint8 // TCP's flags, or SCTP's chunk
		want  Verdict
	}{
		{"a segment", nil, rip, ProtoTCP, wire.ACK, replied},
		{"a reset", nil, rip, ProtoTCP, wire.RST, forwarded},
		{"from another port", nil, addrPort(rip.Addr(), 99), ProtoTCP, wire.ACK, passed},
		{"of another protocol", nil, rip, ProtoUDP, 0, passed},
		{"direct routing", []string{"-e -t 192.0.2.1:80 -r 10.0.0.11:8080 -g"}, rip, ProtoTCP, wire.ACK, forwarded},
		{"a deleted server", []string{"-d -t 192.0.2.1:80 -r 10.0.0.11:8080"}, rip, ProtoTCP, wire.ACK, passed},
		{"DATA", diameter, sctpRIP, ProtoSCTP, wire.SCTPData, replied},
		{"ABORT", diameter, sctpRIP, ProtoSCTP, wire.SCTPAbort, forwarded},
	} {
		for _, on := range []bool{true, false} {
			b := newBed(t, Options{Guarded: true})
			b.routes.router = true
			b.set(func(s *Settings) { s.NATICMPSend = on })
			b.command(c.setup...)
			f := packet(c.proto, c.from, client, c.what, nil)
			if c.proto == ProtoSCTP {
				f = chunks(c.from, client, c.what)
			}
			want := c.want
			if !on && want == replied {
				want = forwarded
			}
			v, out := b.in(serverNIC, f)
			if v != want {
				t.Errorf("%s, %v: %v (%v)", c.name, on, v, v.Reason)
			}
			if v == replied && (out[0].pkt.ICMPType != wire.ICMPv4DstUnreachable || out[0].pkt.ICMPCode != wire.ICMPv4PortUnreachable ||
				out[0].pkt.Dst != c.from.Addr().As16() || out[0].pkt.Src != netip.MustParseAddr("10.0.0.1").As16()) {
				t.Errorf("%s: answered with %+v", c.name, out[0].pkt)
			}
			// The router has taken a hop off before it is noticed.
			if v == replied && wire.IPv4(out[0].Eth()[out[0].pkt.L4+wire.ICMPLen:]).TTL() != 63 {
				t.Errorf("%s: quotes %x", c.name, out[0].Eth()[out[0].pkt.L4+wire.ICMPLen:])
			}
		}
	}
}

// A mark's server has no protocol: any packet from its address and port is
// complained about.
func TestNATICMPSendOfMarks(t *testing.T) {
	b := newBed(t, Options{Guarded: true})
	b.command("-A -f 7 -s rr", "-a -f 7 -r 10.0.0.12:53 -m")
	b.marks(MarkRule{Selector{Dst: netip.MustParsePrefix("198.51.100.0/24")}, 7})
	b.routes.router = true
	b.set(func(s *Settings) { s.NATICMPSend = true })
	for _, proto := range Protocols() {
		f := packet(proto, netip.MustParseAddrPort("10.0.0.12:53"), client, wire.ACK, nil)
		if proto == ProtoSCTP {
			f = chunks(netip.MustParseAddrPort("10.0.0.12:53"), client, wire.SCTPData)
		}
		if v, _ := b.in(serverNIC, f); v != replied {
			t.Errorf("protocol %d: %v (%v)", proto, v, v.Reason)
		}
	}
}

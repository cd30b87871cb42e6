package nat

import (
	"net/netip"
	"testing"

	"vsnat/conntrack"
	"vsnat/nat/wire"
	"vsnat/nic"
)

// outside is where clients want to, and caches are to serve them.
var outside = netip.MustParseAddrPort("10.0.0.99:80")

// newBypassBed has a service of a mark, without servers, for packets to outside.
func newBypassBed(t testing.TB, options string) *bed {
	b := newBed(t, Options{Guarded: true})
	b.command("-A -f 7 -s rr" + options)
	b.marks(MarkRule{Selector{Dst: netip.MustParsePrefix("10.0.0.0/8")}, 7})
	b.set(func(s *Settings) { s.CacheBypass = true })
	return b
}

func TestCacheBypass(t *testing.T) {
	for _, options := range []string{"", " -p 100"} {
		b := newBypassBed(t, options)
		for _, step := range []struct {
			flags   uint8
			state   string
			timeout int64
		}{{wire.SYN, "SYN_RECV", 60}, {wire.ACK, "ESTABLISHED", 900}, {wire.FIN | wire.ACK, "CLOSE_WAIT", 60}} {
			v, out := b.in(clientNIC, packet(ProtoTCP, client, outside, step.flags, nil))
			s := b.one(v, out, serverNIC, client, outside)
			if ttl := wire.IPv4(s.Eth()[s.pkt.L3:]).TTL(); ttl != 63 {
				t.Errorf("TTL %d", ttl)
			}
			c := b.only()
			if c.Method() != conntrack.Bypass || c.StateName() != step.state || c.Timeout() != step.timeout*1e9 ||
				AddrPort(c.Dest, c.DestPort) != netip.MustParseAddrPort("0.0.0.0:0") || c.Server != 0 || c.Mark != 0 ||
				c.Flags&(conntrack.Inactive|conntrack.NoOutput) != 0 || c.Why() != conntrack.Bypassed {
				t.Fatalf("%s: %+v in %s", step.state, c, c.StateName())
			}
		}
		// What is outside answers by way of the host, or by another.
		if v, _ := b.in(serverNIC, packet(ProtoTCP, outside, client, wire.FIN|wire.ACK, nil)); v != passed {
			t.Errorf("the answer: %v (%v)", v, v.Reason)
		}
		if got := b.only(); got.StateName() != "TIME_WAIT" || got.InPkts != 3 {
			t.Errorf("after the answer it is %s, with %d packets", got.StateName(), got.InPkts)
		}
		if got := b.e.Total(); got != (Counters{}) {
			t.Errorf("counted %+v", got)
		}
		b.now += 130e9
		b.e.Expire(b.now, 1<<20)
		if n := b.e.Table().Len(); n != 0 {
			t.Errorf("%d connections are left", n)
		}
	}
}

// only is a copy of the one connection there is.
func (b *bed) only() (last conntrack.Copy) {
	b.t.Helper()
	if n := b.e.Table().Len(); n != 1 {
		b.t.Fatalf("%d connections, want one", n)
	}
	b.e.Table().Range(func(c *conntrack.Conn) bool {
		last = b.e.Table().Copy(c)
		return true
	})
	return last
}

func TestCacheBypassOncePerPacket(t *testing.T) {
	b := newBypassBed(t, " -o")
	v, out := b.in(clientNIC, packet(ProtoUDP, client, outside, 0, []byte("?")))
	b.one(v, out, serverNIC, client, outside)
	if n := b.e.Table().Len(); n != 0 {
		t.Errorf("%d connections are left", n)
	}
}

func TestCacheBypassRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		setup []string
		to    netip.AddrPort
		off   bool
		ttl   uint8
		want  Verdict
		icmp  [2]uint8
	}{
		"off":               {to: outside, off: true, want: replied, icmp: [2]uint8{3, 3}},
		"a server is there": {setup: []string{"-a -f 7 -r 10.0.0.12:0 -m"}, to: outside, want: forwarded},
		"its weight is 0":   {setup: []string{"-a -f 7 -r 10.0.0.12:0 -m -w 0"}, to: outside, want: forwarded},
		"to the host":       {to: netip.MustParseAddrPort("10.0.0.1:80"), want: replied, icmp: [2]uint8{3, 3}},
		"no mark":           {setup: []string{"-d -t 192.0.2.1:80 -r 10.0.0.11:8080"}, to: vip, want: replied, icmp: [2]uint8{3, 3}},
		"end of its hops":   {to: outside, ttl: 1, want: replied, icmp: [2]uint8{11, 0}},
		"nowhere":           {to: netip.MustParseAddrPort("10.9.9.9:80"), want: replied, icmp: [2]uint8{3, 1}},
	} {
		b := newBypassBed(t, "")
		b.command(c.setup...)
		if c.off {
			b.set(func(*Settings) {})
		}
		f := packet(ProtoTCP, client, c.to, wire.SYN, nil)
		if c.ttl != 0 {
			ip := wire.IPv4(f.Eth()[wire.EthernetLen:])
			ip[8] = c.ttl
			ip.SetChecksum(ip.CalculateChecksum())
		}
		v, out := b.in(clientNIC, f)
		if v != c.want || len(out) != 1 || c.want == replied && [2]uint8{out[0].pkt.ICMPType, out[0].pkt.ICMPCode} != c.icmp {
			t.Errorf("%s: %v (%v)", name, v, v.Reason)
		}
	}
}

// An error about what was passed on reaches what it is about, and the client.
func TestCacheBypassOfErrors(t *testing.T) {
	b := newBypassBed(t, "")
	b.in(clientNIC, packet(ProtoTCP, client, outside, wire.SYN, nil))
	v, out := b.in(clientNIC, errorAbout(client.Addr(), packet(ProtoTCP, outside, client, wire.ACK, nil)))
	if v != forwarded || len(out) != 1 || out[0].pkt.Dst != outside.Addr().As16() || out[0].port != serverNIC {
		t.Errorf("to outside: %v (%v)", v, v.Reason)
	}
	if v, _ := b.in(serverNIC, errorAbout(outside.Addr(), packet(ProtoTCP, client, outside, wire.ACK, nil))); v != passed {
		t.Errorf("to the client: %v (%v)", v, v.Reason)
	}
}

// errorAbout is a port unreachable from an address about the packet in f, to its
// sender.
func errorAbout(src netip.Addr, f nic.Frame) nic.Frame {
	eth := wire.Ethernet(f.Eth())
	buf := make([]byte, nic.VNetHdrLen+wire.EthernetLen+1280)
	room := buf[nic.VNetHdrLen+wire.EthernetLen:]
	var n int
	if src.Is6() {
		n = wire.BuildICMPv6Error(room, src.As16(), wire.ICMPv6DstUnreachable, wire.ICMPv6PortUnreachable, 0, wire.IPv6(eth.Payload()))
	} else {
		n = wire.BuildICMPv4Error(room, src.As4(), 1, wire.ICMPv4DstUnreachable, wire.ICMPv4PortUnreachable, 0, wire.IPv4(eth.Payload()))
	}
	wire.Ethernet(buf[nic.VNetHdrLen:]).SetType(eth.Type())
	buf = buf[:nic.VNetHdrLen+wire.EthernetLen+n]
	return nic.Frame{Buf: buf, WireLen: len(buf) - nic.VNetHdrLen}
}

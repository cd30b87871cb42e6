package nat

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"

	"vsnat/nat/wire"
	"vsnat/nic"
)

// newIPsecBed has a service for ISAKMP, and the connection of one client.
func newIPsecBed(t testing.TB, method string) (*bed, netip.AddrPort, netip.AddrPort) {
	b := newBed(t, Options{Guarded: true})
	b.command("-A -u 192.0.2.1:500 -s rr", "-a -u 192.0.2.1:500 -r 10.0.0.11:500 "+method)
	from, vip := addrPort(client.Addr(), isakmp), addrPort(vip.Addr(), isakmp)
	if v, _ := b.in(clientNIC, packet(ProtoUDP, from, vip, 0, []byte("ike"))); v != forwarded {
		t.Fatalf("%v (%v)", v, v.Reason)
	}
	return b, from, vip
}

var espPayload = []byte("\x12\x34\x56\x78\x00\x00\x00\x01encrypted")

func esp(proto uint8, src, dst netip.Addr) nic.Frame { return packetOf(proto, src, dst, espPayload) }

func TestIPsecFollowsISAKMP(t *testing.T) {
	for _, proto := range []uint8{wire.ProtoESP, wire.ProtoAH} {
		b, from, vip := newIPsecBed(t, "-m")
		rip := netip.MustParseAddr("10.0.0.11")
		check := func(v Verdict, out []sent, port int, src, dst netip.Addr) {
			t.Helper()
			if v != forwarded || len(out) != 1 || out[0].port != port {
				t.Fatalf("protocol %d: %v (%v)", proto, v, v.Reason)
			}
			ip := wire.IPv4(out[0].Eth()[wire.EthernetLen:])
			if AddrPort(out[0].pkt.Src, 0).Addr() != src || AddrPort(out[0].pkt.Dst, 0).Addr() != dst || ip.TTL() != 63 ||
				!ip.ChecksumOK() || ip.Protocol() != proto || !bytes.Equal(ip.Payload(), espPayload) {
				t.Errorf("protocol %d: %x", proto, ip)
			}
		}
		v, out := b.in(clientNIC, esp(proto, from.Addr(), vip.Addr()))
		check(v, out, serverNIC, from.Addr(), rip)
		v, out = b.in(serverNIC, esp(proto, rip, from.Addr()))
		check(v, out, clientNIC, vip.Addr(), from.Addr())
		c := b.only()
		if c.InPkts != 2 || c.Timeout() != 300e9 || c.Expires != b.now+300e9 || b.e.Total().Conns != 1 || b.e.Total().OutPkts != 1 {
			t.Errorf("protocol %d: %+v, %+v", proto, c, b.e.Total())
		}
		// Of others there is no connection, and they begin none.
		if v, _ := b.in(clientNIC, esp(proto, from.Addr().Next(), vip.Addr())); v != passed {
			t.Errorf("protocol %d: another client: %v (%v)", proto, v, v.Reason)
		}
		if n := b.e.Table().Len(); n != 1 {
			t.Errorf("protocol %d: %d connections", proto, n)
		}
	}
}

// A fragment has the addresses, which is all it takes.
func TestIPsecFragments(t *testing.T) {
	b, from, vip := newIPsecBed(t, "-m")
	whole := packetOf(wire.ProtoESP, from.Addr(), vip.Addr(), make([]byte, 3000))
	for i, f := range cut(whole, 1480, 5) {
		v, out := b.in(clientNIC, f)
		if v != forwarded || len(out) != 1 || out[0].pkt.Dst != netip.MustParseAddr("10.0.0.11").As16() {
			t.Errorf("fragment %d: %v (%v)", i, v, v.Reason)
		}
	}
}

func TestIPsecByDirectRouting(t *testing.T) {
	b, from, vip := newIPsecBed(t, "-g")
	v, out := b.in(clientNIC, esp(wire.ProtoESP, from.Addr(), vip.Addr()))
	if v != forwarded || len(out) != 1 || out[0].port != serverNIC || out[0].pkt.Dst != vip.Addr().As16() {
		t.Fatalf("%v (%v)", v, v.Reason)
	}
}

// When its server is gone a client's ESP is dropped, and with expire_nodest_conn
// left to nobody: it begins no connection.
func TestIPsecOfADeletedServer(t *testing.T) {
	for nodest, want := range map[bool]Verdict{false: drop(ServerGone), true: drop(NoAnswer)} {
		b, from, vip := newIPsecBed(t, "-m")
		b.set(func(s *Settings) { s.ExpireNodestConn = nodest })
		b.command("-d -u 192.0.2.1:500 -r 10.0.0.11:500", "-a -u 192.0.2.1:500 -r 10.0.0.12:500 -m")
		if v, _ := b.in(clientNIC, esp(wire.ProtoESP, from.Addr(), vip.Addr())); v != want {
			t.Errorf("expire_nodest_conn %v: %v (%v)", nodest, v, v.Reason)
		}
	}
}

func TestErrorsAboutIPsec(t *testing.T) {
	b, from, vip := newIPsecBed(t, "-m")
	rip := netip.MustParseAddr("10.0.0.11")
	b.set(func(s *Settings) { s.ScheduleICMP = true })
	v, out := b.in(clientNIC, errorAbout(from.Addr(), esp(wire.ProtoESP, vip.Addr(), from.Addr())))
	s := b.one(v, out, serverNIC, addrPort(from.Addr(), 0), addrPort(rip, 0))
	var q wire.Packet
	if q.ParseQuoted(s.Eth(), s.pkt.L4+wire.ICMPLen, false); q.Src != rip.As16() || q.Dst != from.Addr().As16() {
		t.Errorf("quoted %+v", q)
	}
	if quoted := wire.IPv4(s.Eth()[s.pkt.L4+wire.ICMPLen:]); !bytes.Equal(quoted[20:20+len(espPayload)], espPayload) {
		t.Errorf("quoted %x", quoted)
	}
	v, out = b.in(serverNIC, errorAbout(rip, esp(wire.ProtoESP, from.Addr(), rip)))
	s = b.one(v, out, clientNIC, addrPort(vip.Addr(), 0), addrPort(from.Addr(), 0))
	if q.ParseQuoted(s.Eth(), s.pkt.L4+wire.ICMPLen, false); q.Dst != vip.Addr().As16() {
		t.Errorf("quoted %+v", q)
	}
	other := from.Addr().Next()
	if v, _ := b.in(clientNIC, errorAbout(other, esp(wire.ProtoESP, vip.Addr(), other))); v != passed {
		t.Errorf("about no connection: %v (%v)", v, v.Reason)
	}
}

func TestIPsecOverIPv6(t *testing.T) {
	b := newBed6(t, Options{Guarded: true})
	b.command("-A -u [2001:db8:c::1]:500 -s rr", "-a -u [2001:db8:c::1]:500 -r [2001:db8:5::11]:500 -m")
	b.in(clientNIC, packet(ProtoUDP, addrPort(client6.Addr(), isakmp), addrPort(vip6.Addr(), isakmp), 0, []byte("ike")))
	v, out := b.in(clientNIC, esp(wire.ProtoESP, client6.Addr(), vip6.Addr()))
	if v != forwarded || len(out) != 1 || out[0].pkt.Dst != rip6.Addr().As16() || !bytes.HasSuffix(out[0].Eth(), espPayload) {
		t.Errorf("%v (%v)", v, v.Reason)
	}
}

// The guard keeps from the host what belongs to a service of ISAKMP, and no other.
func TestIPsecIsOwned(t *testing.T) {
	b, _, vip := newIPsecBed(t, "-m")
	b.command("-A -u 192.0.2.2:53 -s rr", "-A -u 192.0.2.3:0 -s rr -p 10", "-A -t 192.0.2.4:500 -s rr")
	var got []netip.Addr
	for _, ep := range b.e.Owned().Services {
		if ep.Proto == wire.ProtoESP {
			got = append(got, AddrPort(ep.Addr, 0).Addr())
		}
	}
	slices.SortFunc(got, netip.Addr.Compare)
	if want := []netip.Addr{vip.Addr(), netip.MustParseAddr("192.0.2.3")}; !slices.Equal(got, want) {
		t.Errorf("ESP to %v, want %v", got, want)
	}
	if want := (Endpoint{Proto: wire.ProtoAH, Addr: netip.MustParseAddr("10.0.0.11").As16()}); !slices.Contains(b.e.Owned().Servers, want) {
		t.Errorf("servers %v", b.e.Owned().Servers)
	}
}

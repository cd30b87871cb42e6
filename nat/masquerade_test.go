package nat

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"vsnat/conntrack"
	"vsnat/nat/wire"
	"vsnat/nic"
)

var (
	insider  = netip.MustParseAddrPort("10.0.0.11:5000")
	outsider = netip.MustParseAddrPort("192.0.2.99:443")
)

func newInsideBed(t testing.TB, opt Options, m ...Masquerade) *bed {
	b := newBed(t, opt)
	if len(m) == 0 {
		m = []Masquerade{{Network: netip.MustParsePrefix("10.0.0.0/24")}}
	}
	b.e.Update(func(tx *Tx) {
		if err := tx.SetMasquerades(m); err != nil {
			t.Fatal(err)
		}
	})
	return b
}

// echo is an echo request, or the answer to one.
func echo(src, dst netip.Addr, typ uint8, id uint16) nic.Frame {
	l4 := make([]byte, wire.ICMPLen+16)
	l4[0] = typ
	binary.BigEndian.PutUint16(l4[4:], id)
	return packetOf(wire.ProtoICMP, src, dst, l4)
}

func TestMasqueradeOwnTraffic(t *testing.T) {
	for _, proto := range []uint8{ProtoTCP, ProtoUDP} {
		b := newInsideBed(t, Options{Guarded: true})
		local := b.toServer(serverNIC, packet(proto, insider, outsider, wire.SYN, nil), outsider)
		if local.Addr() != vip.Addr() || local.Port() < DefaultFirstPort || local.Port() > DefaultLastPort {
			t.Fatalf("comes from %v", local)
		}
		s := b.toClient(clientNIC, packet(proto, outsider, local, wire.SYN|wire.ACK, []byte("hello")), outsider, insider)
		if ttl := wire.IPv4(s.Eth()[s.pkt.L3:]).TTL(); s.port != serverNIC || ttl != 63 {
			t.Errorf("left by NIC %d with TTL %d", s.port, ttl)
		}
		if again := b.toServer(serverNIC, packet(proto, insider, outsider, wire.ACK, nil), outsider); again != local {
			t.Errorf("comes from %v, and before from %v", again, local)
		}
		// The same port of another machine.
		other := netip.MustParseAddrPort("10.0.0.12:5000")
		if l := b.toServer(serverNIC, packet(proto, other, outsider, wire.SYN, nil), outsider); l == local {
			t.Errorf("two connections from %v", l)
		}
		b.now += 8000e9
		for b.e.Expire(b.now, 1<<20) > 0 {
		}
		if n := b.e.Table().Book().Used(); n != 0 {
			t.Errorf("%d ports are left", n)
		}
		// What the outsider sends there now is answered in the host's stead.
		if v, _ := b.in(clientNIC, packet(proto, outsider, local, wire.ACK, nil)); v != replied {
			t.Errorf("after all have ended: %v (%v)", v, v.Reason)
		}
	}
}

func TestMasqueradeEcho(t *testing.T) {
	b := newInsideBed(t, Options{Guarded: true})
	ids := map[uint16]bool{}
	for _, from := range []string{"10.0.0.11", "10.0.0.12"} {
		v, out := b.in(serverNIC, echo(netip.MustParseAddr(from), outsider.Addr(), wire.ICMPv4Echo, 7))
		if v != forwarded || len(out) != 1 {
			t.Fatalf("%v (%v)", v, v.Reason)
		}
		o := &out[0]
		o.checksums(t)
		id, _, _ := wire.EchoID(o.Eth()[o.pkt.L4:], wire.ProtoICMP)
		if ids[id] || AddrPort(o.pkt.Src, 0).Addr() != vip.Addr() {
			t.Fatalf("identifier %d from %v", id, o.pkt.Src)
		}
		ids[id] = true
		v, out = b.in(clientNIC, echo(outsider.Addr(), vip.Addr(), wire.ICMPv4EchoReply, id))
		if v != forwarded || len(out) != 1 {
			t.Fatalf("the answer: %v (%v)", v, v.Reason)
		}
		o = &out[0]
		o.checksums(t)
		if id, _, _ := wire.EchoID(o.Eth()[o.pkt.L4:], wire.ProtoICMP); id != 7 || AddrPort(o.pkt.Dst, 0).Addr().String() != from {
			t.Errorf("the answer has identifier %d and goes to %v", id, o.pkt.Dst)
		}
	}
	// The host's own.
	if v, _ := b.in(clientNIC, echo(outsider.Addr(), vip.Addr(), wire.ICMPv4EchoReply, 9)); v != passed {
		t.Errorf("an answer to the host: %v", v)
	}
	if v, _ := b.in(clientNIC, echo(client.Addr(), vip.Addr(), wire.ICMPv4Echo, 9)); v != passed {
		t.Errorf("a request to the host: %v", v)
	}
}

// Listings tell what went each way, and of a ping that it has no state.
func TestMasqueradeCounts(t *testing.T) {
	b := newInsideBed(t, Options{Guarded: true})
	local := b.toServer(serverNIC, packet(ProtoTCP, insider, outsider, wire.SYN, nil), outsider)
	b.toClient(clientNIC, packet(ProtoTCP, outsider, local, wire.SYN|wire.ACK, []byte("hello")), outsider, insider)
	_, out := b.in(serverNIC, echo(insider.Addr(), outsider.Addr(), wire.ICMPv4Echo, 7))
	id, _, _ := wire.EchoID(out[0].Eth()[out[0].pkt.L4:], wire.ProtoICMP)
	b.in(clientNIC, echo(outsider.Addr(), vip.Addr(), wire.ICMPv4EchoReply, id))
	want := map[uint8]string{ProtoTCP: "40 in, 45 out, SYN_RECV", wire.ProtoICMP: "44 in, 44 out, NONE"}
	b.e.Table().Range(func(there *conntrack.Conn) bool {
		c := b.e.Table().Copy(there)
		got := fmt.Sprintf("%d in, %d out, %s", c.InBytes, c.OutBytes, c.StateName())
		if got != want[c.Proto] {
			t.Errorf("protocol %d: %s; want %s", c.Proto, got, want[c.Proto])
		}
		delete(want, c.Proto)
		return true
	})
	if len(want) != 0 {
		t.Errorf("no connection: %v", want)
	}
}

// An error from a router on the way keeps its source: traceroute wants to know.
func TestMasqueradeErrors(t *testing.T) {
	b := newInsideBed(t, Options{Guarded: true})
	about := func(router, to string, quoted nic.Frame) nic.Frame {
		var buf [600]byte
		n := wire.BuildICMPv4Error(buf[:], netip.MustParseAddr(router).As4(), 1, 11, 0, 0, wire.IPv4(quoted.Eth()[wire.EthernetLen:]))
		f := nic.Frame{Buf: make([]byte, nic.VNetHdrLen+wire.EthernetLen+n)}
		wire.Ethernet(f.Eth()).SetType(wire.TypeIPv4)
		copy(f.Eth()[wire.EthernetLen:], buf[:n])
		wire.IPv4(f.Eth()[wire.EthernetLen:]).SetDst(netip.MustParseAddr(to).As4())
		return f
	}
	local := b.toServer(serverNIC, packet(ProtoUDP, insider, outsider, 0, []byte("probe")), outsider)
	v, out := b.in(clientNIC, about("192.0.2.254", "192.0.2.1", packet(ProtoUDP, local, outsider, 0, []byte("probe"))))
	if v != forwarded || len(out) != 1 {
		t.Fatalf("%v (%v)", v, v.Reason)
	}
	var q wire.Packet
	q.ParseQuoted(out[0].Eth(), out[0].pkt.L4+wire.ICMPLen, false)
	out[0].checksums(t)
	if src, dst := out[0].ends(); src.Addr().String() != "192.0.2.254" || dst.Addr() != insider.Addr() || AddrPort(q.Src, q.SrcPort) != insider || AddrPort(q.Dst, q.DstPort) != outsider {
		t.Errorf("%v to %v, quotes %v to %v", src, dst, AddrPort(q.Src, q.SrcPort), AddrPort(q.Dst, q.DstPort))
	}
	// The other way round: the machine inside has closed its port.
	v, out = b.in(serverNIC, about("10.0.0.11", "192.0.2.99", packet(ProtoUDP, outsider, insider, 0, []byte("late"))))
	if v != forwarded || len(out) != 1 {
		t.Fatalf("%v (%v)", v, v.Reason)
	}
	q.ParseQuoted(out[0].Eth(), out[0].pkt.L4+wire.ICMPLen, false)
	out[0].checksums(t)
	if src, dst := out[0].ends(); src.Addr() != vip.Addr() || dst.Addr() != outsider.Addr() || AddrPort(q.Src, q.SrcPort) != outsider || AddrPort(q.Dst, q.DstPort) != local {
		t.Errorf("%v to %v, quotes %v to %v", src, dst, AddrPort(q.Src, q.SrcPort), AddrPort(q.Dst, q.DstPort))
	}
	// About an echo request.
	_, out = b.in(serverNIC, echo(insider.Addr(), outsider.Addr(), wire.ICMPv4Echo, 7))
	v, out = b.in(clientNIC, about("192.0.2.254", "192.0.2.1", nic.Frame{Buf: slices.Clone(out[0].Buf)}))
	if v != forwarded || len(out) != 1 {
		t.Fatalf("about an echo request: %v (%v)", v, v.Reason)
	}
	q.ParseQuoted(out[0].Eth(), out[0].pkt.L4+wire.ICMPLen, false)
	out[0].checksums(t)
	if id, _, _ := wire.EchoID(out[0].Eth()[q.L4:], wire.ProtoICMP); id != 7 || AddrPort(q.Src, 0).Addr() != insider.Addr() {
		t.Errorf("quotes identifier %d from %v", id, q.Src)
	}
}

func TestMasqueradeNot(t *testing.T) {
	inside := netip.MustParsePrefix("10.0.0.0/24")
	from := func(a string) netip.AddrPort { return netip.MustParseAddrPort(a) }
	for _, c := range []struct {
		name   string
		m      Masquerade
		frame  nic.Frame
		router bool
		want   Verdict
	}{
		{"to the host", Masquerade{Network: inside}, packet(ProtoTCP, insider, from("10.0.0.1:22"), wire.SYN, nil), true, passed},
		{"from another network", Masquerade{Network: inside}, packet(ProtoTCP, from("10.0.1.1:1"), outsider, wire.SYN, nil), true, passed},
		{"to its own network", Masquerade{Network: inside}, packet(ProtoTCP, insider, from("10.0.0.12:22"), wire.SYN, nil), true, forwarded},
		{"by another NIC, of a router", Masquerade{Network: inside, NIC: serverNIC}, packet(ProtoTCP, insider, outsider, wire.SYN, nil), true, forwarded},
		{"by another NIC", Masquerade{Network: inside, NIC: serverNIC}, packet(ProtoTCP, insider, outsider, wire.SYN, nil), false, drop(NoConnection)},
		{"a reset of no connection", Masquerade{Network: inside}, packet(ProtoTCP, insider, outsider, wire.RST, nil), true, drop(NoConnection)},
		{"no route", Masquerade{Network: inside}, packet(ProtoTCP, insider, from("203.0.113.1:1"), wire.SYN, nil), true, replied},
		{"multicast", Masquerade{Network: inside}, packet(ProtoUDP, insider, from("224.0.0.5:1"), 0, nil), true, passed},
	} {
		b := newInsideBed(t, Options{Guarded: true}, c.m)
		b.routes.router = c.router
		v, out := b.in(serverNIC, c.frame)
		if v != c.want {
			t.Errorf("%s: %v (%v), want %v", c.name, v, v.Reason, c.want)
		}
		if v == forwarded {
			if src, _ := out[0].ends(); src != insider {
				t.Errorf("%s: comes from %v", c.name, src)
			}
		}
		if n := b.e.Table().Len(); n != 0 {
			t.Errorf("%s: %d connections", c.name, n)
		}
	}
}

// What servers answer to clients of a service comes from the VIP, though they are in
// a network that is masqueraded.
func TestMasqueradeLeavesServicesAlone(t *testing.T) {
	b := newInsideBed(t, Options{Guarded: true})
	b.connect()
	b.toClient(serverNIC, packet(ProtoTCP, rip, client, wire.ACK, []byte("200 OK")), vip, client)
}

func TestMasqueradesRefused(t *testing.T) {
	b := newInsideBed(t, Options{})
	inside := netip.MustParsePrefix("10.0.0.0/24")
	b.e.Update(func(tx *Tx) {
		for name, list := range map[string][]Masquerade{
			"no network":  {{}},
			"IPv4-mapped": {{Network: netip.MustParsePrefix("::ffff:10.0.0.0/120")}},
			"twice":       {{Network: inside}, {Network: inside}},
			"no pool":     {{Network: inside, Pool: "none"}},
			"too many":    make([]Masquerade, maxMasquerades+1),
		} {
			if err := tx.SetMasquerades(list); err == nil {
				t.Errorf("%s: accepted", name)
			}
		}
		if got := tx.Masquerades(); len(got) != 1 || got[0].Network != inside {
			t.Errorf("networks: %+v", got)
		}
	})
	if o := b.e.Owned(); !slices.Equal(o.Networks, []netip.Prefix{inside}) {
		t.Errorf("owned: %v", o.Networks)
	}
}

// A ping that is too long for the link, in pieces that overtake one another.
func TestMasqueradeEchoInFragments(t *testing.T) {
	b := newInsideBed(t, Options{Guarded: true})
	long := func(src, dst netip.Addr, typ uint8, id uint16) nic.Frame {
		l4 := make([]byte, wire.ICMPLen+4000)
		l4[0] = typ
		binary.BigEndian.PutUint16(l4[4:], id)
		return packetOf(wire.ProtoICMP, src, dst, l4)
	}
	whole := func(at int, f nic.Frame, order ...int) *sent {
		t.Helper()
		pieces := cut(f, 1480, 5)
		var all []*nic.Frame
		for _, i := range order {
			_, out := b.in(at, pieces[i])
			for k := range out {
				all = append(all, &out[k].Frame)
			}
		}
		s := &sent{Frame: together(t, all)}
		s.pkt.Parse(s.Eth())
		s.checksums(t)
		return s
	}
	s := whole(serverNIC, long(insider.Addr(), outsider.Addr(), wire.ICMPv4Echo, 7), 0, 1, 2)
	id, _, _ := wire.EchoID(s.Eth()[s.pkt.L4:], wire.ProtoICMP)
	if AddrPort(s.pkt.Src, 0).Addr() != vip.Addr() {
		t.Errorf("comes from %v", s.pkt.Src)
	}
	s = whole(clientNIC, long(outsider.Addr(), vip.Addr(), wire.ICMPv4EchoReply, id), 2, 0, 1)
	if id, _, _ := wire.EchoID(s.Eth()[s.pkt.L4:], wire.ProtoICMP); id != 7 || AddrPort(s.pkt.Dst, 0).Addr() != insider.Addr() {
		t.Errorf("identifier %d to %v", id, s.pkt.Dst)
	}
	// The host's own pings in fragments stay its own.
	for i, f := range cut(long(outsider.Addr(), vip.Addr(), wire.ICMPv4EchoReply, 9), 1480, 6) {
		if v, _ := b.in(clientNIC, f); v != passed {
			t.Errorf("piece %d of an answer to the host: %v (%v)", i, v, v.Reason)
		}
	}
}

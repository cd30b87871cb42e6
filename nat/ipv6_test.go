package nat

import (
	"bytes"
	"net/netip"
	"syscall"
	"testing"

	"vsnat/nat/wire"
	"vsnat/nic"
)

var (
	client6 = netip.MustParseAddrPort("[2001:db8:c::7]:40000")
	vip6    = netip.MustParseAddrPort("[2001:db8:c::1]:80")
	rip6    = netip.MustParseAddrPort("[2001:db8:5::11]:8080")
)

func newBed6(t testing.TB, opt Options) *bed {
	b := newBed(t, opt)
	b.command("-A -t [2001:db8:c::1]:80 -s rr", "-a -t [2001:db8:c::1]:80 -r [2001:db8:5::11]:8080 -m",
		"-A -u [2001:db8:c::1]:53 -s rr", "-a -u [2001:db8:c::1]:53 -r [2001:db8:5::11]:53 -m")
	return b
}

// one is the single frame that left by the NIC, its addresses and checksums
// checked.
func (b *bed) one(v Verdict, out []sent, port int, src, dst netip.AddrPort) *sent {
	b.t.Helper()
	if len(out) != 1 || out[0].port != port {
		b.t.Fatalf("%v (%v): %d frames left", v, v.Reason, len(out))
	}
	s := &out[0]
	if from, to := AddrPort(s.pkt.Src, s.pkt.SrcPort), AddrPort(s.pkt.Dst, s.pkt.DstPort); from != src || to != dst {
		b.t.Errorf("from %v to %v, want from %v to %v", from, to, src, dst)
	}
	s.checksums(b.t)
	return s
}

func TestIPv6Masquerading(t *testing.T) {
	for _, proto := range []uint8{ProtoTCP, ProtoUDP} {
		b := newBed6(t, Options{})
		service, server := vip6, rip6
		if proto == ProtoUDP {
			service, server = netip.AddrPortFrom(vip6.Addr(), 53), netip.AddrPortFrom(rip6.Addr(), 53)
		}
		for range 2 {
			v, out := b.in(clientNIC, packet(proto, client6, service, wire.SYN, []byte("hello")))
			s := b.one(v, out, serverNIC, client6, server)
			if ip := wire.IPv6(s.Eth()[s.pkt.L3:]); ip.HopLimit() != 63 || !bytes.HasSuffix(s.Eth(), []byte("hello")) {
				t.Errorf("hop limit %d, %x", ip.HopLimit(), s.Eth())
			}
			if wire.Ethernet(s.Eth()).Dst() != [6]byte{2, 5: 0x21} {
				t.Errorf("to %x", s.Eth()[:6])
			}
			v, out = b.in(serverNIC, packet(proto, server, client6, wire.SYN|wire.ACK, []byte("answer")))
			b.one(v, out, clientNIC, service, client6)
		}
		if n := b.e.Table().Len(); n != 1 {
			t.Errorf("%d connections", n)
		}
		b.e.Update(func(tx *Tx) {
			for _, s := range tx.Services() {
				if s.Key.Port == service.Port() && s.Key.v6() && (s.Counters.InPkts != 2 || s.Counters.OutPkts != 2 || s.Counters.Conns != 1) {
					t.Errorf("counters %+v", s.Counters)
				}
			}
		})
	}
}

func TestIPv6DirectRouting(t *testing.T) {
	b := newBed6(t, Options{})
	b.command("-A -t [2001:db8:c::1]:443 -s rr", "-a -t [2001:db8:c::1]:443 -r [2001:db8:5::12]:443 -g")
	to := netip.AddrPortFrom(vip6.Addr(), 443)
	f := packet(ProtoTCP, client6, to, wire.SYN, nil)
	before := bytes.Clone(f.Eth())
	v, out := b.in(clientNIC, f)
	s := b.one(v, out, serverNIC, client6, to)
	before[wire.EthernetLen+7]-- // the hop limit is all that changes
	if !bytes.Equal(s.Eth()[wire.EthernetLen:], before[wire.EthernetLen:]) {
		t.Errorf("changed to %x", s.Eth())
	}
}

// An extension header of eight bytes of the kind stands before the transport
// header.
func extended(f nic.Frame, kind uint8) nic.Frame {
	const at = nic.VNetHdrLen + wire.EthernetLen
	ip := wire.IPv6(f.Buf[at:])
	buf := bytes.Clone(f.Buf[:at+wire.IPv6Len])
	buf = append(buf, ip.NextHeader(), 0, 1, 4, 0, 0, 0, 0) // PadN
	buf = append(buf, ip.Payload()...)
	head := wire.IPv6Fields{
		PayloadLen: ip.PayloadLen() + 8, NextHeader: kind, HopLimit: ip.HopLimit(), Src: ip.Src(), Dst: ip.Dst(),
	}
	wire.IPv6(buf[at:]).Encode(&head)
	return nic.Frame{Buf: buf, WireLen: len(buf) - nic.VNetHdrLen}
}

func TestIPv6ExtensionHeaders(t *testing.T) {
	const hopByHop, destinationOptions = 0, 60
	b := newBed6(t, Options{})
	for _, kind := range []uint8{hopByHop, destinationOptions} {
		v, out := b.in(clientNIC, extended(packet(ProtoTCP, client6, vip6, wire.SYN, nil), kind))
		if s := b.one(v, out, serverNIC, client6, rip6); s.pkt.L4-s.pkt.L3 != 48 {
			t.Errorf("the transport header is at %d", s.pkt.L4-s.pkt.L3)
		}
		v, out = b.in(serverNIC, extended(packet(ProtoTCP, rip6, client6, wire.SYN|wire.ACK, nil), kind))
		b.one(v, out, clientNIC, vip6, client6)
	}
}

func TestIPv6Answers(t *testing.T) {
	for _, c := range []struct {
		name     string
		prepare  func(b *bed)
		packet   nic.Frame
		typ      uint8
		code     uint8
		mtu      uint32
		reset    bool
		from     netip.Addr
		nic      int
		dropped  Reason
		toServer bool
	}{
		{
			name: "no server", prepare: func(b *bed) { b.command("-d -t [2001:db8:c::1]:80 -r [2001:db8:5::11]:8080") },
			packet: packet(ProtoTCP, client6, vip6, wire.SYN, nil), typ: 1, code: 4, from: vip6.Addr(),
		},
		{
			name: "no route to the server", prepare: func(b *bed) { b.routes.routes = b.routes.routes[:3] },
			packet: packet(ProtoTCP, client6, vip6, wire.SYN, nil), typ: 1, code: 3, from: vip6.Addr(),
		},
		{
			name: "hop limit", packet: hops(packet(ProtoTCP, client6, vip6, wire.SYN, nil), 1), typ: 3, code: 0, from: vip6.Addr(),
		},
		{
			name: "too big", prepare: func(b *bed) { b.routes.routes[3].hop.MTU = 1400 },
			packet: packet(ProtoUDP, client6, netip.AddrPortFrom(vip6.Addr(), 53), 0, make([]byte, 1353)), typ: 2, mtu: 1400, from: vip6.Addr(),
		},
		{
			name: "too big for a link that IPv6 does not have", prepare: func(b *bed) { b.routes.routes[3].hop.MTU = 1000 },
			packet: packet(ProtoUDP, client6, netip.AddrPortFrom(vip6.Addr(), 53), 0, make([]byte, 1000)), typ: 2, mtu: 1280, from: vip6.Addr(),
		},
		{
			name: "no connection, TCP", packet: packet(ProtoTCP, client6, vip6, wire.ACK, nil), reset: true, from: vip6.Addr(),
		},
		{
			name: "the answer too big", prepare: func(b *bed) {
				b.in(clientNIC, packet(ProtoTCP, client6, vip6, wire.SYN, nil))
				b.routes.routes[2].hop.MTU = 1300
			},
			packet: packet(ProtoTCP, rip6, client6, wire.ACK, make([]byte, 1300)), typ: 2, mtu: 1300,
			from: netip.MustParseAddr("2001:db8:5::1"), nic: serverNIC,
		},
		{
			name: "from an IPv4-mapped address", dropped: BadIPHeader,
			packet: packet6(netip.MustParseAddr("::ffff:192.0.2.7"), vip6.Addr()),
		},
		{name: "from ::1", dropped: Martian, packet: packet6(netip.IPv6Loopback(), vip6.Addr())},
		{name: "from ::", dropped: Martian, packet: packet6(netip.IPv6Unspecified(), vip6.Addr())},
		{name: "from multicast", dropped: Martian, packet: packet6(netip.MustParseAddr("ff02::1"), vip6.Addr())},
		{name: "from our own address", dropped: Martian, packet: packet6(netip.MustParseAddr("2001:db8:5::1"), vip6.Addr())},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBed6(t, Options{Guarded: true, ICMPRate: true})
			if c.prepare != nil {
				c.prepare(b)
				b.e.SetRoutes(b.routes)
			}
			at := c.nic
			if at == 0 {
				at = clientNIC
			}
			v, out := b.in(at, c.packet)
			if c.dropped != NoReason {
				if v != drop(c.dropped) {
					t.Fatalf("%v (%v)", v, v.Reason)
				}
				return
			}
			if v != replied || len(out) != 1 || out[0].port != at {
				t.Fatalf("%v (%v), %d frames", v, v.Reason, len(out))
			}
			s := &out[0]
			s.checksums(t)
			if a := netip.AddrFrom16(s.pkt.Src); a != c.from {
				t.Errorf("from %v", a)
			}
			if c.reset {
				if s.pkt.TCPFlags&wire.RST == 0 {
					t.Errorf("flags %#x", s.pkt.TCPFlags)
				}
				return
			}
			m := wire.ICMPv6(s.Eth()[s.pkt.L4:s.pkt.End])
			if s.pkt.Proto != wire.ProtoICMPv6 || m.Type() != c.typ || m.Code() != c.code || m.MTU() != c.mtu {
				t.Errorf("protocol %d, type %d, code %d, MTU %d", s.pkt.Proto, m.Type(), m.Code(), m.MTU())
			}
			var q wire.Packet
			if r := q.ParseQuoted(m, wire.ICMPLen, true); r != wire.Parsed || q.Src != s.pkt.Dst {
				t.Errorf("quotes %v of %v", r, netip.AddrFrom16(q.Src))
			}
		})
	}
}

func hops(f nic.Frame, n uint8) nic.Frame {
	f.Eth()[wire.EthernetLen+7] = n
	return f
}

// packet6 makes a SYN between any addresses.
func packet6(src, dst netip.Addr) nic.Frame {
	l4 := make([]byte, wire.TCPMinLen)
	wire.TCP(l4).Encode(&wire.TCPFields{SrcPort: 1234, DstPort: vip6.Port(), Flags: wire.SYN})
	f := packetOf(ProtoTCP, vip6.Addr(), vip6.Addr(), l4)
	wire.IPv6(f.Eth()[wire.EthernetLen:]).SetSrc(src.As16())
	wire.IPv6(f.Eth()[wire.EthernetLen:]).SetDst(dst.As16())
	return f
}

// complaint makes an ICMPv6 error from src to dst about the packet in f, of which
// it quotes at most n bytes.
func complaint(src, dst netip.Addr, typ, code uint8, f nic.Frame, n int) nic.Frame {
	quote := f.Eth()[wire.EthernetLen:]
	l4 := append(make([]byte, wire.ICMPLen), quote[:min(n, len(quote))]...)
	l4[0], l4[1] = typ, code
	return packetOf(wire.ProtoICMPv6, src, dst, l4)
}

func TestICMPv6ErrorsBothWays(t *testing.T) {
	router, hop := netip.MustParseAddr("2001:db8:c::fe"), netip.MustParseAddr("2001:db8:5::fe")
	for typ := uint8(1); typ <= 4; typ++ {
		for _, n := range []int{44, 48, 60, 1000} { // ports only, truncated headers, whole
			b := newBed6(t, Options{Guarded: true})
			b.in(clientNIC, packet(ProtoTCP, client6, vip6, wire.SYN, nil))

			// From behind the server about the client's packet.
			toServer := packet(ProtoTCP, client6, rip6, wire.ACK, make([]byte, 900))
			v, out := b.in(serverNIC, complaint(hop, client6.Addr(), typ, 1, toServer, n))
			s := b.one(v, out, clientNIC, netip.AddrPortFrom(vip6.Addr(), 0), netip.AddrPortFrom(client6.Addr(), 0))
			var q wire.Packet
			if r := q.ParseQuoted(s.Eth(), s.pkt.L4+wire.ICMPLen, true); r != wire.Parsed ||
				AddrPort(q.Src, q.SrcPort) != client6 || AddrPort(q.Dst, q.DstPort) != vip6 {
				t.Errorf("type %d, %d bytes: quotes %v from %v to %v", typ, n, r, AddrPort(q.Src, q.SrcPort), AddrPort(q.Dst, q.DstPort))
			}

			// From before the client about the server's packet.
			toClient := packet(ProtoTCP, vip6, client6, wire.ACK, make([]byte, 900))
			v, out = b.in(clientNIC, complaint(router, vip6.Addr(), typ, 1, toClient, n))
			s = b.one(v, out, serverNIC, netip.AddrPortFrom(router, 0), netip.AddrPortFrom(rip6.Addr(), 0))
			if r := q.ParseQuoted(s.Eth(), s.pkt.L4+wire.ICMPLen, true); r != wire.Parsed ||
				AddrPort(q.Src, q.SrcPort) != rip6 || AddrPort(q.Dst, q.DstPort) != client6 {
				t.Errorf("type %d, %d bytes: quotes %v from %v to %v", typ, n, r, AddrPort(q.Src, q.SrcPort), AddrPort(q.Dst, q.DstPort))
			}

			broken := complaint(router, vip6.Addr(), typ, 1, toClient, n)
			broken.Eth()[wire.EthernetLen+wire.IPv6Len+7] ^= 1
			if v, _ = b.in(clientNIC, broken); v != drop(BadICMPChecksum) {
				t.Errorf("type %d, %d bytes, a wrong checksum: %v (%v)", typ, n, v, v.Reason)
			}
		}
	}
}

// What the host itself says over ICMPv6, and what is said to it, is its own.
func TestICMPv6OfTheHost(t *testing.T) {
	b := newBed6(t, Options{Guarded: true})
	b.in(clientNIC, packet(ProtoTCP, client6, vip6, wire.SYN, nil))
	for _, typ := range []uint8{128, 129, 133, 134, 135, 136, 137} {
		l4 := make([]byte, 32)
		l4[0] = typ
		if v, _ := b.in(clientNIC, packetOf(wire.ProtoICMPv6, client6.Addr(), vip6.Addr(), l4)); v != passed {
			t.Errorf("type %d: %v (%v)", typ, v, v.Reason)
		}
	}
	stranger := packet(ProtoTCP, vip6, netip.MustParseAddrPort("[2001:db8:c::8]:7"), wire.ACK, nil)
	if v, _ := b.in(clientNIC, complaint(client6.Addr(), vip6.Addr(), 1, 4, stranger, 1000)); v != passed {
		t.Errorf("about no connection: %v (%v)", v, v.Reason)
	}
}

func TestIPv6PersistenceByPrefix(t *testing.T) {
	b := newBed6(t, Options{})
	b.command("-A -t [2001:db8:c::1]:443 -s rr -p 100 -M 56")
	for _, s := range []string{"11", "12", "13"} {
		b.command("-a -t [2001:db8:c::1]:443 -r [2001:db8:5::" + s + "]:443 -m")
	}
	b.routes.routes[2].to = netip.MustParsePrefix("2001:db8::/32")
	b.routes.routes[2], b.routes.routes[3] = b.routes.routes[3], b.routes.routes[2]
	b.e.SetRoutes(b.routes)
	first := b.opens(ProtoTCP, "[2001:db8:0:100::7]:1000", "[2001:db8:c::1]:443")
	if s := b.opens(ProtoTCP, "[2001:db8:0:1ff:ffff::8]:1000", "[2001:db8:c::1]:443"); s != first {
		t.Errorf("of one network: %v and %v", first, s)
	}
	if s := b.opens(ProtoTCP, "[2001:db8:0:200::8]:1000", "[2001:db8:c::1]:443"); s == first {
		t.Errorf("of two networks: both %v", s)
	}
	networks := map[string]bool{}
	for _, c := range b.templates() {
		networks[netip.AddrFrom16(c.Client).String()] = true
	}
	if len(networks) != 2 || !networks["2001:db8:0:100::"] || !networks["2001:db8:0:200::"] {
		t.Errorf("templates of %v", networks)
	}
}

func TestMaskClient(t *testing.T) {
	for mask, want := range map[uint32]string{
		1: "8000::", 63: "ffff:ffff:ffff:fffe::", 64: "ffff:ffff:ffff:ffff::", 65: "ffff:ffff:ffff:ffff:8000::",
		127: "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe", 128: "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
	} {
		a := Addr(bytes.Repeat([]byte{0xff}, 16))
		if maskClient(&a, mask); netip.AddrFrom16(a) != netip.MustParseAddr(want) {
			t.Errorf("/%d: %v", mask, netip.AddrFrom16(a))
		}
	}
}

func TestIPv6Marks(t *testing.T) {
	b := newBed6(t, Options{})
	b.command("-A -f 7 -6 -s rr -p 100", "-a -f 7 -6 -r [2001:db8:5::21]:0 -m", "-A -f 7 -s rr", "-a -f 7 -r 10.0.0.21:80 -m")
	b.marks(MarkRule{Selector{FirstPort: 5000, LastPort: 5001}, 7})
	if s := b.opens(ProtoTCP, client6.String(), "[2001:db8:77::1]:5000"); s != netip.MustParseAddrPort("[2001:db8:5::21]:5000") {
		t.Errorf("to %v", s)
	}
	if s := b.opens(ProtoTCP, client.String(), "203.0.113.1:5000"); s != netip.MustParseAddrPort("10.0.0.21:80") {
		t.Errorf("to %v", s)
	}
	if c := b.template(); c.Virtual != (Addr{3: 7}) || c.Proto != 0 {
		t.Errorf("template %+v", c)
	}
	v, out := b.in(serverNIC, packet(ProtoTCP, netip.MustParseAddrPort("[2001:db8:5::21]:5000"), client6, wire.SYN|wire.ACK, nil))
	b.one(v, out, clientNIC, netip.MustParseAddrPort("[2001:db8:77::1]:5000"), client6)
}

// Where one mark has a service of one address family, packets of the other
// are the host's.
func TestMarksOwnOneFamily(t *testing.T) {
	b := newBed(t, Options{Guarded: true})
	b.command("-A -f 7 -s rr", "-a -f 7 -r 10.0.0.21:80 -m")
	b.marks(MarkRule{Selector{FirstPort: 5000, LastPort: 5001}, 7})
	if v, _ := b.in(clientNIC, packet(ProtoTCP, client6, netip.AddrPortFrom(vip6.Addr(), 5000), wire.SYN, nil)); v != passed {
		t.Errorf("IPv6: %v (%v)", v, v.Reason)
	}
	if v, _ := b.in(clientNIC, packet(ProtoTCP, client, netip.AddrPortFrom(vip.Addr(), 5000), wire.ACK, nil)); v != replied {
		t.Errorf("IPv4: %v (%v)", v, v.Reason)
	}
}

func TestIPv6Commands(t *testing.T) {
	b := newBed6(t, Options{})
	for line, want := range map[string]syscall.Errno{
		"-A -t [2001:db8:c::1]:81 -s rr -M 0":                  syscall.EINVAL,
		"-A -t [2001:db8:c::1]:81 -s rr -M 129":                syscall.EINVAL,
		"-E -t [2001:db8:c::1]:80 -s rr -M 129":                syscall.EINVAL,
		"-A -t [2001:db8:c::1]:80 -s rr":                       syscall.EEXIST,
		"-a -t [2001:db8:c::1]:80 -r 10.0.0.1:80 -m":           syscall.EINVAL,
		"-a -t 192.0.2.1:80 -r [2001:db8:5::1]:80 -m":          syscall.EINVAL,
		"-a -t [2001:db8:c::1]:80 -r [fe80::1]:80 -m":          syscall.EINVAL,
		"-a -t [2001:db8:c::1]:80 -r [ff02::1]:80 -m":          syscall.EINVAL,
		"-a -t [2001:db8:c::1]:80 -r [::]:80 -m":               syscall.EINVAL,
		"-a -t [2001:db8:c::1]:80 -r [2001:db8:5::11]:8080 -m": syscall.EEXIST,
	} {
		if e, ok := command(b.e, line).(*Error); !ok || e.Errno != want {
			t.Errorf("%s: %v, want %v", line, e, want)
		}
	}
}

// A neighbour that does not answer is told of as address unreachable, from the
// VIP and about it.
func TestIPv6UnresolvedServer(t *testing.T) {
	b := newBed6(t, Options{})
	b.routes.routes[3].hop.State = nic.HopUnresolved
	b.e.SetRoutes(b.routes)
	if v, _ := b.in(clientNIC, packet(ProtoTCP, client6, vip6, wire.SYN, nil)); v != holding {
		t.Fatalf("%v (%v)", v, v.Reason)
	}
	w := b.workers[clientNIC]
	b.now += holdTime
	w.Idle(b.now)
	s := b.one(Verdict{}, b.out(w), clientNIC, netip.AddrPortFrom(vip6.Addr(), 0), netip.AddrPortFrom(client6.Addr(), 0))
	var q wire.Packet
	q.ParseQuoted(s.Eth(), s.pkt.L4+wire.ICMPLen, true)
	if s.pkt.ICMPType != 1 || s.pkt.ICMPCode != 3 || AddrPort(q.Dst, q.DstPort) != vip6 {
		t.Errorf("type %d, code %d about %v", s.pkt.ICMPType, s.pkt.ICMPCode, AddrPort(q.Dst, q.DstPort))
	}
}

// The limit on errors is wider for a peer that is reached by a wide route.
func TestICMPv6Rate(t *testing.T) {
	for bits, want := range map[int]int{128: 6, 64: 6 + 3, 0: 6 + 15} {
		b := newBed6(t, Options{ICMPRate: true})
		b.routes.routes[2].hop.Prefix = uint8(bits)
		b.e.SetRoutes(b.routes)
		b.command("-A -u [2001:db8:c::1]:99 -s rr")
		n := 0
		for i := range 100 {
			b.now += 999e6/100 - 1e6 // in() adds a millisecond
			if v, _ := b.in(clientNIC, packet(ProtoUDP, netip.AddrPortFrom(client6.Addr(), uint16(1000+i)), netip.AddrPortFrom(vip6.Addr(), 99), 0, nil)); v == replied {
				n++
			}
		}
		if n != want {
			t.Errorf("/%d: %d answers in a second, want %d", bits, n, want)
		}
	}
}

// A router tells the sender of a fragment that is too big, whichever of its
// datagram it is.
func TestIPv6FragmentsTooBig(t *testing.T) {
	big := packet(ProtoUDP, client6, netip.AddrPortFrom(vip6.Addr(), 53), 0, make([]byte, 4000))
	answer := packet(ProtoUDP, netip.AddrPortFrom(rip6.Addr(), 53), client6, 0, make([]byte, 4000))
	const small, large = 1200, 1440
	for _, c := range []struct {
		name   string
		in     int
		frames []nic.Frame
		want   []Kind
		from   string
	}{
		{"the first", clientNIC, cut(big, large, 1), []Kind{Reply, Dropped, Dropped}, "2001:db8:c::1"},
		{
			"a later one", clientNIC,
			[]nic.Frame{piece(big, 0, small, true, 2), piece(big, small, small+large, true, 2)},
			[]Kind{Forward, Reply},
			"2001:db8:c::1",
		},
		{
			"a later one of the server", serverNIC,
			[]nic.Frame{piece(answer, 0, small, true, 3), piece(answer, small, small+large, true, 3), piece(answer, small+large, small+large+80, true, 3)},
			[]Kind{Forward, Reply, Forward},
			"2001:db8:5::1",
		},
		{
			"a later one that came first", clientNIC,
			[]nic.Frame{piece(big, small, small+large, true, 4), piece(big, 0, small, true, 4)},
			[]Kind{Hold, Forward},
			"",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBed6(t, Options{})
			b.in(clientNIC, packet(ProtoUDP, client6, netip.AddrPortFrom(vip6.Addr(), 53), 0, nil))
			b.routes.routes[2].hop.MTU, b.routes.routes[3].hop.MTU = 1400, 1400
			b.e.SetRoutes(b.routes)
			for i, f := range c.frames {
				v, out := b.in(c.in, f)
				if v.Kind != c.want[i] {
					t.Fatalf("fragment %d: %v (%v)", i, v, v.Reason)
				}
				if v.Kind != Reply {
					continue
				}
				s := &out[0]
				s.checksums(t)
				if m := wire.ICMPv6(s.Eth()[s.pkt.L4:]); m.Type() != 2 || m.MTU() != 1400 || s.port != c.in ||
					netip.AddrFrom16(s.pkt.Src) != netip.MustParseAddr(c.from) {
					t.Errorf("type %d, MTU %d, from %v", m.Type(), m.MTU(), netip.AddrFrom16(s.pkt.Src))
				}
			}
			if c.from == "" {
				if l := b.workers[c.in].Ledger(); l.Dropped[TooBig] != 1 {
					t.Errorf("ledger %+v", l)
				}
			}
		})
	}
}

// Behind the fragment header other extension headers may stand, which all
// fragments name.
func TestIPv6FragmentsOfExtendedPackets(t *testing.T) {
	const destinationOptions = 60
	b := newBed6(t, Options{})
	f := extended(packet(ProtoUDP, client6, netip.AddrPortFrom(vip6.Addr(), 53), 0, make([]byte, 2000)), destinationOptions)
	for i, part := range cut(f, 1000, 7) {
		if v, out := b.in(clientNIC, part); v != forwarded || len(out) != 1 || netip.AddrFrom16(out[0].pkt.Dst) != rip6.Addr() {
			t.Errorf("fragment %d: %v (%v)", i, v, v.Reason)
		}
	}
	// The host's own pings are not waited for.
	ping := packetOf(wire.ProtoICMPv6, client6.Addr(), vip6.Addr(), append([]byte{128}, make([]byte, 3000)...))
	for i, part := range cut(ping, 1000, 8) {
		if v, _ := b.in(clientNIC, part); v != passed {
			t.Errorf("fragment %d of a ping: %v (%v)", i, v, v.Reason)
		}
	}
}

// A link-local address means nothing without its link: who has one is answered
// where the question came from, whatever the routes say.
func TestIPv6LinkLocalClient(t *testing.T) {
	b := newBed6(t, Options{Guarded: true})
	wrong := b.routes.routes[3]
	wrong.to = netip.MustParsePrefix("fe80::/64")
	b.routes.routes = append(b.routes.routes, wrong)
	b.e.SetRoutes(b.routes)
	b.command("-d -t [2001:db8:c::1]:80 -r [2001:db8:5::11]:8080")
	for _, flags := range []uint8{wire.SYN, wire.ACK} {
		f := packet(ProtoTCP, netip.MustParseAddrPort("[fe80::7]:40000"), vip6, flags, nil)
		wire.Ethernet(f.Eth()).SetSrc([6]byte{2, 5: 0x77})
		v, out := b.in(clientNIC, f)
		if v != replied || len(out) != 1 || out[0].port != clientNIC || wire.Ethernet(out[0].Eth()).Dst() != [6]byte{2, 5: 0x77} {
			t.Errorf("flags %#x: %v (%v), %d frames", flags, v, v.Reason, len(out))
		}
	}
	// Multicast, neighbour discovery above all, is the host's.
	f := packet(ProtoUDP, netip.MustParseAddrPort("[fe80::7]:5353"), netip.MustParseAddrPort("[ff02::fb]:5353"), 0, nil)
	f.Type = nic.ToMulticast
	if v, _ := b.in(clientNIC, f); v != passed {
		t.Errorf("multicast: %v", v)
	}
}

package nat

import (
	"net/netip"
	"slices"
	"syscall"
	"testing"

	"vsnat/conntrack"
	"vsnat/nat/wire"
	"vsnat/nic"
)

// bed is a director with a client side and a server side.
type bed struct {
	t       testing.TB
	e       *Engine
	routes  *testRoutes
	workers map[int]*Worker
	now     int64
	record  *Decision // on the last packet, nil if it did not leave
}

var (
	client = netip.MustParseAddrPort("192.0.2.7:40000")
	vip    = netip.MustParseAddrPort("192.0.2.1:80")
	rip    = netip.MustParseAddrPort("10.0.0.11:8080")
)

func newBed(t testing.TB, opt Options) *bed {
	hop := func(index int, prefix, own string, mac byte) testRoute {
		to := netip.MustParsePrefix(prefix)
		return testRoute{to, nic.Hop{
			Prefix: uint8(to.Bits()),
			State:  nic.HopResolved, Index: index, MTU: 1500, Src: netip.MustParseAddr(own).As16(),
			SrcMAC: [6]byte{2, 5: byte(index)}, DstMAC: [6]byte{2, 5: mac},
		}}
	}
	r := &testRoutes{
		local: []netip.Addr{vip.Addr(), netip.MustParseAddr("10.0.0.1"), vip6.Addr(), netip.MustParseAddr("2001:db8:5::1")},
		routes: []testRoute{
			hop(clientNIC, "192.0.2.0/24", "192.0.2.1", 0x10), hop(serverNIC, "10.0.0.0/24", "10.0.0.1", 0x20),
			hop(clientNIC, "2001:db8:c::/64", "2001:db8:c::1", 0x11), hop(serverNIC, "2001:db8:5::/64", "2001:db8:5::1", 0x21),
		},
	}
	b := &bed{t: t, e: newEngine(t, opt, r), routes: r, now: 1e9}
	b.workers = map[int]*Worker{clientNIC: b.e.NewWorker(clientNIC), serverNIC: b.e.NewWorker(serverNIC)}
	b.command("-A -t 192.0.2.1:80 -s rr", "-a -t 192.0.2.1:80 -r 10.0.0.11:8080 -m")
	return b
}

func (b *bed) command(lines ...string) {
	b.t.Helper()
	for _, l := range lines {
		if err := command(b.e, l); err != nil {
			b.t.Fatalf("%s: %v", l, err)
		}
	}
}

// sent is a frame that left and the NIC it left by.
type sent struct {
	nic.Frame
	pkt  wire.Packet
	port int
}

// in has the engine judge one frame that the NIC received.
func (b *bed) in(index int, f nic.Frame) (Verdict, []sent) {
	b.t.Helper()
	b.now += 1e6
	w := b.workers[index]
	batch := nic.Batch{N: 1}
	batch.Frames[0] = f
	w.Process(&batch, b.now)
	v := w.Verdict(0)
	b.record = nil
	if leaves := v.Kind == Forward || v.Kind == Reply; leaves != (w.Oldest() == 0) {
		b.t.Fatalf("%v %v, and the oldest packet that left is %d", v.Kind, v.Reason, w.Oldest())
	} else if leaves {
		b.record = recordOf(w)
	}
	return v, b.out(w)
}

func (b *bed) out(w *Worker) (frames []sent) {
	for _, o := range w.Out() {
		s := sent{port: o.Port, Frame: nic.Frame{Buf: slices.Concat(o.Frame.Buf, o.Frame.Tail)}}
		if r := s.pkt.Parse(s.Eth()); r != wire.Parsed && r != wire.LaterFragment && r != wire.OtherProtocol {
			b.t.Fatalf("a frame that left cannot be read: %v", r)
		}
		frames = append(frames, s)
	}
	w.Commit()
	if l := w.Ledger(); !l.Balanced() {
		b.t.Fatalf("the ledger does not balance: %+v", l)
	}
	return frames
}

// checksums fails the test unless all checksums of the frame are right.
func (s *sent) checksums(t testing.TB) {
	t.Helper()
	ip := wire.IP(s.Eth()[s.pkt.L3:s.pkt.End])
	l4 := s.Eth()[s.pkt.L4:s.pkt.End]
	if !ip.V6() && !wire.IPv4(ip).ChecksumOK() {
		t.Error("IP header checksum is wrong")
	}
	switch s.pkt.Proto {
	case wire.ProtoICMP:
		if !wire.ICMPv4(l4).ChecksumOK() {
			t.Error("ICMP checksum is wrong")
		}
	case wire.ProtoSCTP:
		if c := wire.SCTP(l4); c.Checksum() != c.CalculateChecksum() {
			t.Error("SCTP checksum is wrong")
		}
	default:
		if wire.Fold(wire.Sum(l4, ip.PseudoSum(s.pkt.Proto, len(l4)))) != 0xffff {
			t.Error("transport checksum is wrong")
		}
	}
}

func (b *bed) connect() {
	b.t.Helper()
	if v, _ := b.in(clientNIC, packet(ProtoTCP, client, vip, wire.SYN, nil)); v != forwarded {
		b.t.Fatalf("SYN: %v", v)
	}
	if v, _ := b.in(serverNIC, packet(ProtoTCP, rip, client, wire.SYN|wire.ACK, nil)); v != forwarded {
		b.t.Fatalf("SYN+ACK: %v", v)
	}
	if v, _ := b.in(clientNIC, packet(ProtoTCP, client, vip, wire.ACK, nil)); v != forwarded {
		b.t.Fatalf("ACK: %v", v)
	}
}

func TestMasqueradeBothWays(t *testing.T) {
	b := newBed(t, Options{})
	b.connect()
	v, out := b.in(clientNIC, packet(ProtoTCP, client, vip, wire.ACK, []byte("GET /")))
	if v != forwarded || len(out) != 1 {
		t.Fatalf("to the server: %v, %d frames", v, len(out))
	}
	f := &out[0]
	f.checksums(t)
	if f.port != serverNIC || AddrPort(f.pkt.Dst, f.pkt.DstPort) != rip || AddrPort(f.pkt.Src, f.pkt.SrcPort) != client {
		t.Errorf("to the server: %+v by NIC %d", f.pkt, f.port)
	}
	eth := wire.Ethernet(f.Eth())
	if eth.Dst() != [6]byte{2, 5: 0x20} || eth.Src() != [6]byte{2, 5: serverNIC} {
		t.Errorf("link layer %x from %x", eth.Dst(), eth.Src())
	}
	if ttl := wire.IPv4(f.Eth()[f.pkt.L3:]).TTL(); ttl != 63 {
		t.Errorf("TTL %d, want 63", ttl)
	}

	v, out = b.in(serverNIC, packet(ProtoTCP, rip, client, wire.ACK, []byte("200 OK")))
	if v != forwarded || len(out) != 1 {
		t.Fatalf("to the client: %v, %d frames", v, len(out))
	}
	f = &out[0]
	f.checksums(t)
	if f.port != clientNIC || AddrPort(f.pkt.Src, f.pkt.SrcPort) != vip || AddrPort(f.pkt.Dst, f.pkt.DstPort) != client {
		t.Errorf("to the client: %+v by NIC %d", f.pkt, f.port)
	}
	if c := b.e.Total(); c.Conns != 1 || c.InPkts != 3 || c.OutPkts != 2 {
		t.Errorf("counted %+v", c)
	}
}

// A partial checksum is the pseudo-header's sum: the port is not in it.
func TestPartialChecksumStaysPartial(t *testing.T) {
	b := newBed(t, Options{})
	f := packet(ProtoTCP, client, vip, wire.SYN, []byte("x"))
	h := f.VNet()
	h[0] = nic.VNetNeedsCsum
	ip := wire.IPv4(f.Eth()[wire.EthernetLen:])
	tcp := wire.TCP(ip.Payload())
	tcp.SetChecksum(wire.Fold(wire.PseudoSum4(ip.Src(), ip.Dst(), ProtoTCP, len(tcp))))
	_, out := b.in(clientNIC, f)
	if len(out) != 1 || !out[0].VNet().Partial() {
		t.Fatal("the mark of a partial checksum is lost")
	}
	o := &out[0]
	ip = wire.IPv4(o.Eth()[o.pkt.L3:o.pkt.End])
	want := wire.Fold(wire.PseudoSum4(ip.Src(), ip.Dst(), ProtoTCP, o.pkt.End-o.pkt.L4))
	if got := wire.TCP(o.Eth()[o.pkt.L4:o.pkt.End]).Checksum(); got != want {
		t.Errorf("partial sum %#x, want %#x", got, want)
	}
}

func TestVerdicts(t *testing.T) {
	change := func(f nic.Frame, by func(nic.Frame, wire.IPv4)) nic.Frame {
		ip := wire.IPv4(f.Eth()[wire.EthernetLen:])
		by(f, ip)
		ip.SetChecksum(ip.CalculateChecksum())
		return f
	}
	syn := func() nic.Frame { return packet(ProtoTCP, client, vip, wire.SYN, nil) }
	ack := func() nic.Frame { return packet(ProtoTCP, client, vip, wire.ACK, []byte("data")) }
	reply := func(flags uint8) nic.Frame { return packet(ProtoTCP, rip, client, flags, nil) }
	elsewhere := netip.MustParseAddrPort("192.0.2.1:22")
	for _, c := range []struct {
		name    string
		guarded bool
		router  bool
		setup   []string
		connect bool
		at      int
		frame   nic.Frame
		want    Verdict
		icmp    [2]uint8 // of the answer
		flags   uint8    // of the answering TCP segment
	}{
		{name: "another port of the VIP is the host's", at: clientNIC, frame: packet(ProtoTCP, client, elsewhere, wire.SYN, nil), want: passed},
		{name: "ACK of no connection is the host's", at: clientNIC, frame: ack(), want: passed},
		{name: "and reset where the host does not see it", guarded: true, at: clientNIC, frame: ack(), want: replied, flags: wire.RST},
		{name: "a reset gets no answer", guarded: true, at: clientNIC, frame: packet(ProtoTCP, client, vip, wire.RST, nil), want: drop(NoAnswer)},
		{name: "reply of no connection is the host's", at: serverNIC, frame: reply(wire.ACK), want: passed},
		{name: "and ends where the host does not see it and is no router", guarded: true, at: serverNIC, frame: reply(wire.ACK), want: drop(NoConnection)},
		{name: "but goes on where it is one", guarded: true, router: true, at: serverNIC, frame: reply(wire.ACK), want: forwarded},
		{name: "a server talks to the director itself", guarded: true, at: serverNIC, frame: packet(ProtoTCP, rip, netip.MustParseAddrPort("10.0.0.1:33333"), wire.ACK, nil), want: passed},
		{name: "TTL 1 to the server", at: clientNIC, frame: change(syn(), func(_ nic.Frame, ip wire.IPv4) { ip[8] = 1 }), want: replied, icmp: [2]uint8{11, 0}},
		{name: "TTL 1 to the client", connect: true, at: serverNIC, frame: change(reply(wire.ACK), func(_ nic.Frame, ip wire.IPv4) { ip[8] = 1 }), want: replied, icmp: [2]uint8{11, 0}},
		{name: "weight 0: no server", setup: []string{"-e -t 192.0.2.1:80 -r 10.0.0.11:8080 -m -w 0"}, at: clientNIC, frame: syn(), want: replied, icmp: [2]uint8{3, 3}},
		{name: "weight 0: the connection goes on", connect: true, setup: []string{"-e -t 192.0.2.1:80 -r 10.0.0.11:8080 -m -w 0"}, at: clientNIC, frame: ack(), want: forwarded},
		{name: "deleted server", connect: true, setup: []string{"-d -t 192.0.2.1:80 -r 10.0.0.11:8080"}, at: clientNIC, frame: ack(), want: drop(ServerGone)},
		{name: "deleted server's replies go on", connect: true, setup: []string{"-d -t 192.0.2.1:80 -r 10.0.0.11:8080"}, at: serverNIC, frame: reply(wire.ACK), want: forwarded},
		{name: "server that came back", connect: true, setup: []string{"-D -t 192.0.2.1:80", "-A -t 192.0.2.1:80 -s wlc", "-a -t 192.0.2.1:80 -r 10.0.0.11:8080 -m"}, at: clientNIC, frame: ack(), want: forwarded},
		{name: "bad IP checksum", at: clientNIC, frame: func() nic.Frame { f := syn(); f.Eth()[24] ^= 1; return f }(), want: drop(BadIPChecksum)},
		{name: "no room for TCP's header", at: clientNIC, frame: change(syn(), func(f nic.Frame, ip wire.IPv4) { ip[2], ip[3] = 0, 30 }), want: drop(Truncated)},
		{name: "longer than the frame", at: clientNIC, frame: change(syn(), func(f nic.Frame, ip wire.IPv4) { ip[2] = 5 }), want: drop(Truncated)},
		{name: "short of an IP header", at: clientNIC, frame: func() nic.Frame { f := syn(); f.Buf, f.WireLen = f.Buf[:nic.VNetHdrLen+20], 20; return f }(), want: drop(Truncated)},
		{name: "spoofed own address", at: clientNIC, frame: packet(ProtoTCP, netip.MustParseAddrPort("10.0.0.1:1"), vip, wire.SYN, nil), want: drop(Martian)},
		{name: "source from nowhere", at: clientNIC, frame: packet(ProtoTCP, netip.MustParseAddrPort("224.0.0.1:1"), vip, wire.SYN, nil), want: drop(Martian)},
		{name: "first fragment", at: clientNIC, frame: change(syn(), func(_ nic.Frame, ip wire.IPv4) { ip[6] = 0x20 }), want: drop(Fragment)},
		{name: "another station's frame", at: clientNIC, frame: func() nic.Frame { f := syn(); f.Type = nic.ToOther; return f }(), want: passed},
		{name: "tagged ARP", at: clientNIC, frame: func() nic.Frame {
			f := syn()
			wire.Ethernet(f.Eth()).SetType(wire.TypeARP)
			f.VLAN, f.VLANProto = 5, wire.TypeVLAN
			return f
		}(), want: passed},
		{name: "ARP", at: clientNIC, frame: func() nic.Frame { f := syn(); wire.Ethernet(f.Eth()).SetType(wire.TypeARP); return f }(), want: passed},
		{name: "too big, DF", connect: true, at: clientNIC, frame: packet(ProtoTCP, client, vip, wire.ACK, make([]byte, 1461)), want: replied, icmp: [2]uint8{3, 4}},
		{name: "too big, may be cut", connect: true, at: clientNIC, frame: change(packet(ProtoTCP, client, vip, wire.ACK, make([]byte, 1461)), func(_ nic.Frame, ip wire.IPv4) { ip[6] = 0 }), want: forwarded},
		{name: "super-frame of segments that fit", connect: true, at: clientNIC, frame: func() nic.Frame {
			f := packet(ProtoTCP, client, vip, wire.ACK, make([]byte, 9000))
			h := f.VNet()
			h[1], h[4], h[5] = nic.VNetGSOTCPv4, 1460&0xff, 1460>>8
			return f
		}(), want: forwarded},
		{name: "no route to the server", setup: []string{"-a -t 192.0.2.1:80 -r 172.16.0.1:80 -m -w 5", "-d -t 192.0.2.1:80 -r 10.0.0.11:8080"}, at: clientNIC, frame: syn(), want: replied, icmp: [2]uint8{3, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBed(t, Options{Guarded: c.guarded})
			b.routes.router = c.router
			if c.connect {
				b.connect()
			}
			b.command(c.setup...)
			v, out := b.in(c.at, c.frame)
			if v != c.want {
				t.Fatalf("verdict %v (%v), want %v (%v)", v, v.Reason, c.want, c.want.Reason)
			}
			if v.Kind != Reply {
				return
			}
			if len(out) != 1 {
				t.Fatalf("%d frames left", len(out))
			}
			a := &out[0]
			a.checksums(t)
			if a.port != c.at {
				t.Errorf("the answer left by NIC %d", a.port)
			}
			if a.pkt.ICMPType != c.icmp[0] || a.pkt.ICMPCode != c.icmp[1] || a.pkt.TCPFlags&wire.RST != c.flags {
				t.Errorf("answer %+v", a.pkt)
			}
		})
	}
}

func TestICMPErrorReachesTheServerAsItsOwn(t *testing.T) {
	b := newBed(t, Options{})
	b.connect()
	// A router near the client could not deliver what the VIP sent it.
	quoted := packet(ProtoTCP, vip, client, wire.ACK, []byte("some payload"))
	var buf [600]byte
	n := wire.BuildICMPv4Error(buf[:], [4]byte{192, 0, 2, 254}, 1, 3, 4, 1280, wire.IPv4(quoted.Eth()[wire.EthernetLen:]))
	f := nic.Frame{Buf: make([]byte, nic.VNetHdrLen+wire.EthernetLen+n)}
	wire.Ethernet(f.Eth()).SetType(wire.TypeIPv4)
	copy(f.Eth()[wire.EthernetLen:], buf[:n])
	v, out := b.in(clientNIC, f)
	if v != forwarded || len(out) != 1 {
		t.Fatalf("verdict %v", v)
	}
	o := &out[0]
	o.checksums(t)
	var q wire.Packet
	q.ParseQuoted(o.Eth(), o.pkt.L4+wire.ICMPLen, false)
	if AddrPort(o.pkt.Dst, 0).Addr() != rip.Addr() || AddrPort(q.Src, q.SrcPort) != rip || AddrPort(q.Dst, q.DstPort) != client {
		t.Errorf("outer %v, quoted %v to %v", o.pkt.Dst, AddrPort(q.Src, q.SrcPort), AddrPort(q.Dst, q.DstPort))
	}
}

func TestNeighbourThatAnswersLate(t *testing.T) {
	b := newBed(t, Options{})
	b.routes.routes[1].hop.State = nic.HopUnresolved
	b.e.SetRoutes(b.routes)
	v, out := b.in(clientNIC, packet(ProtoTCP, client, vip, wire.SYN, nil))
	if v != holding || len(out) != 0 {
		t.Fatalf("verdict %v, %d frames", v, len(out))
	}
	if l := b.workers[clientNIC].Ledger(); l.Held != 1 {
		t.Fatalf("held %d", l.Held)
	}
	b.routes.routes[1].hop.State = nic.HopResolved
	b.e.SetRoutes(b.routes)
	w := b.workers[clientNIC]
	b.now += 1e8
	w.Idle(b.now)
	out = b.out(w)
	if len(out) != 1 || AddrPort(out[0].pkt.Dst, out[0].pkt.DstPort) != rip {
		t.Fatalf("%d frames left", len(out))
	}
	if l := w.Ledger(); l.Held != 0 || l.Forwarded != 1 || l.Received != 1 {
		t.Fatalf("ledger %+v", l)
	}
}

func TestNeighbourThatNeverAnswers(t *testing.T) {
	b := newBed(t, Options{})
	b.routes.routes[1].hop.State = nic.HopUnresolved
	b.e.SetRoutes(b.routes)
	w := b.workers[clientNIC]
	for i := range holdSlots + 5 {
		v, _ := b.in(clientNIC, packet(ProtoTCP, netip.AddrPortFrom(client.Addr(), uint16(1000+i)), vip, wire.SYN, nil))
		if want := map[bool]Verdict{true: holding, false: drop(HoldFull)}[i < holdSlots]; v != want {
			t.Fatalf("packet %d: %v (%v)", i, v, v.Reason)
		}
	}
	b.now += 4e9
	w.Idle(b.now)
	out := b.out(w)
	if len(out) != holdSlots {
		t.Fatalf("%d answers, want %d", len(out), holdSlots)
	}
	for i := range out {
		out[i].checksums(t)
		var q wire.Packet
		q.ParseQuoted(out[i].Eth(), out[i].pkt.L4+wire.ICMPLen, false)
		if p := &out[i].pkt; p.ICMPType != 3 || p.ICMPCode != 1 || AddrPort(p.Src, 0).Addr() != vip.Addr() || AddrPort(q.Dst, q.DstPort) != vip {
			t.Fatalf("answer %+v quotes %v", p, AddrPort(q.Dst, q.DstPort))
		}
	}
	if l := w.Ledger(); l.Held != 0 || l.Replied != holdSlots {
		t.Fatalf("ledger %+v", l)
	}
}

func TestFloodFillsTheTableAndPasses(t *testing.T) {
	b := newBed(t, Options{Conns: conntrack.Config{Max: 1000}})
	b.connect()
	full := 0
	for i := range 5000 {
		src := netip.AddrPortFrom(netip.AddrFrom4([4]byte{100, byte(i >> 8), byte(i), 1}), 1234)
		switch v, _ := b.in(clientNIC, packet(ProtoTCP, src, vip, wire.SYN, nil)); v {
		case forwarded:
		case drop(TableFull):
			full++
		default:
			t.Fatalf("SYN %d: %v (%v)", i, v, v.Reason)
		}
	}
	if n := b.e.Table().Len(); n != 1000 || full != 4001 {
		t.Fatalf("%d connections, %d refused", n, full)
	}
	if v, _ := b.in(clientNIC, packet(ProtoTCP, client, vip, wire.ACK, nil)); v != forwarded {
		t.Errorf("the established connection: %v", v)
	}
	b.now += 62e9 // SYN_RECV ends after 60 s
	for b.e.Expire(b.now, 100) > 0 {
	}
	if n := b.e.Table().Len(); n != 1 {
		t.Fatalf("%d connections are left", n)
	}
	if v, _ := b.in(clientNIC, packet(ProtoTCP, netip.MustParseAddrPort("100.0.0.9:9"), vip, wire.SYN, nil)); v != forwarded {
		t.Errorf("a new one after the flood: %v", v)
	}
}

func TestRefusals(t *testing.T) {
	b := newBed(t, Options{})
	for _, c := range []struct {
		line string
		want syscall.Errno
	}{
		{"-A -t 192.0.2.1:80 -s rr", syscall.EEXIST},
		{"-A -t 192.0.2.1:81 -s none-such", syscall.ENOENT},
		{"-E -t 192.0.2.1:81 -s rr", syscall.ESRCH},
		{"-E -t 192.0.2.1:80 -s none-such", syscall.ENOENT},
		{"-D -t 192.0.2.1:81", syscall.ESRCH},
		{"-a -t 192.0.2.1:81 -r 10.0.0.12:80 -m", syscall.ESRCH},
		{"-a -t 192.0.2.1:80 -r 10.0.0.11:8080 -m", syscall.EEXIST},
		{"-a -t 192.0.2.1:80 -r 224.0.0.1:80 -m", syscall.EINVAL},
		{"-a -t 192.0.2.1:80 -r 10.0.0.12:80 -m -x 5 -y 6", syscall.ERANGE},
		{"-a -t 192.0.2.1:80 -r 10.0.0.12:80 -m -x 3000000000 -y 6", syscall.EINVAL},
		{"-e -t 192.0.2.1:80 -r 10.0.0.12:80 -m", syscall.ENOENT},
		{"-d -t 192.0.2.1:80 -r 10.0.0.12:80", syscall.ENOENT},
		{"-d -t 192.0.2.1:81 -r 10.0.0.12:80", syscall.ESRCH},
	} {
		err := command(b.e, c.line)
		if e, ok := err.(*Error); !ok || e.Errno != c.want {
			t.Errorf("%s: %v, want %v", c.line, err, c.want)
		}
	}
	b.connect() // what was refused has changed nothing
}

func TestDeletedServersAreFreedOnlyWhenUnused(t *testing.T) {
	b := newBed(t, Options{})
	b.connect()
	b.command("-C")
	if o := b.e.Owned(); len(o.Services) != 1 || len(o.Servers) != 1 {
		t.Fatalf("the guard lets go while a connection is left: %+v", o)
	}
	b.e.Tick(b.now)
	b.now += 1000e9
	b.e.Expire(b.now, 10)
	if !b.e.Tick(b.now) {
		t.Error("nothing changed when the last connection ended")
	}
	if o := b.e.Owned(); len(o.Services)+len(o.Servers) != 0 {
		t.Errorf("still owned: %+v", o)
	}
	for range 5 {
		b.now += 60e9
		b.e.Tick(b.now)
	}
	if len(b.e.trash) != 0 || len(b.e.free) != 1 {
		t.Errorf("trash %d, free %d", len(b.e.trash), len(b.e.free))
	}
}

func TestSchedulingAllocatesNothing(t *testing.T) {
	b := newBed(t, Options{})
	b.command("-A -u 192.0.2.1:53 -s wrr", "-a -u 192.0.2.1:53 -r 10.0.0.11:53 -m")
	w := b.workers[clientNIC]
	dns := netip.MustParseAddrPort("192.0.2.1:53")
	batch := nic.Batch{N: 1}
	port := uint16(1)
	fresh := packet(ProtoUDP, client, dns, 0, nil)
	f := packet(ProtoUDP, client, dns, 0, nil)
	run := func() {
		copy(f.Buf, fresh.Buf)
		port++
		wire.UDP(f.Eth()[34:]).Encode(&wire.UDPFields{SrcPort: port, DstPort: 53, Length: 8})
		batch.Frames[0] = f
		b.now += 1e6
		w.Process(&batch, b.now)
		w.Commit()
		if port%64 == 0 { // make room, so that no new memory for records is due
			b.now += 400e9
			b.e.Expire(b.now, 1<<20)
		}
	}
	for range 20000 {
		run()
	}
	before := b.e.Total().Conns
	if n := testing.AllocsPerRun(2000, run); n != 0 {
		t.Errorf("%v allocations a new connection", n)
	}
	if after := b.e.Total().Conns; after-before < 2000 {
		t.Errorf("only %d connections were scheduled", after-before)
	}
}

func TestJudgingAllocatesNothing(t *testing.T) {
	b := newBed(t, Options{Guarded: true})
	b.connect()
	w := b.workers[clientNIC]
	frames := []nic.Frame{
		packet(ProtoTCP, client, vip, wire.ACK, []byte("data")),
		packet(ProtoTCP, netip.MustParseAddrPort("192.0.2.9:9"), vip, wire.ACK, nil),
		packet(ProtoUDP, client, netip.MustParseAddrPort("192.0.2.1:53"), 0, []byte("query")),
		chunks(client, sctpVIP, wire.SCTPInit), chunks(client, sctpVIP, wire.SCTPCookieEcho, wire.SCTPData),
		chunks(addrPort(client.Addr(), 9), sctpVIP, wire.SCTPData),
		packet(ProtoTCP, client6, vip6, wire.SYN, []byte("data")),
		packet(ProtoTCP, netip.AddrPortFrom(client6.Addr(), 9), vip6, wire.ACK, nil),
		extended(packet(ProtoTCP, client6, vip6, wire.SYN, nil), 60),
		complaint(client6.Addr(), vip6.Addr(), 1, 4, packet(ProtoTCP, vip6, client6, wire.ACK, nil), 60),
		tagged(packet(ProtoTCP, client6, vip6, wire.SYN, nil), 10, false),
	}
	b.command("-A -t [2001:db8:c::1]:80 -s rr", "-a -t [2001:db8:c::1]:80 -r [2001:db8:5::11]:8080 -m")
	b.command("-A --sctp-service 192.0.2.1:3868 -s rr", "-a --sctp-service 192.0.2.1:3868 -r 10.0.0.11:3869 -m")
	fresh := make([][]byte, len(frames))
	for i := range frames {
		fresh[i] = append([]byte(nil), frames[i].Buf...)
	}
	batch := nic.Batch{N: len(frames)}
	run := func() {
		for i := range frames {
			copy(frames[i].Buf, fresh[i])
			batch.Frames[i] = frames[i]
		}
		b.now += 1e6
		w.Process(&batch, b.now)
		w.Commit()
	}
	run()
	if n := testing.AllocsPerRun(200, run); n != 0 {
		t.Errorf("%v allocations a batch", n)
	}
	if w.Ledger().Forwarded == 0 {
		t.Error("nothing was forwarded")
	}
}

package nat

import (
	"bytes"
	"net/netip"
	"testing"

	"vsnat/conntrack"
	"vsnat/nat/wire"
	"vsnat/nic"
)

func newDirectBed(t testing.TB, opt Options) *bed {
	b := newBed(t, opt)
	b.command("-D -t 192.0.2.1:80",
		"-A -t 192.0.2.1:80 -s rr", "-a -t 192.0.2.1:80 -r 10.0.0.11:80 -g",
		"-A -u 192.0.2.1:53 -s rr", "-a -u 192.0.2.1:53 -r 10.0.0.11:53 -g")
	return b
}

// Only the addresses of the link layer and the time to live change. The checksum
// stays as it is, wrong, missing or still to be completed.
func TestDirectRouting(t *testing.T) {
	b := newDirectBed(t, Options{Guarded: true})
	wrong := packet(ProtoTCP, client, vip, wire.ACK, []byte("GET /"))
	wrong.Eth()[len(wrong.Eth())-1]++
	none := packet(ProtoUDP, client, dnsVIP, 0, []byte("name?"))
	copy(none.Eth()[wire.EthernetLen+wire.IPv4MinLen+6:], []byte{0, 0})
	for name, f := range map[string]nic.Frame{
		"SYN": packet(ProtoTCP, client, vip, wire.SYN, nil), "wrong checksum": wrong, "no checksum": none,
	} {
		if name == "wrong checksum" {
			b.in(clientNIC, packet(ProtoTCP, client, vip, wire.SYN, nil))
		}
		want := bytes.Clone(f.Buf)
		v, out := b.in(clientNIC, f)
		if v != forwarded || len(out) != 1 || out[0].port != serverNIC {
			t.Errorf("%s: %v, %d frames", name, v, len(out))
			continue
		}
		eth := wire.Ethernet(want[nic.VNetHdrLen:])
		eth.SetDst([6]byte{2, 5: 0x20})
		eth.SetSrc([6]byte{2, 5: serverNIC})
		wire.IPv4(eth[wire.EthernetLen:]).DecTTL()
		if !bytes.Equal(out[0].Buf, want) {
			t.Errorf("%s:\n% x, want\n% x", name, out[0].Buf, want)
		}
	}
}

// The server's packets do not pass: the states follow the client's alone.
func TestDirectRoutingFollowsOneSide(t *testing.T) {
	b := newDirectBed(t, Options{})
	state := func() (name string, flags conntrack.Flags) {
		b.e.Table().Range(func(c *conntrack.Conn) bool {
			name, flags = b.stateOf(c), c.Flags
			return true
		})
		return name, flags
	}
	for _, s := range []struct {
		flags uint8
		want  string
	}{
		{wire.SYN, "SYN_RECV"}, {wire.ACK, "ESTABLISHED"}, {wire.FIN | wire.ACK, "FIN_WAIT"}, {wire.ACK, "FIN_WAIT"},
	} {
		b.in(clientNIC, packet(ProtoTCP, client, vip, s.flags, nil))
		if name, flags := state(); name != s.want || flags&conntrack.NoOutput == 0 || flags&conntrack.MethodMask != 3 {
			t.Errorf("after flags %#x: %s, %#x, want %s", s.flags, name, flags, s.want)
		}
	}
	// A packet from the server that comes by way of us after all.
	v, _ := b.in(serverNIC, packet(ProtoTCP, vip, client, wire.FIN|wire.ACK, nil))
	if name, flags := state(); v != passed || name != "FIN_WAIT" || flags&conntrack.NoOutput != 0 {
		t.Errorf("after the server's: %v, %s, %#x", v, name, flags)
	}
	var s ServiceInfo
	b.e.Update(func(tx *Tx) { s, _ = tx.Service(vipKey) })
	if c := s.Servers[0].Counters; c.Conns != 1 || c.InPkts != 4 || c.OutPkts != 1 {
		t.Errorf("%+v", c)
	}
}

func TestDirectRoutingRefusals(t *testing.T) {
	syn := func(ttl uint8, size int) nic.Frame {
		f := packet(ProtoTCP, client, vip, wire.SYN, make([]byte, size))
		ip := wire.IPv4(f.Eth()[wire.EthernetLen:])
		ip.Encode(&wire.IPv4Fields{
			TotalLen: ip.TotalLen(), Flags: wire.IPv4DontFragment, TTL: ttl, Protocol: ProtoTCP, Src: ip.Src(), Dst: ip.Dst(),
		})
		return f
	}
	for _, c := range []struct {
		name       string
		frame      nic.Frame
		routes     func(hop *nic.Hop)
		typ, code  uint8
		wantAnswer bool
		want       Verdict
	}{
		{"TTL", syn(1, 0), nil, wire.ICMPv4TimeExceeded, wire.ICMPv4HopsExceeded, true, replied},
		{"MTU", syn(64, 1300), func(h *nic.Hop) { h.MTU = 1280 }, wire.ICMPv4DstUnreachable, wire.ICMPv4FragNeeded, true, replied},
		{"no route", syn(64, 0), func(h *nic.Hop) { h.State = nic.HopNoRoute }, wire.ICMPv4DstUnreachable, wire.ICMPv4HostUnreachable, true, replied},
		{"local", syn(64, 0), func(h *nic.Hop) { h.State = nic.HopLocal }, 0, 0, false, drop(ServerIsLocal)},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newDirectBed(t, Options{})
			if c.routes != nil {
				c.routes(&b.routes.routes[1].hop)
			}
			v, out := b.in(clientNIC, c.frame)
			if v != c.want || (len(out) == 1) != c.wantAnswer {
				t.Fatalf("%v, %d frames", v, len(out))
			}
			if c.wantAnswer && (out[0].pkt.ICMPType != c.typ || out[0].pkt.ICMPCode != c.code || AddrPort(out[0].pkt.Src, 0).Addr() != vip.Addr()) {
				t.Errorf("%+v", out[0].pkt)
			}
		})
	}
}

// A packet that waits for its server's link-layer address waits for the server's,
// though it is addressed to the VIP; so does the rest of its datagram.
func TestDirectRoutingWaitsForTheServer(t *testing.T) {
	b := newDirectBed(t, Options{})
	hop := &b.routes.routes[1].hop
	hop.State = nic.HopUnresolved
	frames := cut(packet(ProtoUDP, client, dnsVIP, 0, make([]byte, 3000)), 1480, 5)
	for i := range frames {
		if v, _ := b.in(clientNIC, frames[i]); v != holding {
			t.Errorf("fragment %d: %v", i, v)
		}
	}
	hop.State = nic.HopResolved
	b.e.SetRoutes(b.routes)
	w := b.workers[clientNIC]
	w.Idle(b.now + 1e9)
	var all []*nic.Frame
	out := b.out(w)
	for i := range out {
		if out[i].port != serverNIC || wire.Ethernet(out[i].Eth()).Dst() != [6]byte{2, 5: 0x20} {
			t.Errorf("leaves by NIC %d", out[i].port)
		}
		all = append(all, &out[i].Frame)
	}
	if len(all) != 3 {
		t.Fatalf("%d frames left", len(all))
	}
	whole := together(t, all)
	if ip := wire.IPv4(whole.Eth()[wire.EthernetLen:]); netip.AddrFrom4(ip.Dst()) != vip.Addr() {
		t.Errorf("goes to %v", ip.Dst())
	}
}

// An error about a packet that a server sent to a client reaches the server as it
// is.
func TestDirectRoutingOfErrors(t *testing.T) {
	b := newDirectBed(t, Options{})
	b.in(clientNIC, packet(ProtoTCP, client, vip, wire.SYN, nil))
	quoted := packet(ProtoTCP, vip, client, wire.ACK, nil)
	buf := make([]byte, nic.VNetHdrLen+wire.EthernetLen+576)
	n := wire.BuildICMPv4Error(buf[nic.VNetHdrLen+wire.EthernetLen:], [4]byte{192, 0, 2, 254}, 1, wire.ICMPv4DstUnreachable,
		wire.ICMPv4FragNeeded, 1280, wire.IPv4(quoted.Eth()[wire.EthernetLen:]))
	f := nic.Frame{Buf: buf[:nic.VNetHdrLen+wire.EthernetLen+n], WireLen: wire.EthernetLen + n}
	wire.Ethernet(f.Eth()).SetType(wire.TypeIPv4)
	want := bytes.Clone(f.Eth()[wire.EthernetLen:])
	wire.IPv4(want).DecTTL()
	v, out := b.in(clientNIC, f)
	if v != forwarded || len(out) != 1 || out[0].port != serverNIC || !bytes.Equal(out[0].Eth()[wire.EthernetLen:], want) {
		t.Errorf("%v, %d frames", v, len(out))
	}
}

// A reset for the server is addressed as the client's packets are.
func TestDirectRoutingResetsTheServer(t *testing.T) {
	b := newDirectBed(t, Options{})
	b.e.Update(func(tx *Tx) {
		p := LifePolicy{Removed: EventPolicy{First: Actions{Established: ResetBoth}}}
		if err := tx.SetLife(vipKey, p); err != nil {
			t.Fatal(err)
		}
	})
	b.in(clientNIC, packet(ProtoTCP, client, vip, wire.SYN, nil))
	b.in(clientNIC, packet(ProtoTCP, client, vip, wire.ACK, nil))
	b.command("-d -t 192.0.2.1:80 -r 10.0.0.11:80")
	v, out := b.in(clientNIC, packet(ProtoTCP, client, vip, wire.ACK, []byte("GET /")))
	if v != replied || len(out) != 2 {
		t.Fatalf("%v, %d frames", v, len(out))
	}
	for i, want := range []struct {
		port     int
		from, to netip.AddrPort
	}{{clientNIC, vip, client}, {serverNIC, client, vip}} {
		f := &out[i]
		f.checksums(t)
		if f.port != want.port || f.pkt.TCPFlags&wire.RST == 0 ||
			AddrPort(f.pkt.Src, f.pkt.SrcPort) != want.from || AddrPort(f.pkt.Dst, f.pkt.DstPort) != want.to {
			t.Errorf("frame %d by NIC %d: %+v", i, f.port, f.pkt)
		}
	}
}

// Our own error about a packet for a server that answers directly counts as that
// server's, as in the kernel; about one that is scheduled by itself it does not.
func TestDirectErrorsCountAsTheServers(t *testing.T) {
	to := netip.MustParseAddrPort("192.0.2.1:99")
	for _, c := range []struct {
		service string
		want    uint64
	}{{"-u 192.0.2.1:99 -s rr", 1}, {"-u 192.0.2.1:99 -s rr -o", 0}} {
		b := newBed(t, Options{})
		b.command("-A "+c.service, "-a -u 192.0.2.1:99 -r 10.0.0.12:99 -g")
		f := packet(ProtoUDP, client, to, 0, nil)
		ip := wire.IPv4(f.Eth()[wire.EthernetLen:])
		ip[8] = 1
		ip.SetChecksum(ip.CalculateChecksum())
		v, out := b.in(clientNIC, f)
		if v != replied || len(out) != 1 {
			t.Fatalf("%v", v)
		}
		b.e.Update(func(tx *Tx) {
			info, err := tx.Service(ServiceKey{Proto: ProtoUDP, Addr: to.Addr().As16(), Port: 99})
			if err != nil || info.Counters.OutPkts != c.want || info.Counters.OutBytes != c.want*uint64(len(out[0].Eth())-wire.EthernetLen) {
				t.Errorf("%s: %+v, %v", c.service, info.Counters, err)
			}
		})
	}
}

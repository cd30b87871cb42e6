package nat

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"vsnat/conntrack"
	"vsnat/nat/forward"
	"vsnat/nat/wire"
	"vsnat/nic"
)

// The tests' tunnels: the services of both families on port 80 have one server,
// of either family.
var (
	tunnelEnds  = map[string]netip.Addr{"4": netip.MustParseAddr("10.0.0.11"), "6": netip.MustParseAddr("2001:db8:5::11")}
	tunnelKinds = []string{
		"ipip", "gue --tun-port 5555 --tun-nocsum", "gue --tun-port 5555 --tun-csum", "gue --tun-port 5555 --tun-remcsum",
		"gre --tun-nocsum", "gre --tun-csum",
	}
)

// newTunnelBed has both families' services tunnel to that server.
func newTunnelBed(t testing.TB, kind string, server netip.Addr) *bed {
	b := newBed6(t, Options{Conns: conntrack.Config{Max: 100, Shards: 1}})
	b.command("-C")
	for _, s := range []string{"-t " + vip.String(), "-t " + vip6.String(), "-u 192.0.2.1:53", "-u [2001:db8:c::1]:53"} {
		port := netip.MustParseAddrPort(s[3:]).Port()
		b.command("-A "+s+" -s rr", fmt.Sprintf("-a %s -r %s -i --tun-type %s", s, netip.AddrPortFrom(server, port), kind))
	}
	return b
}

// flowOf returns the client and the service of a family.
func flowOf(family string) (from, to netip.AddrPort) {
	if family == "6" {
		return client6, vip6
	}
	return client, vip
}

// unwrapped is a packet taken out of its tunnel, by other code than what put it
// there.
type unwrapped struct {
	outer wire.IP // the tunnel's packet
	port  uint16  // that GUE's datagram came from
	inner []byte
}

// unwrap checks all lengths and checksums of the tunnel's packet, from the
// director to server.
func unwrap(t testing.TB, f []byte, kind string, server netip.Addr) (u unwrapped) {
	t.Helper()
	u.outer = wire.IP(f[wire.EthernetLen:])
	if typ := wire.Ethernet(f).Type(); typ != u.outer.EtherType() || u.outer.TotalLen() != len(u.outer) {
		t.Fatalf("EtherType %#x, length %d of %d", typ, u.outer.TotalLen(), len(u.outer))
	}
	src := map[bool]string{true: "10.0.0.1", false: "2001:db8:5::1"}[server.Is4()]
	if s, d := u.outer.Src(), u.outer.Dst(); AddrPort(s, 0).Addr().String() != src || AddrPort(d, 0).Addr() != server {
		t.Errorf("the tunnel goes from %v to %v", s, d)
	}
	proto := u.outer[9]
	if server.Is6() {
		proto = u.outer[6]
	} else if !wire.IPv4(u.outer).ChecksumOK() {
		t.Error("outer header checksum is wrong")
	}
	b := u.outer[u.outer.HeaderLen():]
	sumOK := func() bool { return wire.Fold(wire.Sum(b, u.outer.PseudoSum(ProtoUDP, len(b)))) == 0xffff }
	summed := bytes.Contains([]byte(kind), []byte("csum")) && !bytes.Contains([]byte(kind), []byte("nocsum"))
	var inner uint8
	switch kind[:3] {
	case "ipi":
		inner, u.inner = proto, b
	case "gue":
		u.port = binary.BigEndian.Uint16(b)
		sum := binary.BigEndian.Uint16(b[6:])
		if proto != 17 || binary.BigEndian.Uint16(b[2:]) != 5555 || int(binary.BigEndian.Uint16(b[4:])) != len(b) ||
			summed && (sum == 0 || !sumOK()) || !summed && sum != 0 || !bytes.Equal(b[8:12], []byte{0, b[9], 0, 0}) {
			t.Errorf("GUE header % x, checksum ok: %v", b[:12], sumOK())
		}
		if u.port < 32768 || u.port > 60999 {
			t.Errorf("from port %d", u.port)
		}
		inner, u.inner = b[9], b[12:]
	case "gre":
		n, flags := 4, uint16(0)
		if summed {
			n, flags = 8, 0x8000
		}
		if proto != 47 || binary.BigEndian.Uint16(b) != flags || summed && wire.Checksum(b) != 0 {
			t.Errorf("GRE header % x", b[:n])
		}
		inner = map[uint16]uint8{0x0800: 4, 0x86dd: 41}[binary.BigEndian.Uint16(b[2:])]
		u.inner = b[n:]
	}
	if want := map[uint8]uint8{4: 4, 6: 41}[u.inner[0]>>4]; inner != want {
		t.Errorf("protocol inside %d, want %d", inner, want)
	}
	return u
}

// asDelivered is the frame with the headroom that devices give, and padding behind
// it.
func asDelivered(f nic.Frame) nic.Frame {
	mem := make([]byte, nic.Headroom+len(f.Buf)+100)
	end := nic.Headroom + copy(mem[nic.Headroom:], f.Buf)
	for i := range mem[end:] {
		mem[end+i] = 0xee
	}
	f.Place(mem, nic.Headroom, max(end, nic.Headroom+nic.VNetHdrLen+60))
	f.WireLen = len(f.Eth())
	return f
}

func TestTunnels(t *testing.T) {
	for _, kind := range tunnelKinds {
		for inside, over := range map[string][]string{"4": {"4", "6"}, "6": {"6", "4"}} {
			for _, over := range over {
				t.Run(fmt.Sprintf("%s of IPv%s over IPv%s", kind, inside, over), func(t *testing.T) {
					server := tunnelEnds[over]
					b := newTunnelBed(t, kind, server)
					from, to := flowOf(inside)
					ports := map[uint16]bool{}
					for i, tos := range []uint8{0, 0xb8, 3, 1, 2} {
						f := packet(ProtoTCP, from, to, wire.SYN, []byte("odd"))
						ip := wire.IP(f.Eth()[wire.EthernetLen:])
						if inside == "6" {
							ip[0], ip[1] = 0x60|tos>>4, tos<<4
						} else {
							ip[1] = tos
							wire.IPv4(ip).SetChecksum(wire.IPv4(ip).CalculateChecksum())
						}
						want := wire.IP(bytes.Clone(ip))
						want.DecTTL()
						if i%2 == 0 {
							f = asDelivered(f)
						}
						v, out := b.in(clientNIC, f)
						if v != forwarded || len(out) != 1 || out[0].port != serverNIC {
							t.Fatalf("%v (%v), %d frames", v, v.Reason, len(out))
						}
						eth := wire.Ethernet(out[0].Eth())
						if eth.Src() != [6]byte{2, 5: serverNIC} || eth.Dst()[0] != 2 || !bytes.Equal(out[0].VNet(), make([]byte, nic.VNetHdrLen)) {
							t.Errorf("link layer %x, virtio-net header %x", eth[:14], out[0].VNet())
						}
						u := unwrap(t, eth, kind, server)
						if !bytes.Equal(u.inner, want) {
							t.Errorf("inside\n% x, want\n% x", u.inner, want)
						}
						class := tos
						if tos&3 == 3 {
							class = tos&^3 | 2
						}
						df := over == "4" && inside == "4"
						if over == "6" {
							if o := wire.IPv6(u.outer); o.TrafficClass() != class || o.HopLimit() != 63 || o.FlowLabel() != 0 {
								t.Errorf("outer header % x", o[:40])
							}
						} else if o := wire.IPv4(u.outer); o.TOS() != class || o.TTL() != 63 || o.DontFragment() != df || (o.ID() == 0) != df {
							t.Errorf("outer header % x", o[:20])
						}
						ports[u.port] = true
					}
					if len(ports) != 1 {
						t.Errorf("one connection's datagrams come from ports %v", ports)
					}
				})
			}
		}
	}
}

// The checksum inside is made complete: nobody completes it behind a tunnel's
// header.
func TestTunnelCompletesTheChecksum(t *testing.T) {
	b := newTunnelBed(t, "ipip", tunnelEnds["4"])
	for _, f := range []nic.Frame{packet(ProtoTCP, client, vip, wire.SYN, []byte("x")), packet(ProtoUDP, client, dnsVIP, 0, []byte("x"))} {
		want := bytes.Clone(f.Eth()[wire.EthernetLen:])
		wire.IP(want).DecTTL()
		leavePartial(f)
		_, out := b.in(clientNIC, asDelivered(f))
		if u := unwrap(t, out[0].Eth(), "ipip", tunnelEnds["4"]); !bytes.Equal(u.inner, want) {
			t.Errorf("inside\n% x, want\n% x", u.inner, want)
		}
	}
}

// leavePartial makes the frame's checksum one that hardware would complete.
func leavePartial(f nic.Frame) {
	var p wire.Packet
	p.Parse(f.Eth())
	ip := wire.IP(f.Eth()[p.L3:p.End])
	at := map[uint8]int{ProtoTCP: 16, ProtoUDP: 6}[p.Proto]
	binary.BigEndian.PutUint16(f.Eth()[p.L4+at:], wire.Fold(ip.PseudoSum(p.Proto, p.End-p.L4)))
	h := f.VNet()
	h[0] = nic.VNetNeedsCsum
	binary.NativeEndian.PutUint16(h[6:], uint16(p.L4))
	binary.NativeEndian.PutUint16(h[8:], uint16(at))
}

// superFrame is a TCP or UDP super-frame of segments of size bytes.
func superFrame(proto uint8, from, to netip.AddrPort, flags uint8, payload []byte, size int) nic.Frame {
	f := packet(proto, from, to, flags, payload)
	leavePartial(f)
	h := f.VNet()
	h[1] = nic.VNetGSOUDPL4
	if proto == ProtoTCP {
		h[1] = nic.VNetGSOTCPv4
		if to.Addr().Is6() {
			h[1] = nic.VNetGSOTCPv6
		}
	}
	binary.NativeEndian.PutUint16(h[4:], uint16(size))
	return f
}

// A super-frame leaves as the packets that hardware would have made of it, each in
// its tunnel.
func TestTunnelSegments(t *testing.T) {
	payload := make([]byte, 4000)
	for i := range payload {
		payload[i] = byte(i * 7)
	}
	for _, kind := range tunnelKinds {
		for _, inside := range []string{"4", "6"} {
			for _, proto := range []uint8{ProtoTCP, ProtoUDP} {
				t.Run(fmt.Sprintf("%s IPv%s %d", kind, inside, proto), func(t *testing.T) {
					over := map[string]string{"4": "6", "6": "4"}[inside]
					b := newTunnelBed(t, kind, tunnelEnds[over])
					from, to := flowOf(inside)
					if proto == ProtoUDP {
						to = netip.AddrPortFrom(to.Addr(), 53)
					}
					b.in(clientNIC, packet(proto, from, to, wire.SYN, nil))
					flags := wire.ACK | wire.PSH | wire.FIN | wire.CWR
					const size = 1001
					v, out := b.in(clientNIC, asDelivered(superFrame(proto, from, to, flags, payload, size)))
					if v != forwarded || len(out) != 4 {
						t.Fatalf("%v (%v), %d frames", v, v.Reason, len(out))
					}
					var got []byte
					for i := range out {
						u := unwrap(t, out[i].Eth(), kind, tunnelEnds[over])
						s := sent{Frame: nic.Frame{Buf: slices.Concat(make([]byte, nic.VNetHdrLen), out[i].Eth()[:12], binary.BigEndian.AppendUint16(nil, wire.IP(u.inner).EtherType()), u.inner)}}
						if s.pkt.Parse(s.Eth()) != wire.Parsed {
							t.Fatalf("segment %d cannot be read: % x", i, u.inner)
						}
						s.checksums(t)
						l4 := s.Eth()[s.pkt.L4:s.pkt.End]
						if inside == "4" && wire.IPv4(u.inner).ID() != uint16(i) {
							t.Errorf("segment %d has ID %d", i, wire.IPv4(u.inner).ID())
						}
						if proto == ProtoUDP {
							if wire.UDP(l4).Length() != len(l4) {
								t.Errorf("segment %d is %d bytes long", i, wire.UDP(l4).Length())
							}
							got = append(got, l4[wire.UDPLen:]...)
							continue
						}
						tcp := wire.TCP(l4)
						want := wire.ACK
						if i == 0 {
							want |= wire.CWR
						}
						if i == 3 {
							want |= wire.PSH | wire.FIN
						}
						if tcp.Seq() != uint32(i*size) || tcp.Flags() != want {
							t.Errorf("segment %d: sequence number %d, flags %#x, want %#x", i, tcp.Seq(), tcp.Flags(), want)
						}
						got = append(got, tcp.Payload()...)
					}
					if !bytes.Equal(got, payload) {
						t.Error("the payload is another")
					}
				})
			}
		}
	}
}

// A datagram that the sender left to be fragmented, and what does not fit, leaves
// in fragments of the tunnel's packet when it may be fragmented.
func TestTunnelFragments(t *testing.T) {
	payload := bytes.Repeat([]byte("0123456789abcde"), 300)
	for _, kind := range tunnelKinds {
		for _, over := range []string{"4", "6"} {
			for _, pmtu := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s over IPv%s, pmtu_disc %v", kind, over, pmtu), func(t *testing.T) {
					b := newTunnelBed(t, kind, tunnelEnds[over])
					b.e.Update(func(tx *Tx) {
						s := tx.Settings()
						s.PMTUDisc = pmtu
						if err := tx.SetSettings(s); err != nil {
							t.Fatal(err)
						}
					})
					f := packet(ProtoUDP, client, dnsVIP, 0, payload)
					ip := wire.IPv4(f.Eth()[wire.EthernetLen:])
					if pmtu {
						ip[6] = 0 // may be fragmented; without pmtu_disc it is anyway
						ip.SetChecksum(ip.CalculateChecksum())
					}
					want := bytes.Clone(ip)
					wire.IP(want).DecTTL()
					leavePartial(f)
					f.VNet()[1] = nic.VNetGSOUDP
					binary.NativeEndian.PutUint16(f.VNet()[4:], 1480)
					v, out := b.in(clientNIC, asDelivered(f))
					if v != forwarded || len(out) != 4 {
						t.Fatalf("%v (%v), %d frames", v, v.Reason, len(out))
					}
					whole := reassemble(t, out)
					if u := unwrap(t, whole, kind, tunnelEnds[over]); !bytes.Equal(u.inner, want) {
						t.Errorf("inside\n% x, want\n% x", u.inner[:60], want[:60])
					}
				})
			}
		}
	}
}

// reassemble puts the fragments of one packet of either family together, in the
// order in which they left.
func reassemble(t *testing.T, out []sent) []byte {
	t.Helper()
	whole := bytes.Clone(out[0].Eth()[:wire.EthernetLen])
	id, at := out[0].pkt.FragID, 0
	for i := range out {
		p := &out[i].pkt
		last := i == len(out)-1
		if !p.Frag || int(p.FragOff) != at || p.FragID != id || id == 0 || p.MoreFrags == last || p.End > wire.EthernetLen+1500 {
			t.Fatalf("fragment %d: %+v", i, p)
		}
		if i == 0 {
			head := out[0].Eth()[p.L3:p.L4]
			if p.V6 {
				head = head[:wire.IPv6Len]
				head[6] = p.Proto
			}
			whole = append(whole, head...)
		}
		whole = append(whole, out[i].Eth()[p.L4:p.End]...)
		at = int(p.FragOff) + p.End - p.L4
	}
	ip := wire.IP(whole[wire.EthernetLen:])
	if ip.V6() {
		wire.IPv6(ip).SetPayloadLen(len(ip) - wire.IPv6Len)
	} else {
		wire.IPv4(ip).SetFragment(len(ip), 0, false)
	}
	return whole
}

// What is too long for the tunnel, and must not be fragmented, is answered with the
// length that fits.
func TestTunnelTooBig(t *testing.T) {
	overhead := map[string]int{"ipip": 0, "gue": 12, "gre": 4, "gre --tun-csum": 8}
	for _, kind := range tunnelKinds {
		for _, inside := range []string{"4", "6"} {
			for _, over := range []string{"4", "6"} {
				t.Run(fmt.Sprintf("%s of IPv%s over IPv%s", kind, inside, over), func(t *testing.T) {
					b := newTunnelBed(t, kind, tunnelEnds[over])
					n, ok := overhead[kind]
					if !ok {
						n = overhead[kind[:3]]
					}
					fits := 1500 - n - map[string]int{"4": 20, "6": 40}[over]
					from, to := flowOf(inside)
					head := map[string]int{"4": 40, "6": 60}[inside]
					b.in(clientNIC, packet(ProtoTCP, from, to, wire.SYN, nil))
					if v, out := b.in(clientNIC, packet(ProtoTCP, from, to, wire.ACK, make([]byte, fits-head))); v != forwarded || len(out[0].Eth()) != wire.EthernetLen+1500 {
						t.Errorf("%d bytes: %v", fits, v)
					}
					for _, f := range []nic.Frame{
						packet(ProtoTCP, from, to, wire.ACK, make([]byte, fits-head+1)),
						superFrame(ProtoTCP, from, to, wire.ACK, make([]byte, 5000), fits-head+1),
					} {
						v, out := b.in(clientNIC, f)
						if v != replied || len(out) != 1 {
							t.Fatalf("one byte more: %v (%v)", v, v.Reason)
						}
						a := &out[0]
						a.checksums(t)
						m := wire.ICMPv4(a.Eth()[a.pkt.L4:])
						told := m.MTU()
						if inside == "6" {
							told = int(wire.ICMPv6(m).MTU())
						}
						if AddrPort(a.pkt.Src, 0).Addr() != to.Addr() || told != fits {
							t.Errorf("told %d by %v, want %d", told, AddrPort(a.pkt.Src, 0), fits)
						}
						var q wire.Packet
						if q.ParseQuoted(m, wire.ICMPLen, inside == "6") != wire.Parsed || q.Src != from.Addr().As16() || q.Dst != to.Addr().As16() {
							t.Errorf("quotes %+v", q)
						}
					}
				})
			}
		}
	}
}

// The neighbour is not known yet: the packet waits in its tunnel, and when nobody
// answers the client hears about its own packet.
func TestTunnelWaitsForTheNeighbour(t *testing.T) {
	for _, over := range []string{"4", "6"} {
		b := newTunnelBed(t, "gre --tun-csum", tunnelEnds[over])
		hop := &b.routes.routes[1].hop
		if over == "6" {
			hop = &b.routes.routes[3].hop
		}
		hop.State = nic.HopUnresolved
		f := packet(ProtoTCP, client, vip, wire.SYN, nil)
		want := bytes.Clone(f.Eth()[wire.EthernetLen:])
		wire.IP(want).DecTTL()
		w := b.workers[clientNIC]
		for _, answers := range []bool{true, false} {
			if v, _ := b.in(clientNIC, nic.Frame{Buf: bytes.Clone(f.Buf), WireLen: f.WireLen}); v != holding {
				t.Fatalf("%v", v)
			}
			if answers {
				hop.State = nic.HopResolved
				b.e.SetRoutes(b.routes)
				b.now += 1e8
				w.Idle(b.now)
				out := b.out(w)
				if len(out) != 1 || out[0].port != serverNIC {
					t.Fatalf("%d frames left", len(out))
				}
				if u := unwrap(t, out[0].Eth(), "gre --tun-csum", tunnelEnds[over]); !bytes.Equal(u.inner, want) {
					t.Errorf("inside % x, want % x", u.inner, want)
				}
				hop.State = nic.HopUnresolved
				b.e.SetRoutes(b.routes)
				continue
			}
			b.now += 4e9
			w.Idle(b.now)
			out := b.out(w)
			if len(out) != 1 || out[0].pkt.ICMPType != 3 || out[0].pkt.ICMPCode != 1 || out[0].pkt.Dst != client.Addr().As16() {
				t.Fatalf("answers %+v", out)
			}
			out[0].checksums(t)
			if quoted := out[0].Eth()[out[0].pkt.L4+wire.ICMPLen:]; !bytes.Equal(quoted, want) {
				t.Errorf("quotes % x, want % x", quoted, want)
			}
		}
	}
}

// The fragments of a client's datagram each go in a tunnel, by the same port.
func TestTunnelOfFragments(t *testing.T) {
	const kind = "gue --tun-port 5555 --tun-csum"
	for _, over := range []string{"4", "6"} {
		b := newTunnelBed(t, kind, tunnelEnds[over])
		frames := cut(packet(ProtoUDP, client, dnsVIP, 0, bytes.Repeat([]byte("x"), 2000)), 800, 77)
		ports := map[uint16]bool{}
		var all []*nic.Frame
		// The last one first: it waits.
		for _, i := range []int{2, 0, 1} {
			_, out := b.in(clientNIC, frames[i])
			for k := range out {
				u := unwrap(t, out[k].Eth(), kind, tunnelEnds[over])
				ports[u.port] = true
				buf := slices.Concat(make([]byte, nic.VNetHdrLen+12), []byte{8, 0}, u.inner)
				all = append(all, &nic.Frame{Buf: buf})
			}
		}
		if len(all) != 3 || len(ports) != 1 {
			t.Fatalf("%d frames from ports %v", len(all), ports)
		}
		together(t, all)
	}
}

// An error about a packet that the server sent to the client goes to the server in
// its tunnel.
func TestTunnelOfErrors(t *testing.T) {
	b := newTunnelBed(t, "ipip", tunnelEnds["4"])
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
	if v != forwarded || len(out) != 1 {
		t.Fatalf("%v, %d frames", v, len(out))
	}
	if u := unwrap(t, out[0].Eth(), "ipip", tunnelEnds["4"]); !bytes.Equal(u.inner, want) {
		t.Errorf("inside % x, want % x", u.inner, want)
	}
}

// A reset in place of a client's packet reaches the server by the tunnel.
func TestTunnelOfResets(t *testing.T) {
	const kind = "gre --tun-nocsum"
	b := newTunnelBed(t, kind, tunnelEnds["6"])
	b.e.Update(func(tx *Tx) {
		p := LifePolicy{Removed: EventPolicy{First: Actions{Established: ResetBoth}}}
		if err := tx.SetLife(vipKey, p); err != nil {
			t.Fatal(err)
		}
	})
	b.in(clientNIC, packet(ProtoTCP, client, vip, wire.SYN, nil))
	b.in(clientNIC, packet(ProtoTCP, client, vip, wire.ACK, nil))
	b.command("-d -t 192.0.2.1:80 -r [2001:db8:5::11]:80")
	v, out := b.in(clientNIC, packet(ProtoTCP, client, vip, wire.ACK, []byte("GET /")))
	if v != replied || len(out) != 2 || out[1].port != serverNIC {
		t.Fatalf("%v, %d frames", v, len(out))
	}
	u := unwrap(t, out[1].Eth(), kind, tunnelEnds["6"])
	var p wire.Packet
	if p.ParseQuoted(u.inner, 0, false) != wire.Parsed || p.TCPFlags&wire.RST == 0 || p.Src != client.Addr().As16() || p.Dst != vip.Addr().As16() {
		t.Errorf("inside %+v", p)
	}
}

func TestTunnelRefusals(t *testing.T) {
	b := newBed(t, Options{})
	for line, want := range map[string]string{
		"-i --tun-type gue":                      "invalid argument",
		"-i --tun-type gue --tun-port 5555 -w 2": "",
		"-i --tun-type gue -x 1 -y 2":            "numerical result out of range", // before the port is looked at
		"-i --tun-type gre --tun-csum":           "",
		"-i":                                     "",
		"-i --tun-type gue --tun-port 5555 --tun-remcsum -w 0": "",
	} {
		err := command(b.e, "-a -t 192.0.2.1:80 -r 10.0.0.12:80 "+line)
		var got string
		if e, ok := err.(*Error); ok {
			got = e.Errno.Error()
		}
		if got != want {
			t.Errorf("%s: %v, want %s", line, err, want)
		}
		if err == nil {
			b.command("-d -t 192.0.2.1:80 -r 10.0.0.12:80")
		}
	}
	// A server of the other family is for tunnels, and comes back as it was set.
	b.command("-a -t 192.0.2.1:80 -r [2001:db8:5::11]:80 -i --tun-type gue --tun-port 5555 --tun-remcsum")
	var s ServiceInfo
	b.e.Update(func(tx *Tx) { s, _ = tx.Service(vipKey) })
	if got := s.Servers[0].Tunnel; got != (forward.Tunnel{Type: forward.GUE, Flags: forward.TunnelRemoteChecksum, Port: 5555}) {
		t.Errorf("%+v", got)
	}
	if err := command(b.e, "-e -t 192.0.2.1:80 -r [2001:db8:5::11]:80 -g"); err == nil {
		t.Error("a server of the other family by direct routing was taken")
	}
}

func TestTunnelDoesNotAllocate(t *testing.T) {
	for _, kind := range tunnelKinds {
		b := newTunnelBed(t, kind, tunnelEnds["4"])
		w := b.workers[clientNIC]
		b.in(clientNIC, packet(ProtoTCP, client, vip, wire.SYN, nil))
		batch := &nic.Batch{N: 2}
		one := packet(ProtoTCP, client, vip, wire.ACK, []byte("data"))
		super := superFrame(ProtoTCP, client, vip, wire.ACK, make([]byte, 20000), 1400)
		mem := make([]byte, 2*32768)
		if n := testing.AllocsPerRun(100, func() {
			for i, f := range []*nic.Frame{&one, &super} {
				copy(mem[i*32768+nic.Headroom:], f.Buf)
				batch.Frames[i].Place(mem[i*32768:(i+1)*32768], nic.Headroom, nic.Headroom+len(f.Buf))
				batch.Frames[i].WireLen = f.WireLen
			}
			w.Process(batch, b.now)
			if w.Verdict(0) != forwarded || w.Verdict(1) != forwarded || len(w.Out()) != 16 {
				t.Fatalf("%v, %v, %d frames", w.Verdict(0), w.Verdict(1), len(w.Out()))
			}
			w.Commit()
		}); n != 0 {
			t.Errorf("%s: %v allocations", kind, n)
		}
	}
}

// A packet from a VLAN without an interface leaves by its NIC with its tag outside
// the tunnel, wherever its header found room; and so do segments and fragments.
func TestTunnelKeepsTheTag(t *testing.T) {
	for _, over := range []string{"4", "6"} {
		b := onTrunk(newTunnelBed(t, "gre --tun-csum", tunnelEnds[over]))
		udp := packet(ProtoUDP, client, dnsVIP, 0, make([]byte, 2000))
		udp.Eth()[wire.EthernetLen+6] = 0 // may be fragmented
		ip := wire.IPv4(udp.Eth()[wire.EthernetLen:])
		ip.SetChecksum(ip.CalculateChecksum())
		for name, c := range map[string]struct {
			f nic.Frame
			n int
		}{
			"one":           {packet(ProtoTCP, client, vip, wire.SYN, nil), 1},
			"with headroom": {asDelivered(packet(ProtoTCP, client, vip, wire.SYN, nil)), 1},
			"segments":      {superFrame(ProtoTCP, client, vip, wire.SYN, make([]byte, 3000), 1000), 3},
			"fragments":     {udp, 2},
		} {
			b.now += 1e6
			w, batch := b.workers[clientNIC], nic.Batch{N: 1}
			batch.Frames[0] = tagged(c.f, 5<<13|10, true)
			w.Process(&batch, b.now)
			out := w.Out()
			if len(out) != c.n {
				t.Errorf("%s: %v, %d frames", name, w.Verdict(0), len(out))
			}
			for _, o := range out {
				if o.Port != clientNIC || o.Frame.VLANProto != wire.TypeVLAN || o.Frame.VLAN != 5<<13|10 {
					t.Errorf("%s over IPv%s: by %d with tag %#x %#x", name, over, o.Port, o.Frame.VLANProto, o.Frame.VLAN)
				}
			}
			b.out(w)
		}
	}
}

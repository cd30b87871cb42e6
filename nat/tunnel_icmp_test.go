package nat

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"vsnat/nat/wire"
	"vsnat/nic"
)

// routerError is an ICMP error about a tunnel's packet, from a router on its way to
// the director. quote bytes of the packet are in it; 0 is as many as there may be.
func routerError(pkt wire.IP, typ, code uint8, rest uint32, quote int) nic.Frame {
	from, proto := netip.MustParseAddr("10.0.0.254"), wire.ProtoICMP
	if pkt.V6() {
		from, proto = netip.MustParseAddr("2001:db8:5::fe"), wire.ProtoICMPv6
	}
	if quote == 0 {
		quote = 500
	}
	m := append([]byte{typ, code, 0, 0, byte(rest >> 24), byte(rest >> 16), byte(rest >> 8), byte(rest)}, pkt[:min(quote, len(pkt))]...)
	src := pkt.Src()
	return packetOf(proto, from, AddrPort(src, 0).Addr(), m)
}

// A router on the tunnel's way says that a packet is too long: the client hears
// what it may send, and so it does from the director itself from then on.
func TestTunnelPathMTU(t *testing.T) {
	for _, kind := range tunnelKinds {
		for _, inside := range []string{"4", "6"} {
			for _, over := range []string{"4", "6"} {
				t.Run(fmt.Sprintf("%s of IPv%s over IPv%s", kind, inside, over), func(t *testing.T) {
					b := newTunnelBed(t, kind, tunnelEnds[over])
					from, to := flowOf(inside)
					b.in(clientNIC, packet(ProtoTCP, from, to, wire.SYN, nil))
					_, out := b.in(clientNIC, packet(ProtoTCP, from, to, wire.ACK, make([]byte, 1360)))
					pkt := wire.IP(out[0].Eth()[wire.EthernetLen:])
					overhead := len(pkt) - len(unwrap(t, out[0].Eth(), kind, tunnelEnds[over]).inner)
					const path = 1400
					err := routerError(pkt, wire.ICMPv4DstUnreachable, wire.ICMPv4FragNeeded, path, 0)
					if over == "6" {
						err = routerError(pkt, wire.ICMPv6PacketTooBig, 0, path, 0)
					}
					told := func(v Verdict, out []sent) int {
						t.Helper()
						if v != replied || len(out) != 1 || out[0].port != clientNIC {
							t.Fatalf("%v (%v), %d frames", v, v.Reason, len(out))
						}
						a := &out[0]
						a.checksums(t)
						var q wire.Packet
						if q.ParseQuoted(a.Eth(), a.pkt.L4+wire.ICMPLen, inside == "6") != wire.Parsed ||
							AddrPort(q.Src, q.SrcPort) != from || AddrPort(q.Dst, q.DstPort) != to || AddrPort(a.pkt.Src, 0).Addr() != to.Addr() {
							t.Errorf("from %v about %+v", AddrPort(a.pkt.Src, 0), q)
						}
						if inside == "6" {
							if a.pkt.ICMPType != wire.ICMPv6PacketTooBig {
								t.Errorf("type %d", a.pkt.ICMPType)
							}
							return int(wire.ICMPv6(a.Eth()[a.pkt.L4:]).MTU())
						}
						if a.pkt.ICMPType != 3 || a.pkt.ICMPCode != 4 {
							t.Errorf("type %d, code %d", a.pkt.ICMPType, a.pkt.ICMPCode)
						}
						return wire.ICMPv4(a.Eth()[a.pkt.L4:]).MTU()
					}
					want := path - overhead
					if got := told(b.in(serverNIC, err)); got != want {
						t.Errorf("the router's word: %d, want %d", got, want)
					}
					long := func() (Verdict, []sent) {
						return b.in(clientNIC, packet(ProtoTCP, from, to, wire.ACK, make([]byte, 1360)))
					}
					if got := told(long()); got != want {
						t.Errorf("ours: %d, want %d", got, want)
					}
					b.now += pathMTUTime
					if v, _ := long(); v != forwarded {
						t.Errorf("ten minutes later: %v", v)
					}
					b.e.Update(func(tx *Tx) {
						for _, s := range tx.Services() {
							if s.Key.Addr == to.Addr().As16() && s.Key.Proto == ProtoTCP && (s.Counters.OutPkts != 1 || s.Counters.InPkts != 4) {
								t.Errorf("counted %+v", s.Counters)
							}
						}
					})
				})
			}
		}
	}
}

func TestTunnelErrors(t *testing.T) {
	for _, c := range []struct {
		name         string
		kind         string
		inside, over string
		typ, code    uint8
		rest         uint32
		quote        int
		change       func(f nic.Frame)
		answer       [2]uint8
		want         Verdict
	}{
		{name: "unreachable", kind: "ipip", inside: "4", over: "4", typ: 3, code: 1, want: replied, answer: [2]uint8{3, 1}},
		{name: "no such protocol", kind: "gre --tun-csum", inside: "4", over: "4", typ: 3, code: 2, want: replied, answer: [2]uint8{3, 2}},
		{name: "no such port", kind: "gue --tun-port 5555", inside: "4", over: "4", typ: 3, code: 3, want: replied, answer: [2]uint8{3, 3}},
		{name: "time exceeded", kind: "gue --tun-port 5555", inside: "4", over: "4", typ: 11, want: replied, answer: [2]uint8{11, 0}},
		{name: "time exceeded, IPv6", kind: "gue --tun-port 5555", inside: "6", over: "6", typ: 3, want: replied, answer: [2]uint8{3, 0}},
		{name: "time exceeded over IPv6 is unreachable to IPv4", kind: "gre", inside: "4", over: "6", typ: 3, want: replied, answer: [2]uint8{3, 1}},
		{name: "unreachable over IPv4 to IPv6", kind: "gre", inside: "6", over: "4", typ: 3, code: 13, want: replied, answer: [2]uint8{1, 3}},
		{name: "quotes as much as finds the connection", kind: "gre --tun-nocsum", inside: "4", over: "4", typ: 11, quote: 20 + 4 + 20 + 4, want: replied, answer: [2]uint8{11, 0}},
		{name: "quotes too little", kind: "ipip", inside: "4", over: "4", typ: 11, quote: 20 + 20 + 3, want: passed},
		{name: "quotes no packet inside", kind: "ipip", inside: "4", over: "4", typ: 11, quote: 28, want: passed},
		{name: "parameter problem", kind: "ipip", inside: "4", over: "4", typ: 12, want: passed},
		{name: "wrong checksum", kind: "ipip", inside: "4", over: "4", typ: 3, want: drop(BadICMPChecksum), change: func(f nic.Frame) { f.Eth()[len(f.Eth())-1]++ }},
		{
			name: "too long, but may be fragmented", kind: "ipip", inside: "4", over: "4", typ: 3, code: 4, rest: 1400, want: drop(NoAnswer),
			change: func(f nic.Frame) {
				const inner = wire.EthernetLen + 20 + 8 + 20
				f.Eth()[inner+6] = 0
				wire.IPv4(f.Eth()[inner:]).SetChecksum(0)
				m := wire.ICMPv4(f.Eth()[wire.EthernetLen+20:])
				m.SetChecksum(0)
				m.SetChecksum(wire.Checksum(m))
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newTunnelBed(t, c.kind, tunnelEnds[c.over])
			from, to := flowOf(c.inside)
			_, out := b.in(clientNIC, packet(ProtoTCP, from, to, wire.SYN, make([]byte, 100)))
			f := routerError(out[0].Eth()[wire.EthernetLen:], c.typ, c.code, c.rest, c.quote)
			if c.change != nil {
				c.change(f)
			}
			v, out := b.in(serverNIC, f)
			if v != c.want {
				t.Fatalf("%v (%v), want %v", v, v.Reason, c.want)
			}
			if v != replied {
				return
			}
			a := &out[0]
			a.checksums(t)
			if [2]uint8{a.pkt.ICMPType, a.pkt.ICMPCode} != c.answer || AddrPort(a.pkt.Dst, 0).Addr() != from.Addr() || AddrPort(a.pkt.Src, 0).Addr() != to.Addr() {
				t.Errorf("%+v", a.pkt)
			}
		})
	}
}

// An error about a tunnel that is none of ours, or about a packet that belongs to
// no connection, is the host's.
func TestForeignTunnelErrors(t *testing.T) {
	b := newTunnelBed(t, "gue --tun-port 5555", tunnelEnds["4"])
	_, out := b.in(clientNIC, packet(ProtoTCP, client, vip, wire.SYN, nil))
	pkt := wire.IP(out[0].Eth()[wire.EthernetLen:])
	for name, change := range map[string]func(p wire.IP){
		"another port":       func(p wire.IP) { p[20+3]++ },
		"another server":     func(p wire.IP) { p[19]++ },
		"another client":     func(p wire.IP) { p[32+15]++ },
		"GUE control":        func(p wire.IP) { p[28] |= 0x20 },
		"GUE version 1":      func(p wire.IP) { p[28] |= 0x40 },
		"long GUE header":    func(p wire.IP) { p[28] |= 0x1f },
		"a later fragment":   func(p wire.IP) { p[7] = 1 },
		"not the director's": nil,
	} {
		p := wire.IP(bytes.Clone(pkt))
		if change != nil {
			change(p)
		}
		f := routerError(p, wire.ICMPv4TimeExceeded, 0, 0, 0)
		if change == nil {
			f = packetOf(wire.ProtoICMP, netip.MustParseAddr("10.0.0.254"), netip.MustParseAddr("192.0.2.99"), f.Eth()[wire.EthernetLen+20:])
		}
		if v, _ := b.in(serverNIC, f); v != passed {
			t.Errorf("%s: %v (%v)", name, v, v.Reason)
		}
	}
	if v, _ := b.in(serverNIC, routerError(pkt, wire.ICMPv4TimeExceeded, 0, 0, 0)); v != replied {
		t.Errorf("as it is: %v", v)
	}
}

// FuzzTunnel gives frames of all kinds, changed anywhere, to directors with each
// kind of tunnel. What leaves has right lengths and checksums if what came had,
// and is the packet that came.
func FuzzTunnel(f *testing.F) {
	f.Add(uint8(0), uint16(0), byte(0), uint8(0), []byte("payload"), uint16(3))
	f.Add(uint8(3), uint16(60), byte(0xff), uint8(1), bytes.Repeat([]byte("long "), 400), uint16(100))
	f.Add(uint8(9), uint16(33), byte(6), uint8(2), []byte{}, uint16(1))
	f.Add(uint8(14), uint16(47), byte(0x40), uint8(3), bytes.Repeat([]byte("x"), 1500), uint16(0))
	f.Fuzz(func(t *testing.T, choice uint8, at uint16, with byte, shape uint8, payload []byte, size uint16) {
		kind := tunnelKinds[int(choice)%len(tunnelKinds)]
		inside, over := []string{"4", "6"}[choice/8%2], []string{"4", "6"}[choice/16%2]
		b := newTunnelBed(t, kind, tunnelEnds[over])
		from, to := flowOf(inside)
		proto := ProtoTCP
		if choice >= 128 {
			proto, to = ProtoUDP, netip.AddrPortFrom(to.Addr(), 53)
		}
		payload = payload[:min(len(payload), 60000)]
		_, first := b.in(clientNIC, packet(proto, from, to, wire.SYN, nil))
		whole := packet(proto, from, to, wire.ACK, payload)
		var frames []nic.Frame
		switch shape % 4 {
		case 0:
			frames = []nic.Frame{whole, mutant(whole, at, with)}
		case 1:
			s := superFrame(proto, from, to, wire.ACK, payload, int(size))
			frames = []nic.Frame{s, mutant(s, at, with)}
		case 2:
			leavePartial(whole)
			whole.VNet()[1] = with
			frames = []nic.Frame{whole, mutant(whole, at, with)}
		case 3:
			e := routerError(first[0].Eth()[wire.EthernetLen:], with, byte(size), uint32(at), int(size%200))
			frames = []nic.Frame{e, mutant(e, at, with)}
		}
		for i, fr := range frames {
			if at%2 == 0 {
				fr = asDelivered(fr)
			}
			for _, port := range []int{clientNIC, serverNIC} {
				c := fr
				c.Buf = slices.Clone(fr.Buf)
				_, out := b.in(port, c)
				if i > 0 || shape%4 == 2 || shape%4 == 3 {
					continue // what came need not be right
				}
				checkWrapped(t, out, kind, tunnelEnds[over])
			}
		}
	})
}

// checkWrapped checks what left: packets in tunnels, or fragments of one, or answers.
func checkWrapped(t *testing.T, out []sent, kind string, server netip.Addr) {
	t.Helper()
	for i := range out {
		s := &out[i]
		if s.port == clientNIC {
			s.checksums(t)
			continue
		}
		if s.pkt.Frag {
			checkWrapped(t, []sent{{Frame: nic.Frame{Buf: append(make([]byte, nic.VNetHdrLen), reassemble(t, out)...)}, port: serverNIC}}, kind, server)
			return
		}
		u := unwrap(t, s.Eth(), kind, server)
		in := sent{Frame: nic.Frame{Buf: slices.Concat(make([]byte, nic.VNetHdrLen+12), []byte{byte(wire.IP(u.inner).EtherType() >> 8), byte(wire.IP(u.inner).EtherType())}, u.inner)}}
		if in.pkt.Parse(in.Eth()) != wire.Parsed || in.pkt.End != len(in.Eth()) {
			t.Fatalf("inside a packet of %d bytes that cannot be read", len(u.inner))
		}
		in.checksums(t)
	}
}

// The client's link-layer address is not known, as the director has never sent it
// anything: what it is to hear waits for that.
func TestTunnelErrorsWaitForTheClient(t *testing.T) {
	b := newTunnelBed(t, "ipip", tunnelEnds["4"])
	_, out := b.in(clientNIC, packet(ProtoTCP, client, vip, wire.SYN, make([]byte, 100)))
	hop := &b.routes.routes[0].hop
	hop.State = nic.HopUnresolved
	b.e.SetRoutes(b.routes)
	f := routerError(out[0].Eth()[wire.EthernetLen:], 3, 4, 1400, 0)
	w := b.workers[serverNIC]
	if v, out := b.in(serverNIC, f); v != holding || len(out) != 0 {
		t.Fatalf("%v (%v), %d frames", v, v.Reason, len(out))
	}
	hop.State = nic.HopResolved
	b.e.SetRoutes(b.routes)
	w.Idle(b.now + 1e8)
	if o := w.Out(); len(o) != 1 || o[0].Kind != Reply {
		t.Fatalf("%+v leaves", o)
	}
	out = b.out(w)
	out[0].checksums(t)
	if out[0].port != clientNIC || out[0].pkt.ICMPCode != 4 || wire.Ethernet(out[0].Eth()).Dst() != hop.DstMAC {
		t.Errorf("%+v by %d", out[0].pkt, out[0].port)
	}
	if l := w.Ledger(); l.Replied != 1 || l.Held != 0 {
		t.Errorf("%+v", l)
	}
}

package nat

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"vsnat/conntrack"
	"vsnat/nat/wire"
	"vsnat/nic"
)

// corner is a client, a service and a server of one address family, and a machine
// inside and one outside.
type corner struct {
	client, vip, server, inside, outside netip.AddrPort
	network                              netip.Prefix
}

var corners = []corner{
	{client, vip, rip, insider, outsider, netip.MustParsePrefix("10.0.0.0/24")},
	{
		client6, vip6, rip6, netip.MustParseAddrPort("[2001:db8:5::77]:5000"), netip.MustParseAddrPort("[2001:db8:c::99]:443"),
		netip.MustParsePrefix("2001:db8:5::/64"),
	},
}

// bedOfPorts has FullNAT services, one of them with the PROXY protocol, and
// masqueraded networks, in both families, and seeds are packets that concern their
// connections.
func bedOfPorts(t testing.TB, guarded bool) (b *bed, seeds []nic.Frame) {
	b = newInsideBed(t, Options{Guarded: guarded}, Masquerade{Network: corners[0].network}, Masquerade{Network: corners[1].network})
	b.command("-D -t 192.0.2.1:80")
	for _, c := range corners {
		dns := netip.AddrPortFrom(c.vip.Addr(), 53)
		dnsServer := netip.AddrPortFrom(c.server.Addr(), 53)
		b.command(fmt.Sprintf("-A -t %s -s rr", c.vip), fmt.Sprintf("-a -t %s -r %s -F", c.vip, c.server),
			fmt.Sprintf("-A -u %s -s rr", dns), fmt.Sprintf("-a -u %s -r %s -F", dns, dnsServer))
		b.proxy(ServiceKey{Proto: ProtoTCP, Addr: c.vip.Addr().As16(), Port: 80})
		local := func(at int, f nic.Frame) netip.AddrPort {
			v, out := b.in(at, f)
			if v != forwarded {
				t.Fatalf("%v (%v)", v, v.Reason)
			}
			a, _ := out[0].ends()
			return a
		}
		tcp := local(clientNIC, tcpPacket(c.client, c.vip, wire.SYN, 100, 0, nil, nil))
		b.in(serverNIC, tcpPacket(c.server, tcp, wire.SYN|wire.ACK, 500, 101, nil, nil))
		udp := local(clientNIC, packet(ProtoUDP, c.client, dns, 0, []byte("query")))
		out := local(serverNIC, packet(ProtoTCP, c.inside, c.outside, wire.SYN, nil))
		_, sent := b.in(serverNIC, ping(c, true, 7))
		id, _, _ := wire.EchoID(sent[0].Eth()[sent[0].pkt.L4:], sent[0].pkt.Proto)
		sack := make([]byte, 24)
		copy(sack, []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 1, 5, 10})
		binary.BigEndian.PutUint32(sack[16:], 129)
		binary.BigEndian.PutUint32(sack[20:], 139)
		big := packet(ProtoUDP, c.client, dns, 0, make([]byte, 1600))
		seeds = append(seeds,
			tcpPacket(c.client, c.vip, wire.SYN, 100, 0, []byte{34, 4, 1, 2}, []byte("early")),
			tcpPacket(c.client, c.vip, wire.ACK, 101, 501, nil, nil),
			tcpPacket(c.client, c.vip, wire.ACK|wire.PSH, 101, 501, sack[:12], []byte("data")),
			tcpPacket(c.server, tcp, wire.ACK, 501, 129, sack, []byte("more")),
			tcpPacket(c.client, c.vip, wire.FIN|wire.ACK, 105, 501, nil, nil),
			packet(ProtoUDP, c.client, dns, 0, []byte("query")),
			packet(ProtoUDP, dnsServer, udp, 0, []byte("answer")),
			piece(big, 0, 800, true, 1), piece(big, 800, 1608, false, 1),
			packet(ProtoTCP, c.inside, c.outside, wire.ACK, []byte("out")),
			packet(ProtoTCP, c.outside, out, wire.ACK, []byte("back")),
			ping(c, true, 7), ping(corner{inside: c.outside, outside: out}, false, id),
			about(c.server.Addr(), tcp.Addr(), tcpPacket(tcp, c.server, wire.ACK, 140, 501, nil, []byte("data"))),
			about(c.client.Addr(), c.vip.Addr(), tcpPacket(c.vip, c.client, wire.ACK, 501, 101, nil, []byte("more"))),
			about(c.outside.Addr(), out.Addr(), packet(ProtoTCP, out, c.outside, wire.ACK, []byte("out"))),
			about(c.inside.Addr(), c.outside.Addr(), packet(ProtoTCP, c.outside, c.inside, wire.ACK, []byte("back"))),
		)
	}
	return b, seeds
}

// ping is an echo request from inside to outside, or a reply.
func ping(c corner, request bool, id uint16) nic.Frame {
	l4 := make([]byte, wire.ICMPLen+8)
	binary.BigEndian.PutUint16(l4[4:], id)
	proto, typ := wire.ProtoICMP, [2]uint8{wire.ICMPv4EchoReply, wire.ICMPv4Echo}
	if c.inside.Addr().Is6() {
		proto, typ = wire.ProtoICMPv6, [2]uint8{wire.ICMPv6EchoReply, wire.ICMPv6Echo}
	}
	if l4[0] = typ[0]; request {
		l4[0] = typ[1]
	}
	return packetOf(proto, c.inside.Addr(), c.outside.Addr(), l4)
}

// about is an error about the packet.
func about(src, dst netip.Addr, f nic.Frame) nic.Frame {
	quote := f.Eth()[wire.EthernetLen:]
	l4 := append(make([]byte, wire.ICMPLen), quote...)
	proto := wire.ProtoICMP
	if l4[0], l4[1] = 3, 1; src.Is6() {
		proto = wire.ProtoICMPv6
		l4[0] = 1
	}
	return packetOf(proto, src, dst, l4)
}

// FuzzPorts gives any bytes to both NICs, and packets with two bytes changed, as
// FuzzIPv6 does; other connections' ports stay theirs.
func FuzzPorts(f *testing.F) {
	_, seeds := bedOfPorts(f, false)
	for i := range seeds {
		f.Add([]byte(nil), uint8(i), uint16(20+7*i), byte(i), uint16(60), byte(0xff), i%2 == 0)
		f.Add(seeds[i].Buf, uint8(i), uint16(47), byte(1), uint16(31), byte(4), i%2 != 0)
	}
	f.Fuzz(func(t *testing.T, raw []byte, seed uint8, at uint16, with byte, at2 uint16, with2 byte, guarded bool) {
		b, seeds := bedOfPorts(t, guarded)
		b.soundThrough(raw, seeds[int(seed)%len(seeds)], map[uint16]byte{at: with, at2: with2})
		b.unharmed()
	})
}

// unharmed checks that a new connection gets a port of its own, and that no two
// connections have the same.
func (b *bed) unharmed() {
	b.t.Helper()
	for _, c := range corners {
		b.toServer(clientNIC, packet(ProtoTCP, netip.AddrPortFrom(c.client.Addr().Next(), 7), c.vip, wire.SYN, nil), c.server)
	}
	b.onePortEach()
}

// onePortEach checks that every connection that has a port is the one that is found by
// it, and that the book has no others.
func (b *bed) onePortEach() {
	b.t.Helper()
	table, n := b.e.Table(), 0
	table.Range(func(c *conntrack.Conn) bool {
		s := table.HomeOf(c)
		if s.HasPort(c) {
			n++
		} else if _, port := s.Local(c); port != 0 && !finished(c) {
			b.t.Errorf("a connection's port is another's")
		}
		return true
	})
	if used := table.Book().Used(); used != n {
		b.t.Errorf("%d ports are in use, and %d connections have one", used, n)
	}
}

// TestPortMutantsStaySound is FuzzPorts with random changes, many to one engine, in
// which connections also end.
func TestPortMutantsStaySound(t *testing.T) {
	rnd := rand.New(rand.NewPCG(11, 12))
	left := 0
	for round := range 16 {
		b, seeds := bedOfPorts(t, round%2 == 0)
		for step := range 800 {
			f := seeds[rnd.IntN(len(seeds))]
			f.Buf = bytes.Clone(f.Buf)
			for range rnd.IntN(4) {
				f.Buf[nic.VNetHdrLen+rnd.IntN(min(len(f.Eth()), 14+rnd.IntN(90)+1))] = byte(rnd.Uint32())
			}
			if rnd.IntN(4) != 0 {
				f = repaired(f)
			}
			left += b.soundIn([]int{clientNIC, serverNIC}[rnd.IntN(2)], f)
			if step%200 == 199 {
				b.now += 70e9
				for b.e.Expire(b.now, 1<<20) > 0 {
				}
			}
		}
		b.unharmed()
	}
	if left < 2000 {
		t.Errorf("only %d frames left: nothing is tried", left)
	}
}

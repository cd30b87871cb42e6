package conformance

import (
	"net/netip"

	"vsnat/nat"
	"vsnat/nat/wire"
)

// connect begins a connection, and often completes TCP's handshake.
func (g *generator) connect() {
	k := pick(g, g.endpoints())
	f := flow{proto: k.Proto, client: g.client(), virtual: netip.AddrPortFrom(netip.AddrFrom16(k.Addr).Unmap(), k.Port)}
	if k.Mark != 0 {
		a, protos := markedVIPs.Addr().As4(), []uint8{nat.ProtoTCP, nat.ProtoUDP}
		if g.Wide {
			protos = nat.Protocols()
			if g.chance(50) && !g.IPv6 {
				a = outside.Addr().As4()
			}
		}
		a[3] = byte(1 + g.r.IntN(40))
		f.proto = pick(g, protos)
		f.virtual = netip.AddrPortFrom(netip.AddrFrom4(a), pick(g, []uint16{80, 443, 8000}))
	} else if k.Port == 0 || g.chance(2) {
		// Sometimes a port that no service has.
		f.virtual = netip.AddrPortFrom(f.virtual.Addr(), uint16(1000+g.r.IntN(50)))
	}
	if old := g.flows[max(0, len(g.flows)-recent):]; len(old) > 0 && g.chance(50) {
		// A client that was here before: its template may be.
		if o := pick(g, old); o.service == k {
			f.client = netip.AddrPortFrom(o.client.Addr(), f.client.Port())
		}
	}
	if f.virtual.Port() == isakmp {
		f.client = netip.AddrPortFrom(f.client.Addr(), isakmp)
	}
	u := used{f, k}
	g.flows = append(g.flows, u)
	switch f.proto {
	case nat.ProtoUDP:
		g.packet(FromClient, u, 0)
		return
	case nat.ProtoSCTP:
		g.associate(u)
		return
	}
	if g.chance(3) {
		g.packet(FromClient, u, pick(g, []uint8{wire.ACK, wire.FIN | wire.ACK, wire.RST, 0, wire.SYN | wire.ACK}))
		return
	}
	g.packet(FromClient, u, wire.SYN)
	if g.chance(75) {
		g.packet(FromServer, u, wire.SYN|wire.ACK)
		g.packet(FromClient, u, wire.ACK)
	}
}

// client returns an address and port: of few networks and hosts, so that
// templates matter, and rarely FTP's data port.
func (g *generator) client() netip.AddrPort {
	port := uint16(1024 + g.r.IntN(60000))
	if g.chance(1) {
		port = 20
	}
	return netip.AddrPortFrom(client(g.r.IntN(6)<<8|1+g.r.IntN(8)), port)
}

// goOn sends a packet of a flow that was used lately.
func (g *generator) goOn() {
	u := pick(g, g.flows[max(0, len(g.flows)-recent):])
	from := pick(g, []Op{FromClient, FromServer})
	// What was passed on without a server is another matter (docs/differences.md).
	if g.chance(8) && !outside.Contains(u.virtual.Addr()) {
		g.complaint(from, u)
		return
	}
	switch u.proto {
	case nat.ProtoUDP:
		g.packet(from, u, 0)
		if s := &g.steps[len(g.steps)-1]; u.client.Port() == isakmp && g.chance(70) {
			s.Packet.ESP, s.Packet.NoSum = true, false
		}
		return
	case nat.ProtoSCTP:
		g.chunk(from, u)
		return
	}
	switch n := g.r.IntN(100); {
	case n < 25 && from == FromClient:
		g.packet(from, u, wire.SYN)
	case n < 15:
		g.packet(from, u, wire.SYN|wire.ACK)
	case n < 45:
		g.packet(from, u, wire.ACK)
	case n < 75:
		g.packet(from, u, wire.FIN|wire.ACK)
	case n < 85:
		g.packet(from, u, wire.RST)
	case n < 89:
		g.packet(from, u, uint8(g.r.IntN(32)))
	default:
		// The whole of an orderly end, and another connection of the same name.
		g.packet(FromServer, u, wire.FIN|wire.ACK)
		g.packet(FromClient, u, wire.FIN|wire.ACK)
		g.packet(FromServer, u, wire.ACK)
		if g.chance(50) {
			g.packet(FromClient, u, wire.SYN)
		}
	}
}

// complaint sends an ICMP error about a packet of the flow that came from where it
// goes. Kernels before 6.1.183 drop those from servers in IPv6, and verify the
// checksum of others than they do now.
func (g *generator) complaint(op Op, u used) {
	old := g.NoThresholds
	if g.IPv6 && old {
		op = FromClient
	}
	p := Packet{
		Proto: u.proto, Client: u.client, Virtual: u.virtual,
		Error: 1 + g.r.IntN(len(complaints)), Quote: pick(g, []int{4, 8, 20, 28, 100, 501}),
		Last: g.chance(5), NoSum: g.chance(10) && !old,
	}
	g.add(Step{Op: op, Service: nat.ServiceSpec{Key: u.service}, Packet: p})
}

func (g *generator) packet(op Op, u used, flags uint8) {
	length := 0
	switch n := g.r.IntN(100); {
	case n < 40:
		length = g.r.IntN(400)
	case n < 43:
		length = mtu - 50 + g.r.IntN(50) // some do not fit the next link
	}
	p := Packet{Proto: u.proto, Client: u.client, Virtual: u.virtual, Flags: flags, Length: length}
	p.Last = g.chance(2)
	if outside.Contains(u.virtual.Addr()) {
		// The kernel's own error about it would pass its IPVS once more, or cannot be
		// sent and is not counted.
		p.Length, p.Last = min(p.Length, 100), false
	}
	p.NoSum = p.Proto == nat.ProtoUDP && g.chance(10)
	if p.Proto == nat.ProtoSCTP && g.chance(20) {
		p.Next = pick(g, []uint8{wire.SCTPAbort, wire.SCTPAbort, wire.SCTPSack, wire.SCTPCookieEcho})
	}
	// A client that begins anew, or whose server is gone, may end a connection.
	ends := op == FromClient && g.known[u.flow] && (p.begins() || g.settings["expire_nodest_conn"] != 0 && g.shrunk[u.service])
	g.known[u.flow] = true
	g.add(Step{Op: op, Service: nat.ServiceSpec{Key: u.service}, Packet: p, Settle: ends})
}

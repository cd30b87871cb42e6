package conformance

import (
	"net/netip"
	"slices"

	"vsnat/nat"
	"vsnat/nat/wire"
	"vsnat/nic"
)

// host is the routes of a host with two NICs, both behind which every address
// is a neighbour.
type host struct{}

func hop(s side) nic.Hop {
	return nic.Hop{
		State: nic.HopResolved, Index: 2 + int(s), MTU: mtu, Src: vips[0].As16(),
		SrcMAC: [6]byte{2, 5: 1}, DstMAC: [6]byte{2, 5: 2},
	}
}

func (h host) Lookup(dst nic.Addr) nic.Hop {
	to := nic.Hop{State: nic.HopNoRoute}
	a := netip.AddrFrom16(dst).Unmap()
	switch v4 := four(a); {
	case h.Local(dst):
		to.State = nic.HopLocal
	case clientNet.Contains(v4):
		to = hop(clients)
	case serverNet.Contains(v4):
		to = hop(servers)
	}
	if a.Is6() && to.Src != (nic.Addr{}) {
		to.Src = six(vips[0]).As16()
	}
	return to
}

func (host) Local(a nic.Addr) bool {
	addr := four(netip.AddrFrom16(a).Unmap())
	return slices.Contains(vips, addr) || markedVIPs.Contains(addr)
}

func (host) Locals() (all []nic.Addr) {
	for _, a := range vips {
		all = append(all, a.As16(), six(a).As16())
	}
	return all
}

func (host) Links() []nic.Link {
	var all []nic.Link
	for _, s := range []side{clients, servers} {
		all = append(all, nic.Link{Index: hop(s).Index, MAC: hop(s).SrcMAC, MTU: mtu, Up: true, Ether: true})
	}
	return all
}

func (h host) Link(index int) (nic.Link, bool) {
	for _, l := range h.Links() {
		if l.Index == index {
			return l, true
		}
	}
	return nic.Link{}, false
}

func (host) Forwarding(int, bool) bool { return true }

// leftToHost is what a host without any socket does with a packet: it routes
// what is for others, and refuses what is for itself.
func leftToHost(from side, packet []byte) []departed {
	ip := append(wire.IP{}, packet...)
	p, _ := parse(packet)
	dst := four(netip.AddrFrom16(p.Dst).Unmap())
	// What is outside is delivered to the host by its mark.
	local := host{}.Local(p.Dst) || from == clients && outside.Contains(dst) && !p.V6
	switch {
	case !local && ip.TTL() <= 1:
		return refuse(from, ip, vips[0], timeExceeded, 0)
	case !local && len(ip) > mtu:
		return refuse(from, ip, vips[0], tooBig, mtu)
	case !local:
		ip.DecTTL()
		to := clients
		if serverNet.Contains(dst) {
			to = servers
		}
		return []departed{{to, ip}}
	case isICMP(&p):
		return nil // errors are all there are
	case p.Proto == nat.ProtoSCTP, p.Proto == wire.ProtoESP:
		return nil // see unanswered
	case p.Proto == nat.ProtoTCP:
		answer := make([]byte, mtu)
		return answered(from, answer[:wire.BuildTCPReset(answer, ip)])
	case p.V6 && wire.UDP(packet[ip.HeaderLen():]).Checksum() == 0:
		return nil // RFC 8200, section 8.1
	case markedVIPs.Contains(dst) && p.V6:
		return refuse(from, ip, vips[0], portUnreachable, 0) // no address of the host's own
	}
	return refuse(from, ip, dst, portUnreachable, 0)
}

// refusal is an ICMP error: type and code in ICMP and in ICMPv6.
type refusal struct{ type4, code4, type6, code6 uint8 }

var (
	timeExceeded    = refusal{wire.ICMPv4TimeExceeded, wire.ICMPv4HopsExceeded, wire.ICMPv6TimeExceeded, wire.ICMPv6HopsExceeded}
	tooBig          = refusal{wire.ICMPv4DstUnreachable, wire.ICMPv4FragNeeded, wire.ICMPv6PacketTooBig, 0}
	portUnreachable = refusal{wire.ICMPv4DstUnreachable, wire.ICMPv4PortUnreachable, wire.ICMPv6DstUnreachable, wire.ICMPv6PortUnreachable}
)

// refuse answers with an ICMP error from the address that stands for src.
func refuse(from side, ip wire.IP, src netip.Addr, r refusal, rest uint32) []departed {
	answer := make([]byte, mtu)
	n := 0
	if ip.V6() {
		n = wire.BuildICMPv6Error(answer, six(src).As16(), r.type6, r.code6, rest, wire.IPv6(ip))
	} else {
		n = wire.BuildICMPv4Error(answer, src.As4(), 0, r.type4, r.code4, rest, wire.IPv4(ip))
	}
	return answered(from, answer[:n])
}

// answered is an answer that leaves where the packet came from, or none if it
// is empty.
func answered(to side, packet []byte) []departed {
	if len(packet) == 0 {
		return nil
	}
	return []departed{{to, packet}}
}

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
	switch a := netip.AddrFrom16(dst).Unmap(); {
	case h.Local(dst):
		return nic.Hop{State: nic.HopLocal}
	case clientNet.Contains(a):
		return hop(clients)
	case serverNet.Contains(a):
		return hop(servers)
	}
	return nic.Hop{State: nic.HopNoRoute}
}

func (host) Local(a nic.Addr) bool {
	addr := netip.AddrFrom16(a).Unmap()
	return slices.Contains(vips, addr) || markedVIPs.Contains(addr)
}

func (host) Locals() (all []nic.Addr) {
	for _, a := range vips {
		all = append(all, a.As16())
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
	ip := append(wire.IPv4{}, packet...)
	dst := netip.AddrFrom4(ip.Dst())
	switch self := (host{}); {
	case !self.Local(dst.As16()) && ip.TTL() <= 1:
		return refuse(from, ip, vips[0].As4(), wire.ICMPv4TimeExceeded, wire.ICMPv4HopsExceeded, 0)
	case !self.Local(dst.As16()) && len(ip) > mtu:
		return refuse(from, ip, vips[0].As4(), wire.ICMPv4DstUnreachable, wire.ICMPv4FragNeeded, mtu)
	case !self.Local(dst.As16()):
		ip.DecTTL()
		to := clients
		if serverNet.Contains(dst) {
			to = servers
		}
		return []departed{{to, ip}}
	case ip.Protocol() == nat.ProtoTCP:
		answer := make([]byte, mtu)
		return answered(from, answer[:wire.BuildTCPReset4(answer, ip)])
	}
	return refuse(from, ip, ip.Dst(), wire.ICMPv4DstUnreachable, wire.ICMPv4PortUnreachable, 0)
}

func refuse(from side, ip wire.IPv4, src [4]byte, typ, code uint8, rest uint32) []departed {
	answer := make([]byte, mtu)
	return answered(from, answer[:wire.BuildICMPv4Error(answer, src, 0, typ, code, rest, ip)])
}

// answered is an answer that leaves where the packet came from, or none if it
// is empty.
func answered(to side, packet []byte) []departed {
	if len(packet) == 0 {
		return nil
	}
	return []departed{{to, packet}}
}

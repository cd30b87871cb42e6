package nat

import (
	"net/netip"
	"slices"

	"vsnat/nic"
)

// PortRange are the ports of one pool on one address, host byte order, both
// included.
type PortRange struct {
	Addr        Addr
	First, Last uint16
}

// wide is what the guard keeps of them from the host.
func (r *PortRange) wide() Wide {
	ip := AddrPort(r.Addr, 0).Addr()
	return Wide{Selector: Selector{Dst: netip.PrefixFrom(ip, ip.BitLen()), FirstPort: r.First, LastPort: r.Last}}
}

// poolUse is a server that gets packets from a pool, or else networks that are
// masqueraded with it.
type poolUse struct {
	pool   string
	server Addr // all zero for a network
	// Of a network: the NIC by which its packets leave, and all networks.
	nic    int
	inside []Masquerade
}

// localRanges returns the ports that are ours: of the pools in use, on their own
// addresses, or else on those that routes choose towards the servers, and those
// that were learned.
func localRanges(pools []Pool, uses []poolUse, routes nic.Routes, learned []Addr) (all []PortRange) {
	add := func(a Addr, p *Pool) {
		r := PortRange{a, p.First, p.Last}
		if a != (Addr{}) && len(all) < maxLocals && !slices.Contains(all, r) {
			all = append(all, r)
		}
	}
	for _, u := range uses {
		i := slices.IndexFunc(pools, func(p Pool) bool { return p.Name == poolName(u.pool) })
		if i < 0 {
			continue
		}
		p := &pools[i]
		for _, a := range p.Addrs {
			add(a, p)
		}
		if len(p.Addrs) > 0 {
			continue
		}
		if u.server != (Addr{}) {
			add(routes.Lookup(u.server).Src, p)
		} else {
			for _, a := range sourcesOutside(routes, &u) {
				add(a, p)
			}
		}
		for _, a := range learned {
			add(a, p)
		}
	}
	return all
}

// sourcesOutside returns the addresses that the host would use towards the outside
// of masqueraded networks: by its default route, and in the networks that it is in
// itself. Those that other routes choose are learned.
func sourcesOutside(routes nic.Routes, u *poolUse) (all []Addr) {
	towards := func(a netip.Addr) {
		if !a.IsValid() || a.IsLoopback() || a.IsMulticast() || a.IsLinkLocalUnicast() ||
			slices.ContainsFunc(u.inside, func(m Masquerade) bool { return m.Network.Contains(a) }) {
			return
		}
		hop := routes.Lookup(a.As16())
		if hop.State == nic.HopNoRoute || hop.State == nic.HopLocal || u.nic != 0 && hop.Index != u.nic {
			return
		}
		if !slices.Contains(all, hop.Src) {
			all = append(all, hop.Src)
		}
	}
	for _, a := range farAway {
		towards(a)
	}
	for _, a := range routes.Locals() {
		ip := netip.AddrFrom16(a).Unmap()
		towards(ip.Next())
		towards(ip.Prev())
	}
	return all
}

// farAway are addresses of the Internet that are nobody's (RFC 5737, RFC 3849):
// the way to them is the default route.
var farAway = []netip.Addr{netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("2001:db8::1")}

package guard

import (
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The networks are a set of intervals for each family.

// addNetworkSet makes the set of the shape's family.
func (b *nft) addNetworkSet(s *shape) error {
	addr := [...]nftables.SetDatatype{ipv4: nftables.TypeIPAddr, ipv6: nftables.TypeIP6Addr}[s.family]
	b.networks[s.family] = &nftables.Set{Table: b.table, Name: "networks" + s.suffix, KeyType: addr, Interval: true}
	return b.conn.AddSet(b.networks[s.family], nil)
}

// setNetworks replaces the elements of both sets in one batch.
func (b *nft) setNetworks(_, list []netip.Prefix) error {
	var elements [2][]nftables.SetElement
	for _, p := range list {
		f := ipv6
		if p.Addr().Is4() {
			f = ipv4
		}
		elements[f] = append(elements[f], nftables.SetElement{Key: p.Addr().AsSlice()})
		if end := afterPrefix(p); end.IsValid() {
			elements[f] = append(elements[f], nftables.SetElement{Key: end.AsSlice(), IntervalEnd: true})
		}
	}
	for f, e := range elements {
		b.conn.FlushSet(b.networks[f])
		if err := b.conn.SetAddElements(b.networks[f], e); err != nil {
			return err
		}
	}
	return b.conn.Flush()
}

// afterPrefix returns the first address behind the prefix; the zero Addr if there is
// none.
func afterPrefix(p netip.Prefix) netip.Addr {
	last := p.Addr().AsSlice()
	for i := p.Bits(); i < 8*len(last); i++ {
		last[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(last)
	return a.Next()
}

// inNetwork goes on if the address that load brings to the first register is in a
// network.
func (b *nft) inNetwork(load expr.Any, s *shape) exprs {
	set := b.networks[s.family]
	return exprs{load, &expr.Lookup{SourceRegister: regKey, SetName: set.Name, SetID: set.ID}}
}

// addFromNetwork has chain c drop what has ports, which are loaded to see that, and
// comes from a network.
func (b *nft) addFromNetwork(c *nftables.Chain, s *shape) {
	for _, proto := range []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_SCTP} {
		b.addRule(c, slices.Concat(exprs{s.proto, equal(proto)}, s.sport(0),
			b.inNetwork(network(s.src, s.addrLen, regKey), s), drop(dropServer)))
	}
}

// addAboutNetwork has chain c, of ICMP, drop errors about packets with ports to a
// network.
func (b *nft) addAboutNetwork(c *nftables.Chain, s *shape) {
	for _, proto := range []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_SCTP} {
		b.addRule(c, slices.Concat(exprs{s.payload(s.innerProto, 1, regKey), equal(proto)}, s.sport(s.innerPorts),
			b.inNetwork(s.payload(s.innerDst, s.addrLen, regKey), s), drop(dropError)))
	}
}

// addEchoFromNetwork has chain c, of ICMP, drop echo requests from a network to
// others than the host.
func (b *nft) addEchoFromNetwork(c *nftables.Chain, s *shape, toHost exprs) {
	request := uint8(8)
	if s.family == ipv6 {
		request = 128
	}
	kind := exprs{s.payload(0, 1, regKey), equal(request)}
	b.addRule(c, slices.Concat(kind, toHost))
	b.addRule(c, slices.Concat(kind, b.inNetwork(network(s.src, s.addrLen, regKey), s), drop(dropServer)))
}

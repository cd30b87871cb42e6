package forward

import "vsnat/nat/wire"

// greLen returns the length in bytes of the tunnel's GRE header.
func (t *Tunnel) greLen() int {
	if t.Flags&TunnelChecksum != 0 {
		return wire.GRESumLen
	}
	return wire.GRELen
}

// putGRE writes the header of Generic Routing Encapsulation to the start of b,
// which the packet follows (ipvs_gre_encap in net/netfilter/ipvs/ip_vs_xmit.c).
func (o *Outer) putGRE(b, tail []byte) {
	typ := wire.TypeIPv4
	if o.Inner == wire.ProtoIPv6 {
		typ = wire.TypeIPv6
	}
	sum := o.Flags&TunnelChecksum != 0
	g := wire.GRE(b)
	g.Encode(typ, sum)
	if sum {
		g.SetChecksum(wire.SumToChecksum(wire.Sum(tail, wire.Sum(b, 0))))
	}
}

// InGRE is [InIPIP] for a GRE packet, which payload begins with.
func InGRE(payload []byte) (inner []byte, v6, ok bool) {
	g := wire.GRE(payload)
	if !g.IsValid() {
		return nil, false, false
	}
	t := g.Type()
	return g[g.HeaderLen():], t == wire.TypeIPv6, t == wire.TypeIPv6 || t == wire.TypeIPv4
}

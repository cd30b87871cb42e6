package forward

import "vsnat/nat/wire"

// gueLen is the length in bytes of the UDP header and the GUE header behind it.
const gueLen = wire.UDPLen + wire.GUELen

// putGUE writes the headers of Generic UDP Encapsulation to the start of b, which
// the packet follows (ipvs_gue_encap in net/netfilter/ipvs/ip_vs_xmit.c). Without
// a checksum flag the datagram has none, over IPv6 too (RFC 6935).
func (o *Outer) putGUE(b, tail []byte) {
	u := wire.UDP(b)
	u.Encode(&wire.UDPFields{SrcPort: o.SrcPort, DstPort: o.Port, Length: len(b) + len(tail)})
	wire.GUE(b[wire.UDPLen:]).Encode(o.Inner)
	if o.Flags&(TunnelChecksum|TunnelRemoteChecksum) == 0 {
		return
	}
	n := len(b) + len(tail)
	sum := wire.PseudoSum6(o.Src, o.Dst, wire.ProtoUDP, n)
	if !o.V6() {
		sum = wire.PseudoSum4([4]byte(o.Src[12:]), [4]byte(o.Dst[12:]), wire.ProtoUDP, n)
	}
	u.SetChecksum(wire.SumToChecksum(wire.Sum(tail, wire.Sum(b, sum))))
}

// InGUE is [InIPIP] for a UDP datagram to a tunnel's port, which payload begins
// with. Control messages have no packet inside.
func InGUE(payload []byte) (inner []byte, v6, ok bool) {
	if len(payload) < gueLen {
		return nil, false, false
	}
	g := wire.GUE(payload[wire.UDPLen:])
	if !g.IsData() {
		return nil, false, false
	}
	return InIPIP(g.Protocol(), g[g.HeaderLen():])
}

package forward

import (
	"encoding/binary"

	"vsnat/conntrack"
	"vsnat/nat/wire"
)

// TunnelType is how packets are wrapped on their way to a real server, in the
// kernel's numbering (IP_VS_CONN_F_TUNNEL_TYPE_*, include/uapi/linux/ip_vs.h).
type TunnelType uint8

// The tunnel types.
const (
	IPIP TunnelType = 0 // IP in IP: RFC 2003, RFC 2473, RFC 4213
	GUE  TunnelType = 1 // Generic UDP Encapsulation
	GRE  TunnelType = 2 // RFC 2784
)

// TunnelFlags say which checksum a tunnel has, in the kernel's numbering
// (IP_VS_TUNNEL_ENCAP_FLAG_*).
type TunnelFlags uint8

// The flags; 0 is no checksum.
const (
	TunnelChecksum TunnelFlags = 1 // of UDP or GRE, over the packet inside
	// TunnelRemoteChecksum is for GUE, and the same as TunnelChecksum here: remote
	// offload is for inner checksums that are still to be completed, and none
	// leaves vsnat so.
	TunnelRemoteChecksum TunnelFlags = 2
)

// Tunnel is a kind of tunnel.
type Tunnel struct {
	Type  TunnelType
	Flags TunnelFlags
	Port  uint16 // that GUE's datagrams go to, host order
}

// Outer is what the header around a packet says.
type Outer struct {
	Tunnel
	Src, Dst conntrack.Addr // of one family, which is the header's
	Inner    uint8          // what is inside: [wire.ProtoIPIP] or [wire.ProtoIPv6]
	// Class is the type of service or traffic class of the packet inside.
	Class uint8
	TTL   uint8  // or hop limit, that of the packet inside
	DF    bool   // IPv4: don't fragment
	ID    uint16 // IPv4: identification; 0 if DF
	// SrcPort is the port that GUE's datagrams come from. It tells routers on the
	// way, and the receiver's queues, flows apart.
	SrcPort uint16
}

// Around makes the header that of a packet in tunnel t from src to dst, all but
// ID and SrcPort. pmtu says that the tunnel's packets may be fragmented no more
// than the one inside (pmtu_disc): IPv4's don't fragment goes on the outside too.
// An IPv6 packet's tunnel may always be (ip_vs_prepare_tunneled_skb).
func (o *Outer) Around(pkt wire.IP, t Tunnel, src, dst *conntrack.Addr, pmtu bool) {
	o.Tunnel, o.Src, o.Dst = t, *src, *dst
	o.ID, o.TTL = 0, pkt.TTL()
	if pkt.V6() {
		o.Inner, o.Class, o.DF = wire.ProtoIPv6, wire.IPv6(pkt).TrafficClass(), false
		return
	}
	o.Inner, o.Class, o.DF = wire.ProtoIPIP, wire.IPv4(pkt).TOS(), pmtu && wire.IPv4(pkt).DontFragment()
}

// V6 reports whether the header is one of IPv6.
func (o *Outer) V6() bool { return !wire.Is4(&o.Dst) }

// Overhead returns the length in bytes of what goes before a packet in such a
// tunnel over IPv4 or IPv6.
func (t *Tunnel) Overhead(v6 bool) int {
	n := wire.IPv4MinLen
	if v6 {
		n = wire.IPv6Len
	}
	switch t.Type {
	case GUE:
		n += gueLen
	case GRE:
		n += t.greLen()
	}
	return n
}

// Put writes the header to the start of head, [Tunnel.Overhead] bytes; behind
// them stands the packet, or as much of it as is not in tail. Only a tunnel with a
// checksum reads the packet. head has an even length if tail is not empty.
func (o *Outer) Put(head, tail []byte) {
	v6 := o.V6()
	ip := wire.IPv4MinLen
	if v6 {
		ip = wire.IPv6Len
	}
	proto := o.Inner
	switch o.Type {
	case GUE:
		o.putGUE(head[ip:], tail)
		proto = wire.ProtoUDP
	case GRE:
		o.putGRE(head[ip:], tail)
		proto = wire.ProtoGRE
	}
	if v6 {
		wire.IPv6(head).Encode(&wire.IPv6Fields{
			TrafficClass: outerClass(o.Class),
			PayloadLen:   len(head) - ip + len(tail),
			NextHeader:   proto,
			HopLimit:     o.TTL,
			Src:          o.Src,
			Dst:          o.Dst,
		})
		return
	}
	var flags uint16
	if o.DF {
		flags = wire.IPv4DontFragment
	}
	wire.IPv4(head).EncodePlain(outerClass(o.Class), len(head)+len(tail), o.ID, flags, o.TTL, proto,
		binary.BigEndian.Uint32(o.Src[12:]), binary.BigEndian.Uint32(o.Dst[12:]))
}

// outerClass returns the outer type of service: the inner one, but that congestion
// which the packet has met before the tunnel is not told in it (RFC 3168, section
// 9.1.1, full functionality; INET_ECN_encapsulate in include/net/inet_ecn.h).
func outerClass(inner uint8) uint8 {
	const ecn, ce, ect0 = 3, 3, 2
	if inner&ecn == ce {
		return inner&^ecn | ect0
	}
	return inner
}

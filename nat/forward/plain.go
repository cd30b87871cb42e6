package forward

import (
	"encoding/binary"

	"vsnat/nat/wire"
)

// PutPlain4 does what [Outer.Around] and [Outer.Put] do, in one go, for a tunnel over
// IPv4 without a checksum: it writes the header to the first n bytes of b, the tunnel's
// overhead, which the packet follows. id is the identification of a packet that may be
// fragmented, as df says; addresses are in network byte order as numbers.
func (t Tunnel) PutPlain4(b []byte, n int, src, dst uint32, df bool, id, srcPort uint16) {
	be := binary.BigEndian
	in := (*[wire.IPv4MinLen]byte)(b[n:])
	proto, typ, ttl := wire.ProtoIPIP, wire.TypeIPv4, in[8]
	w := be.Uint32(in[:])
	class := uint8(w >> 16)
	if w>>28 == 6 {
		proto, typ, ttl, class = wire.ProtoIPv6, wire.TypeIPv6, in[7], uint8(w>>20)
	}
	switch t.Type {
	case GUE:
		h := (*[wire.IPv4MinLen + gueLen]byte)(b)
		length := uint64(len(b) - wire.IPv4MinLen)
		be.PutUint64(h[wire.IPv4MinLen:], uint64(srcPort)<<48|uint64(t.Port)<<32|length<<16)
		be.PutUint32(h[wire.IPv4MinLen+wire.UDPLen:], uint32(proto)<<16)
		proto = wire.ProtoUDP
	case GRE:
		be.PutUint32((*[wire.IPv4MinLen + wire.GRELen]byte)(b)[wire.IPv4MinLen:], uint32(typ))
		proto = wire.ProtoGRE
	}
	w1 := uint32(id) << 16
	if df {
		w1 = uint32(wire.IPv4DontFragment)
	}
	h := (*[wire.IPv4MinLen]byte)(b)
	w0, w2 := 0x45<<24|uint32(outerClass(class))<<16|uint32(uint16(len(b))), uint32(ttl)<<24|uint32(proto)<<16
	c := ^wire.Fold(uint64(w0) + uint64(w1) + uint64(w2) + uint64(src) + uint64(dst))
	be.PutUint64(h[:], uint64(w0)<<32|uint64(w1))
	be.PutUint32(h[8:], w2|uint32(c))
	be.PutUint64(h[12:], uint64(src)<<32|uint64(dst))
}

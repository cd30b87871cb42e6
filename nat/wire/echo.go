package wire

import "encoding/binary"

// EchoID returns the identifier of an ICMP or ICMPv6 echo request or reply, proto
// being that of l4, whose header is whole. ok is false if it is another message.
func EchoID(l4 []byte, proto uint8) (id uint16, request, ok bool) {
	switch t := l4[icmpType]; {
	case proto == ProtoICMP && t == ICMPv4Echo, proto == ProtoICMPv6 && t == ICMPv6Echo:
		request = true
	case proto == ProtoICMP && t == ICMPv4EchoReply, proto == ProtoICMPv6 && t == ICMPv6EchoReply:
	default:
		return 0, false, false
	}
	return binary.BigEndian.Uint16(l4[icmpRest:]), request, true
}

// RewriteEcho sets both addresses, which are of the packet's family, and the
// identifier of an echo request or reply, and corrects the checksums. partial is as
// in [RewriteDst4]. l4 is the ICMP message, or the part of it in a first fragment. It
// returns false, having changed nothing, if that is too short.
func RewriteEcho(ip IP, l4 []byte, partial bool, src, dst *[16]byte, id uint16) bool {
	if len(l4) < ICMPLen {
		return false
	}
	old := binary.BigEndian.Uint16(l4[icmpRest:])
	binary.BigEndian.PutUint16(l4[icmpRest:], id)
	c, diff := ICMPv4(l4).Checksum(), uint64(0)
	if ip.V6() {
		diff = ip.addrDiff(src, dst)
	}
	switch {
	case !partial:
		c = ^Fold(uint64(^c) + diff + uint64(^old) + uint64(id))
	case ip.V6():
		c = Fold(uint64(c) + diff)
	}
	ICMPv4(l4).SetChecksum(c) // at the same place in both
	ip.SetSrc(*src)
	ip.SetDst(*dst)
	return true
}

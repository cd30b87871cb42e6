package wire

import "encoding/binary"

// The checksum fields' places, by which the rewriting finds them.
const (
	portSrc = 0
	portDst = 2
)

// RewriteDst4 sets the destination address and port of an IPv4 packet and
// corrects both checksums. l4 is the packet's whole layer-4 header and payload,
// the protocol is taken from ip. It returns false, having changed nothing, if
// l4 is too short for the protocol's header.
//
// partial says that the layer-4 checksum field holds only the folded, not
// inverted sum of the pseudo-header, for the hardware to complete
// (CHECKSUM_PARTIAL in the kernel): then an address changes it, a port does
// not.
//
// The checksums behave as in ip_vs_proto_tcp.c and ip_vs_proto_udp.c of
// net/netfilter/ipvs: the update is incremental, so that a wrong checksum stays
// wrong; TCP's is never 0xffff; UDP's is never 0, and a datagram that comes
// without a checksum (0) gets one, computed over l4, unless it is the first
// fragment of several. SCTP has no pseudo-header: its CRC32c is computed anew
// if the port changes. As there is no partial CRC32c on a packet socket, with
// partial it is computed always, and the caller clears the mark that the packet
// was partial. Of any other protocol only the address is set.
func RewriteDst4(ip IPv4, l4 []byte, partial bool, addr [4]byte, port uint16) bool {
	return rewrite4(ip, l4, partial, ip4Dst, portDst, addr, port)
}

// RewriteSrc4 is [RewriteDst4] for the source.
func RewriteSrc4(ip IPv4, l4 []byte, partial bool, addr [4]byte, port uint16) bool {
	return rewrite4(ip, l4, partial, ip4Src, portSrc, addr, port)
}

func rewrite4(ip IPv4, l4 []byte, partial bool, addrOff, portOff int, addr [4]byte, port uint16) bool {
	now := uint64(binary.BigEndian.Uint32(addr[:]))
	gone := uint64(^binary.BigEndian.Uint32(ip[addrOff:])) // complement of what leaves the sum
	switch ip.Protocol() {
	case ProtoTCP:
		if len(l4) < TCPMinLen {
			return false
		}
		t := TCP(l4)
		t.SetChecksum(rewriteSum(t.Checksum(), gone+now, l4[portOff:], port, partial))
	case ProtoUDP:
		if len(l4) < UDPLen {
			return false
		}
		u := UDP(l4)
		if u.Checksum() == 0 && !partial {
			binary.BigEndian.PutUint16(l4[portOff:], port)
			ip.setAddr(addrOff, addr)
			if !ip.Fragment() {
				u.SetChecksum(notZero(^Fold(Sum(l4, PseudoSum4(ip.Src(), ip.Dst(), ProtoUDP, len(l4))))))
			}
			return true
		}
		u.SetChecksum(notZero(rewriteSum(u.Checksum(), gone+now, l4[portOff:], port, partial)))
	case ProtoSCTP:
		if len(l4) < SCTPLen {
			return false
		}
		rewriteSCTP(l4, portOff, partial, port)
	}
	ip.setAddr(addrOff, addr)
	return true
}

// rewriteSum sets the port at the start of p and returns what becomes of
// checksum c when the addresses' sum changes by diff (complement of the old
// ones plus the new ones).
func rewriteSum(c uint16, diff uint64, p []byte, port uint16, partial bool) uint16 {
	old := binary.BigEndian.Uint16(p)
	binary.BigEndian.PutUint16(p, port)
	if partial {
		// The kernel also takes out and puts in the unchanged length, which
		// adds 0xffff, a zero that keeps the result from being 0x0000.
		return Fold(uint64(c) + diff + 0xffff)
	}
	// The complement over 32 bits is the kernel's: the sum is never 0, and so
	// the result never 0xffff.
	return ^Fold(uint64(^uint32(c)) + diff + uint64(^old) + uint64(port))
}

// rewriteSCTP sets the port at offset portOff and computes the checksum anew if
// it must.
func rewriteSCTP(s SCTP, portOff int, partial bool, port uint16) {
	if binary.BigEndian.Uint16(s[portOff:]) == port && !partial {
		return
	}
	binary.BigEndian.PutUint16(s[portOff:], port)
	s.SetChecksum(s.CalculateChecksum())
}

// notZero returns c, or its other representation 0xffff if it is 0, which in
// UDP would mean that there is no checksum (RFC 768).
func notZero(c uint16) uint16 {
	if c == 0 {
		return 0xffff
	}
	return c
}

package wire

import "encoding/binary"

// Where the ports stand in a TCP, UDP or SCTP header.
const (
	portSrc  = 0
	portDst  = 2
	portsLen = 4
)

// hasPorts reports whether the protocol's header begins with two ports.
func hasPorts(proto uint8) bool {
	return proto == ProtoTCP || proto == ProtoUDP || proto == ProtoSCTP
}

// RewriteDst4 sets the destination address and port of an IPv4 packet and
// corrects both checksums. l4 is the layer-4 header and all of its payload, the
// protocol is taken from ip. It returns false, having changed nothing, if l4 is
// too short for the protocol's header. A later fragment has no layer-4 header:
// for it [IPv4.SetDst] is enough.
//
// partial says that the layer-4 checksum field holds only the folded, not
// inverted sum of the pseudo-header, for the hardware to complete
// (CHECKSUM_PARTIAL in the kernel): then an address changes it, a port does
// not.
//
// The checksums behave as in ip_vs_proto_tcp.c, ip_vs_proto_udp.c and
// ip_vs_proto_sctp.c of net/netfilter/ipvs. The update is incremental, so a
// wrong checksum stays wrong; TCP's never becomes 0xffff. UDP's never becomes
// 0, and a datagram that comes without a checksum (0) gets one, computed over
// all of l4, unless l4 ends before the datagram does, as in a first fragment.
// SCTP has no pseudo-header: its CRC32c is computed anew if the port changes.
// A packet socket cannot have a CRC32c completed, so a partial one is always
// computed, and the caller clears the mark that said partial. Of any other
// protocol only the address is set.
func RewriteDst4(ip IPv4, l4 []byte, partial bool, addr [4]byte, port uint16) bool {
	return rewrite4(ip, l4, partial, ip4Dst, portDst, addr, port)
}

// RewriteSrc4 is [RewriteDst4] for the source.
func RewriteSrc4(ip IPv4, l4 []byte, partial bool, addr [4]byte, port uint16) bool {
	return rewrite4(ip, l4, partial, ip4Src, portSrc, addr, port)
}

// RewriteDst6 is [RewriteDst4] for an IPv6 packet. proto is the protocol of l4,
// found behind the extension headers.
func RewriteDst6(ip IPv6, l4 []byte, proto uint8, partial bool, addr [16]byte, port uint16) bool {
	return rewrite6(ip, l4, proto, partial, ip6Dst, portDst, addr, port)
}

// RewriteSrc6 is [RewriteDst6] for the source.
func RewriteSrc6(ip IPv6, l4 []byte, proto uint8, partial bool, addr [16]byte, port uint16) bool {
	return rewrite6(ip, l4, proto, partial, ip6Src, portSrc, addr, port)
}

func rewrite4(ip IPv4, l4 []byte, partial bool, addrOff, portOff int, addr [4]byte, port uint16) bool {
	diff := uint64(^binary.BigEndian.Uint32(ip[addrOff:])) + uint64(binary.BigEndian.Uint32(addr[:]))
	noSum, ok := rewritePort(ip.Protocol(), l4, partial, diff, portOff, port)
	if !ok {
		return false
	}
	ip.setAddr(addrOff, addr)
	if noSum {
		UDP(l4).complete(PseudoSum4(ip.Src(), ip.Dst(), ProtoUDP, len(l4)))
	}
	return true
}

func rewrite6(ip IPv6, l4 []byte, proto uint8, partial bool, addrOff, portOff int, addr [16]byte, port uint16) bool {
	var old [16]byte
	for i, v := range ip[addrOff : addrOff+16] {
		old[i] = ^v
	}
	noSum, ok := rewritePort(proto, l4, partial, sum16(&old)+sum16(&addr), portOff, port)
	if !ok {
		return false
	}
	copy(ip[addrOff:addrOff+16], addr[:])
	if noSum {
		UDP(l4).complete(PseudoSum6(ip.Src(), ip.Dst(), ProtoUDP, len(l4)))
	}
	return true
}

// rewritePort sets a port and corrects the checksum of a layer-4 header whose
// pseudo-header's sum changes by diff: the complements of the words that leave
// it plus those that come. noSum says that this is a whole UDP datagram that
// has no checksum yet; ok is false if l4 is too short.
func rewritePort(proto uint8, l4 []byte, partial bool, diff uint64, portOff int, port uint16) (noSum, ok bool) {
	switch proto {
	case ProtoTCP:
		if len(l4) < TCPMinLen {
			return false, false
		}
		c := TCP(l4).Checksum()
		TCP(l4).SetChecksum(rewriteSum(c, diff, l4[portOff:], port, partial))
	case ProtoUDP:
		if len(l4) < UDPLen {
			return false, false
		}
		u := UDP(l4)
		c := u.Checksum()
		if c == 0 && !partial {
			binary.BigEndian.PutUint16(l4[portOff:], port)
			return u.Length() <= len(l4), true
		}
		u.SetChecksum(notZero(rewriteSum(c, diff, l4[portOff:], port, partial)))
	case ProtoSCTP:
		if len(l4) < SCTPLen {
			return false, false
		}
		if s := SCTP(l4); partial || binary.BigEndian.Uint16(l4[portOff:]) != port {
			binary.BigEndian.PutUint16(l4[portOff:], port)
			s.SetChecksum(s.CalculateChecksum())
		}
	}
	return false, true
}

// rewriteSum sets the port at the start of p and returns what becomes of
// checksum c.
func rewriteSum(c uint16, diff uint64, p []byte, port uint16, partial bool) uint16 {
	old := binary.BigEndian.Uint16(p)
	binary.BigEndian.PutUint16(p, port)
	if partial {
		// The kernel also takes out and puts in the unchanged length, which
		// adds 0xffff: a zero that keeps the result from being 0x0000.
		return Fold(uint64(c) + diff + 0xffff)
	}
	// The complement over 32 bits is the kernel's: the sum is never 0, and so
	// the result never 0xffff.
	return ^Fold(uint64(^uint32(c)) + diff + uint64(^old) + uint64(port))
}

// complete sets the checksum of a datagram whose field is 0. pseudo is its
// pseudo-header's sum.
func (b UDP) complete(pseudo uint64) { b.SetChecksum(SumToChecksum(Sum(b, pseudo))) }

// notZero returns c, or its other representation 0xffff if it is 0, which in
// UDP would mean that there is no checksum (RFC 768).
func notZero(c uint16) uint16 {
	if c == 0 {
		return 0xffff
	}
	return c
}

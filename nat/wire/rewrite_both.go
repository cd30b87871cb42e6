package wire

import "encoding/binary"

// RewriteBoth sets both addresses, which are of the packet's family, and both
// ports, as [RewriteSrc] and [RewriteDst] one after the other would, with one pass
// over the checksums. It returns false, having changed nothing, if l4 is too short
// for the header of the protocol proto.
func RewriteBoth(ip IP, l4 []byte, proto uint8, partial bool, src *[16]byte, srcPort uint16, dst *[16]byte, dstPort uint16) bool {
	noSum := false
	switch proto {
	case ProtoTCP:
		if len(l4) < TCPMinLen {
			return false
		}
		t := TCP(l4)
		t.SetChecksum(bothSum(t.Checksum(), ip, l4, partial, src, srcPort, dst, dstPort))
	case ProtoUDP:
		if len(l4) < UDPLen {
			return false
		}
		u := UDP(l4)
		if c := u.Checksum(); c == 0 && !partial {
			putPorts(l4, srcPort, dstPort)
			noSum = u.Length() <= len(l4)
		} else {
			u.SetChecksum(notZero(bothSum(c, ip, l4, partial, src, srcPort, dst, dstPort)))
		}
	case ProtoSCTP:
		if len(l4) < SCTPLen {
			return false
		}
		if old := binary.BigEndian.Uint32(l4); partial || old != uint32(srcPort)<<16|uint32(dstPort) {
			putPorts(l4, srcPort, dstPort)
			SCTP(l4).SetChecksum(SCTP(l4).CalculateChecksum())
		}
	}
	ip.SetSrc(*src)
	ip.SetDst(*dst)
	if noSum {
		UDP(l4).complete(ip.PseudoSum(ProtoUDP, len(l4)))
	}
	return true
}

// bothSum sets both ports and returns what becomes of checksum c when the
// addresses are set, too.
func bothSum(c uint16, ip IP, l4 []byte, partial bool, src *[16]byte, srcPort uint16, dst *[16]byte, dstPort uint16) uint16 {
	old := binary.BigEndian.Uint32(l4)
	putPorts(l4, srcPort, dstPort)
	diff := ip.addrDiff(src, dst)
	if partial {
		return Fold(uint64(c) + diff + 0xffff) // as rewriteSum
	}
	return ^Fold(uint64(^uint32(c)) + diff + uint64(^old) + uint64(srcPort) + uint64(dstPort))
}

// addrDiff returns by how much the sum of the pseudo-header changes: the
// complements of the addresses that leave it plus those that come.
func (b IP) addrDiff(src, dst *[16]byte) uint64 {
	if b.V6() {
		var old [32]byte
		for i, v := range b[ip6Src : ip6Src+32] {
			old[i] = ^v
		}
		return sum16((*[16]byte)(old[:16])) + sum16((*[16]byte)(old[16:])) + sum16(src) + sum16(dst)
	}
	be := binary.BigEndian
	return uint64(^be.Uint32(b[ip4Src:])) + uint64(^be.Uint32(b[ip4Dst:])) + uint64(be.Uint32(src[12:])) + uint64(be.Uint32(dst[12:]))
}

// putPorts sets both ports at the start of l4.
func putPorts(l4 []byte, src, dst uint16) {
	binary.BigEndian.PutUint32(l4, uint32(src)<<16|uint32(dst))
}

// RewriteErrorBoth translates an ICMP error for the other side of a connection
// both of whose ends are rewritten: its own source and destination become src and
// dst, and the packet that it quotes goes from quotedSrc to quotedDst with these
// ports; srcPort is the identifier of an echo request. l4 is the ICMP message; all addresses are of the packet's family. It
// returns false, having changed nothing, if what is quoted cannot be read.
func RewriteErrorBoth(ip IP, l4 []byte, src, dst, quotedSrc *[16]byte, srcPort uint16, quotedDst *[16]byte, dstPort uint16) bool {
	if len(l4) < ICMPLen {
		return false
	}
	var q Packet
	r := q.ParseQuoted(l4, ICMPLen, ip.V6())
	if r != Parsed && r != OtherProtocol && r != LaterFragment {
		return false
	}
	if r == Parsed && hasPorts(q.Proto) {
		putPorts(l4[q.L4:], srcPort, dstPort)
	} else if r == Parsed {
		if _, request, ok := EchoID(l4[q.L4:], q.Proto); ok && request {
			binary.BigEndian.PutUint16(l4[q.L4+icmpRest:], srcPort)
		}
	}
	inner := IP(l4[q.L3:])
	if !inner.V6() {
		copy(inner[ip4Src:], quotedSrc[12:])
		copy(inner[ip4Dst:], quotedDst[12:])
		in4 := IPv4(inner)
		in4.SetChecksum(in4.CalculateChecksum())
		ip.SetSrc(*src)
		ip.SetDst(*dst)
		ICMPv4(l4).SetChecksum(0)
		ICMPv4(l4).SetChecksum(Checksum(l4))
		return true
	}
	copy(inner[ip6Src:], quotedSrc[:])
	copy(inner[ip6Dst:], quotedDst[:])
	ip.SetSrc(*src)
	ip.SetDst(*dst)
	ICMPv6(l4).complete(*src, *dst)
	return true
}

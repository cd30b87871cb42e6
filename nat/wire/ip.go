package wire

import "encoding/binary"

// IP is an IPv4 or IPv6 packet from its header on, as [Packet.Parse] found it:
// the header is whole and says which of the two it is. It may be followed by
// bytes that are not the packet's. Addresses are those of both families: IPv4 as
// IPv4-mapped.
type IP []byte

// V6 reports whether the packet is one of IPv6.
func (b IP) V6() bool { return b[0]>>4 == 6 }

// TotalLen returns the packet's length in bytes, header included.
func (b IP) TotalLen() int {
	if b.V6() {
		return IPv6(b).TotalLen()
	}
	return IPv4(b).TotalLen()
}

// HeaderLen returns the length in bytes of the IP header, IPv4's options included
// and IPv6's extension headers not.
func (b IP) HeaderLen() int {
	if b.V6() {
		return IPv6Len
	}
	return IPv4(b).HeaderLen()
}

// TTL returns the time to live, or the hop limit.
func (b IP) TTL() uint8 {
	if b.V6() {
		return b[ip6HopLimit]
	}
	return b[ip4TTL]
}

// DecTTL takes one hop off; of IPv4 it corrects the header checksum. The caller
// has seen that one is left.
func (b IP) DecTTL() {
	if b.V6() {
		b[ip6HopLimit]--
		return
	}
	IPv4(b).DecTTL()
}

// DontFragment reports whether routers must not fragment the packet, as is
// always so in IPv6.
func (b IP) DontFragment() bool { return b.V6() || IPv4(b).DontFragment() }

// Src returns the source address.
func (b IP) Src() [16]byte {
	if b.V6() {
		return [16]byte(b[ip6Src:])
	}
	return Mapped(IPv4(b).Src())
}

// Dst returns the destination address.
func (b IP) Dst() [16]byte {
	if b.V6() {
		return [16]byte(b[ip6Dst:])
	}
	return Mapped(IPv4(b).Dst())
}

// SetSrc sets the source address and, of IPv4, corrects the header checksum. The
// address is of the packet's family.
func (b IP) SetSrc(a [16]byte) {
	if b.V6() {
		copy(b[ip6Src:ip6Src+16], a[:])
		return
	}
	IPv4(b).SetSrc([4]byte(a[12:]))
}

// SetDst is SetSrc for the destination.
func (b IP) SetDst(a [16]byte) {
	if b.V6() {
		copy(b[ip6Dst:ip6Dst+16], a[:])
		return
	}
	IPv4(b).SetDst([4]byte(a[12:]))
}

// PseudoSum returns the sum of the pseudo-header for length bytes of a
// transport protocol, its header included (see [PseudoSum4] and [PseudoSum6]).
func (b IP) PseudoSum(proto uint8, length int) uint64 {
	if b.V6() {
		return PseudoSum6([16]byte(b[ip6Src:]), [16]byte(b[ip6Dst:]), proto, length)
	}
	return PseudoSum4(IPv4(b).Src(), IPv4(b).Dst(), proto, length)
}

// EtherType returns the EtherType of frames that carry such a packet.
func (b IP) EtherType() uint16 {
	if b.V6() {
		return TypeIPv6
	}
	return TypeIPv4
}

// Mapped returns an IPv4 address as an IPv4-mapped one (RFC 4291, section
// 2.5.5.2).
func Mapped(a [4]byte) [16]byte {
	return [16]byte{10: 0xff, 11: 0xff, 12: a[0], 13: a[1], 14: a[2], 15: a[3]}
}

// Is4 reports whether an address is an IPv4-mapped one.
func Is4(a *[16]byte) bool { return [12]byte(a[:12]) == [12]byte{10: 0xff, 11: 0xff} }

// RewriteDst sets the destination address and port of a packet of either family,
// with transport protocol proto and header l4: see [RewriteDst4] and
// [RewriteDst6].
func RewriteDst(ip IP, l4 []byte, proto uint8, partial bool, addr *[16]byte, port uint16) bool {
	if ip.V6() {
		return RewriteDst6(IPv6(ip), l4, proto, partial, *addr, port)
	}
	return RewriteDst4(IPv4(ip), l4, partial, [4]byte(addr[12:]), port)
}

// RewriteSrc is [RewriteDst] for the source.
func RewriteSrc(ip IP, l4 []byte, proto uint8, partial bool, addr *[16]byte, port uint16) bool {
	if ip.V6() {
		return RewriteSrc6(IPv6(ip), l4, proto, partial, *addr, port)
	}
	return RewriteSrc4(IPv4(ip), l4, partial, [4]byte(addr[12:]), port)
}

// RewriteErrorIn translates an ICMP error on its way to a server: its own
// destination becomes addr, the source of the packet that it quotes addr and
// port. l4 is the ICMP message. What it returns, and what becomes of the
// checksums, is as of [RewriteQuotedSrc4].
func RewriteErrorIn(ip IP, l4 []byte, addr *[16]byte, port uint16) bool {
	var ok bool
	if ip.V6() {
		ok = RewriteQuotedSrc6([16]byte(ip[ip6Src:]), *addr, l4, *addr, port)
	} else {
		ok = RewriteQuotedSrc4(l4, [4]byte(addr[12:]), port)
	}
	if ok {
		ip.SetDst(*addr)
	}
	return ok
}

// RewriteErrorOut translates an ICMP error on its way to a client: its own source
// becomes addr, the destination of the packet that it quotes addr and port.
func RewriteErrorOut(ip IP, l4 []byte, addr *[16]byte, port uint16) bool {
	var ok bool
	if ip.V6() {
		ok = RewriteQuotedDst6(*addr, [16]byte(ip[ip6Dst:]), l4, *addr, port)
	} else {
		ok = RewriteQuotedDst4(l4, [4]byte(addr[12:]), port)
	}
	if ok {
		ip.SetSrc(*addr)
	}
	return ok
}

// BuildTCPReset is [BuildTCPReset4] or [BuildTCPReset6].
func BuildTCPReset(dst []byte, orig IP) int {
	if orig.V6() {
		return BuildTCPReset6(dst, IPv6(orig))
	}
	return BuildTCPReset4(dst, IPv4(orig))
}

// BuildTCPResetOnward is [BuildTCPReset4Onward] or [BuildTCPReset6Onward]. The
// addresses are of the packet's family.
func BuildTCPResetOnward(dst []byte, orig IP, src *[16]byte, srcPort uint16, to *[16]byte, toPort uint16) int {
	if orig.V6() {
		return BuildTCPReset6Onward(dst, IPv6(orig), *src, srcPort, *to, toPort)
	}
	return BuildTCPReset4Onward(dst, IPv4(orig), [4]byte(src[12:]), srcPort, [4]byte(to[12:]), toPort)
}

// SetTotalLen sets the packet's length in bytes, header included, and corrects
// IPv4's header checksum.
func (b IP) SetTotalLen(n int) {
	if b.V6() {
		binary.BigEndian.PutUint16(b[ip6PayloadLen:], uint16(n-IPv6Len))
		return
	}
	ip := IPv4(b)
	ip.SetChecksum(Update16(ip.Checksum(), uint16(ip.TotalLen()), uint16(n)))
	binary.BigEndian.PutUint16(b[ip4TotalLen:], uint16(n))
}

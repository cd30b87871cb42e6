package wire

import "encoding/binary"

// The answers a director gives in the host's stead. Each function writes one
// whole IP packet, its checksums complete, to the start of dst and returns its
// length in bytes; 0 says that the packet must not be answered so, or that dst
// is too short. dst may be the memory that the original lies in: what is needed
// of it is read, or moved, first.

const (
	// ICMPv4ErrorMax is the largest length in bytes of an ICMP error (RFC 1812,
	// section 4.3.2.3, and __icmp_send in net/ipv4/icmp.c).
	ICMPv4ErrorMax = 576
	// ICMPv6ErrorMax is the largest length in bytes of an ICMPv6 error: the
	// least MTU of IPv6 (RFC 4443, section 2.4).
	ICMPv6ErrorMax = 1280

	// answerTTL is the kernel's default (net.ipv4.ip_default_ttl and
	// net.ipv6.conf.default.hop_limit).
	answerTTL = 64

	tosECN      = 0x03 // explicit congestion notification (RFC 3168)
	tosMask     = 0x1e // IPTOS_TOS_MASK
	tosInternet = 0xc0 // IPTOS_PREC_INTERNETCONTROL
)

// BuildICMPv4Error writes an ICMP error about the valid packet orig, whose end may
// be missing, from src to orig's sender. rest is the four bytes that depend on the type, such as the
// MTU of fragmentation needed; id is the identification of the new packet,
// which may be fragmented. It quotes as much of orig as fits 576 bytes, and dst.
//
// The header is that of the kernel (__icmp_send in net/ipv4/icmp.c), which would
// echo some IP options of orig, however; this has none. Not answered are later
// fragments, ICMP errors and unknown ICMP types, and what does not go between
// single hosts (RFC 1122, section 3.2.2). That the frame was no broadcast of
// the link is for the caller to see.
func BuildICMPv4Error(dst []byte, src [4]byte, id uint16, typ, code uint8, rest uint32, orig IPv4) int {
	if !unicast4(orig) || orig.FragmentOffset() != 0 {
		return 0
	}
	orig = orig[:min(orig.TotalLen(), len(orig))]
	if orig.Protocol() == ProtoICMP {
		// Only the type is needed of the message.
		m := ICMPv4(orig[orig.HeaderLen():])
		if len(m) == 0 || m.IsError() || m.Type() > icmp4MaxType {
			return 0
		}
	}
	const headers = IPv4MinLen + ICMPLen
	quote := min(len(orig), min(ICMPv4ErrorMax, len(dst))-headers)
	if quote < IPv4MinLen {
		return 0
	}
	n := headers + quote
	f := IPv4Fields{
		TOS:      orig.TOS()&tosMask | tosInternet,
		TotalLen: n,
		ID:       id,
		TTL:      answerTTL,
		Protocol: ProtoICMP,
		Src:      src,
		Dst:      orig.Src(),
	}
	copy(dst[headers:n], orig)
	IPv4(dst).Encode(&f)
	m := ICMPv4(dst[IPv4MinLen:n])
	putICMP(m, typ, code, rest)
	m.SetChecksum(Checksum(m))
	return n
}

// BuildICMPv6Error is [BuildICMPv4Error] for IPv6 (icmp6_send in
// net/ipv6/icmp.c): it quotes as much of orig as fits 1280 bytes, and dst. Not
// answered are ICMPv6 errors, and what does not go between single hosts, but
// for packet too big, which a multicast packet may get (RFC 4443, section 2.4).
func BuildICMPv6Error(dst []byte, src [16]byte, typ, code uint8, rest uint32, orig IPv6) int {
	if !unicast6(orig, typ == ICMPv6PacketTooBig) {
		return 0
	}
	orig = orig[:min(orig.TotalLen(), len(orig))]
	if u, r := orig.upper(); r == Parsed && u.Proto == ProtoICMPv6 && u.FragmentOffset == 0 {
		// Only the type is needed of the message.
		m := ICMPv6(orig[u.Offset:])
		if len(m) == 0 || m.IsError() {
			return 0
		}
	}
	const headers = IPv6Len + ICMPLen
	quote := min(len(orig), min(ICMPv6ErrorMax, len(dst))-headers)
	if quote < IPv6Len {
		return 0
	}
	n := headers + quote
	f := IPv6Fields{
		PayloadLen: n - IPv6Len,
		NextHeader: ProtoICMPv6,
		HopLimit:   answerTTL,
		Src:        src,
		Dst:        orig.Src(),
	}
	copy(dst[headers:n], orig)
	IPv6(dst).Encode(&f)
	m := ICMPv6(dst[IPv6Len:n])
	putICMP(m, typ, code, rest)
	m.complete(f.Src, f.Dst)
	return n
}

// putICMP writes the header of an ICMP or ICMPv6 message but for its checksum,
// which becomes 0.
func putICMP(m []byte, typ, code uint8, rest uint32) {
	m[icmpType], m[icmpCode] = typ, code
	binary.BigEndian.PutUint16(m[icmpChecksum:], 0)
	binary.BigEndian.PutUint32(m[icmpRest:], rest)
}

// BuildTCPReset4 writes the segment with which a host answers the valid packet
// orig, a TCP segment for which it has no socket (RFC 9293, section 3.5.2;
// tcp_v4_send_reset in net/ipv4/tcp_ipv4.c). Not answered are resets, fragments,
// impossible TCP headers, and what does not go between single hosts. A host
// does not answer a segment with a wrong checksum either: that is for the
// caller to see ([TCP.ChecksumOK4]).
func BuildTCPReset4(dst []byte, orig IPv4) int {
	const n = IPv4MinLen + TCPMinLen
	if len(dst) < n || orig.Protocol() != ProtoTCP || orig.Fragment() || !unicast4(orig) {
		return 0
	}
	t, ok := reset(orig.Payload())
	if !ok {
		return 0
	}
	return putTCPReset4(dst, orig.TOS(), orig.Dst(), orig.Src(), &t)
}

// putTCPReset4 writes the packet of a reset with the precedence of the packet
// that tos is of.
func putTCPReset4(dst []byte, tos uint8, src, to [4]byte, t *TCPFields) int {
	const n = IPv4MinLen + TCPMinLen
	f := IPv4Fields{
		TOS:      tos &^ tosECN,
		TotalLen: n,
		Flags:    IPv4DontFragment,
		TTL:      answerTTL,
		Protocol: ProtoTCP,
		Src:      src,
		Dst:      to,
	}
	IPv4(dst).Encode(&f)
	s := TCP(dst[IPv4MinLen:n])
	s.Encode(t)
	s.SetChecksum(^Fold(Sum(s, PseudoSum4(f.Src, f.Dst, ProtoTCP, TCPMinLen))))
	return n
}

// BuildTCPReset4Onward writes the reset that takes the place of the valid packet
// orig, a segment of a connection, on its way: from src to to, with the segment's
// own numbers, so that the receiver takes it if it would have taken the segment
// next (RFC 5961, section 3.2). If not, its answer is a challenge that the reset
// of BuildTCPReset4 meets. Not answered is what BuildTCPReset4 does not answer.
func BuildTCPReset4Onward(dst []byte, orig IPv4, src [4]byte, srcPort uint16, to [4]byte, toPort uint16) int {
	if len(dst) < IPv4MinLen+TCPMinLen || orig.Protocol() != ProtoTCP || orig.Fragment() || !unicast4(orig) {
		return 0
	}
	t, ok := resetOnward(orig.Payload(), srcPort, toPort)
	if !ok {
		return 0
	}
	return putTCPReset4(dst, orig.TOS(), src, to, &t)
}

// BuildTCPReset6 is [BuildTCPReset4] for IPv6 (tcp_v6_send_reset in
// net/ipv6/tcp_ipv6.c). Its flow label is 0, where the kernel by default takes
// one at random.
func BuildTCPReset6(dst []byte, orig IPv6) int {
	o, ok := wholeSegment6(orig)
	if len(dst) < IPv6Len+TCPMinLen || !ok {
		return 0
	}
	t, ok := reset(o)
	if !ok {
		return 0
	}
	return putTCPReset6(dst, orig.TrafficClass(), orig.Dst(), orig.Src(), &t)
}

// putTCPReset6 is putTCPReset4 for IPv6.
func putTCPReset6(dst []byte, class uint8, src, to [16]byte, t *TCPFields) int {
	const n = IPv6Len + TCPMinLen
	f := IPv6Fields{
		TrafficClass: class &^ tosECN,
		PayloadLen:   TCPMinLen,
		NextHeader:   ProtoTCP,
		HopLimit:     answerTTL,
		Src:          src,
		Dst:          to,
	}
	IPv6(dst).Encode(&f)
	s := TCP(dst[IPv6Len:n])
	s.Encode(t)
	s.SetChecksum(^Fold(Sum(s, PseudoSum6(f.Src, f.Dst, ProtoTCP, TCPMinLen))))
	return n
}

// BuildTCPReset6Onward is [BuildTCPReset4Onward] for IPv6.
func BuildTCPReset6Onward(dst []byte, orig IPv6, src [16]byte, srcPort uint16, to [16]byte, toPort uint16) int {
	o, ok := wholeSegment6(orig)
	if len(dst) < IPv6Len+TCPMinLen || !ok {
		return 0
	}
	t, ok := resetOnward(o, srcPort, toPort)
	if !ok {
		return 0
	}
	return putTCPReset6(dst, orig.TrafficClass(), src, to, &t)
}

// wholeSegment6 returns the TCP segment of a packet that is no fragment and goes
// from one host to one host.
func wholeSegment6(orig IPv6) (TCP, bool) {
	u, r := orig.Upper()
	if r != Parsed || u.Proto != ProtoTCP || u.MoreFragments || u.FragmentOffset != 0 || !unicast6(orig, false) {
		return nil, false
	}
	return TCP(orig[u.Offset:orig.TotalLen()]), true
}

// reset returns the header of the reset that answers segment t; ok is false if
// there is none.
func reset(t TCP) (f TCPFields, ok bool) {
	if !t.IsValid() || t.Flags()&RST != 0 {
		return f, false
	}
	f = TCPFields{SrcPort: t.DstPort(), DstPort: t.SrcPort(), Flags: RST}
	if t.Flags()&ACK != 0 {
		f.Seq = t.Ack()
		return f, true
	}
	f.Flags |= ACK
	f.Ack = t.Seq() + uint32(len(t.Payload()))
	if t.Flags()&SYN != 0 {
		f.Ack++
	}
	if t.Flags()&FIN != 0 {
		f.Ack++
	}
	return f, true
}

// resetOnward returns the header of the reset that takes the place of segment t;
// ok is false if there is none.
func resetOnward(t TCP, srcPort, dstPort uint16) (f TCPFields, ok bool) {
	if !t.IsValid() || t.Flags()&RST != 0 {
		return f, false
	}
	f = TCPFields{SrcPort: srcPort, DstPort: dstPort, Seq: t.Seq(), Flags: RST}
	if t.Flags()&ACK != 0 {
		f.Ack = t.Ack()
		f.Flags |= ACK
	}
	return f, true
}

// unicast4 reports whether a packet goes from one host to one host, as the
// kernel's routing sees it (ip_route_input_slow in net/ipv4/route.c): neither
// address is multicast or the broadcast address, and the source is neither in
// 0/8 nor in 127/8. Addresses in 240/4 are hosts'.
func unicast4(ip IPv4) bool {
	src, dst := ip.Src(), ip.Dst()
	return src[0] != 0 && src[0] != 127 && !group4(src) && !group4(dst)
}

// group4 reports whether an address is multicast or the broadcast address.
func group4(a [4]byte) bool {
	return a[0]>>4 == 0xe || a == [4]byte{255, 255, 255, 255}
}

// unicast6 reports whether a packet's source is one host's address, and, unless
// multicast is allowed, its destination too (RFC 4291, sections 2.5.2 and 2.7).
func unicast6(ip IPv6, multicast bool) bool {
	return ip[ip6Src] != 0xff && ip.Src() != [16]byte{} && (multicast || ip[ip6Dst] != 0xff)
}

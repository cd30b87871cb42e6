package wire

import "encoding/binary"

// RewriteQuotedSrc4 translates an ICMP error on its way to a server: it sets
// the source address and port of the packet that the error quotes. The error's
// own addresses are for the caller to set. It returns false, having changed
// nothing, if what is quoted is not an IPv4 header, or if it is a TCP, UDP or
// SCTP packet without its ports.
//
// As in ip_vs_nat_icmp (net/netfilter/ipvs/ip_vs_core.c), the quoted header's
// checksum and that of the ICMP message are computed in full, the quoted TCP or
// UDP checksum stays as it is, and what has no ports (another protocol, a later
// fragment) keeps its payload.
func RewriteQuotedSrc4(icmp ICMPv4, addr [4]byte, port uint16) bool {
	return rewriteQuoted4(icmp, ip4Src, portSrc, addr, port)
}

// RewriteQuotedDst4 is [RewriteQuotedSrc4] for the destination, for an error on
// its way to a client.
func RewriteQuotedDst4(icmp ICMPv4, addr [4]byte, port uint16) bool {
	return rewriteQuoted4(icmp, ip4Dst, portDst, addr, port)
}

// RewriteQuotedSrc6 is [RewriteQuotedSrc4] for an ICMPv6 error. src and dst are
// the addresses that the error itself leaves with: its checksum covers them.
func RewriteQuotedSrc6(src, dst [16]byte, icmp ICMPv6, addr [16]byte, port uint16) bool {
	return rewriteQuoted6(src, dst, icmp, ip6Src, portSrc, addr, port)
}

// RewriteQuotedDst6 is [RewriteQuotedSrc6] for the destination, for an error on
// its way to a client.
func RewriteQuotedDst6(src, dst [16]byte, icmp ICMPv6, addr [16]byte, port uint16) bool {
	return rewriteQuoted6(src, dst, icmp, ip6Dst, portDst, addr, port)
}

func rewriteQuoted4(icmp ICMPv4, addrOff, portOff int, addr [4]byte, port uint16) bool {
	if !icmp.IsValid() {
		return false
	}
	ip := IPv4(icmp.Payload())
	if !ip.IsHeader() {
		return false
	}
	if hasPorts(ip.Protocol()) && ip.FragmentOffset() == 0 && !setPort(ip[ip.HeaderLen():], portOff, port) {
		return false
	}
	copy(ip[addrOff:addrOff+4], addr[:])
	ip.SetChecksum(ip.CalculateChecksum())
	icmp.SetChecksum(0)
	icmp.SetChecksum(Checksum(icmp))
	return true
}

func rewriteQuoted6(src, dst [16]byte, icmp ICMPv6, addrOff, portOff int, addr [16]byte, port uint16) bool {
	if !icmp.IsValid() {
		return false
	}
	ip := IPv6(icmp.Payload())
	if !ip.IsHeader() {
		return false
	}
	u, r := ip.upper()
	if r != Parsed {
		return false
	}
	if hasPorts(u.Proto) && u.FragmentOffset == 0 && !setPort(ip[u.Offset:], portOff, port) {
		return false
	}
	copy(ip[addrOff:addrOff+16], addr[:])
	icmp.complete(src, dst)
	return true
}

// setPort sets one of the ports at the start of l4. It returns false if they
// are not there.
func setPort(l4 []byte, off int, port uint16) bool {
	if len(l4) < portsLen {
		return false
	}
	binary.BigEndian.PutUint16(l4[off:], port)
	return true
}

// complete computes the checksum of a message between src and dst.
func (b ICMPv6) complete(src, dst [16]byte) {
	b.SetChecksum(0)
	b.SetChecksum(^Fold(Sum(b, PseudoSum6(src, dst, ProtoICMPv6, len(b)))))
}

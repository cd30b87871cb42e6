package wire

import "encoding/binary"

// RewriteQuotedSrc4 translates an ICMP error on its way to a server: it sets
// the source address and port of the packet that the error quotes. ip is the
// error as a whole packet and icmp its payload; the packet's own addresses are
// for the caller to set. It returns false, having changed nothing, if what is
// quoted is not an IPv4 header, or if it is a TCP, UDP or SCTP packet without
// its ports.
//
// As in ip_vs_nat_icmp (net/netfilter/ipvs/ip_vs_core.c), the quoted header's
// checksum and that of the ICMP message are computed in full, the quoted TCP or
// UDP checksum stays as it is, and protocols without ports keep their payload.
func RewriteQuotedSrc4(icmp ICMPv4, addr [4]byte, port uint16) bool {
	return rewriteQuoted4(icmp, ip4Src, portSrc, addr, port)
}

// RewriteQuotedDst4 is [RewriteQuotedSrc4] for the destination, for an error on
// its way to a client.
func RewriteQuotedDst4(icmp ICMPv4, addr [4]byte, port uint16) bool {
	return rewriteQuoted4(icmp, ip4Dst, portDst, addr, port)
}

func rewriteQuoted4(icmp ICMPv4, addrOff, portOff int, addr [4]byte, port uint16) bool {
	if !icmp.IsValid() {
		return false
	}
	ip := IPv4(icmp.Payload())
	if !ip.IsHeader() {
		return false
	}
	if hasPorts(ip.Protocol()) && ip.FragmentOffset() == 0 {
		l4 := ip[ip.HeaderLen():]
		if len(l4) < portDst+2 {
			return false
		}
		binary.BigEndian.PutUint16(l4[portOff:], port)
	}
	copy(ip[addrOff:addrOff+4], addr[:])
	ip.SetChecksum(ip.CalculateChecksum())
	icmp.SetChecksum(0)
	icmp.SetChecksum(Checksum(icmp))
	return true
}

// hasPorts reports whether the protocol's header begins with two ports.
func hasPorts(proto uint8) bool {
	return proto == ProtoTCP || proto == ProtoUDP || proto == ProtoSCTP
}

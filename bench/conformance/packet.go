package conformance

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net/netip"

	"vsnat/nat"
	"vsnat/nat/wire"
)

// build makes an IP packet with right checksums. Its payload is all zero unless it
// is told.
func build(p *Packet, src, dst netip.AddrPort) []byte {
	if p.Error != 0 {
		return complain(p, src, dst)
	}
	head := wire.TCPMinLen
	if p.Proto == nat.ProtoUDP {
		head = wire.UDPLen
	}
	ttl := uint8(64)
	if p.Last {
		ttl = 1
	}
	if p.ESP {
		ip, _ := wrapping(src, dst, wire.ProtoESP, ttl, 8+p.Length)
		return ip
	}
	if p.Proto == nat.ProtoSCTP {
		body := p.chunks()
		ip, l4 := wrapping(src, dst, p.Proto, ttl, len(body))
		copy(l4, body)
		binary.BigEndian.PutUint16(l4, src.Port())
		binary.BigEndian.PutUint16(l4[2:], dst.Port())
		wire.SCTP(l4).SetChecksum(wire.SCTP(l4).CalculateChecksum())
		return ip
	}
	ip, l4 := wrapping(src, dst, p.Proto, ttl, head+max(p.Length, len(p.Payload)))
	copy(l4[head:], p.Payload)
	sum := func() uint16 {
		return ^wire.Fold(wire.Sum(l4, ip.PseudoSum(p.Proto, len(l4))))
	}
	if p.Proto == nat.ProtoUDP {
		wire.UDP(l4).Encode(&wire.UDPFields{SrcPort: src.Port(), DstPort: dst.Port(), Length: len(l4)})
		if c := sum(); !p.NoSum && c == 0 {
			wire.UDP(l4).SetChecksum(0xffff) // RFC 768: 0 is none
		} else if !p.NoSum {
			wire.UDP(l4).SetChecksum(c)
		}
	} else {
		wire.TCP(l4).Encode(&wire.TCPFields{SrcPort: src.Port(), DstPort: dst.Port(), Seq: max(p.Seq, 1), Ack: max(p.Ack, 1), Flags: p.Flags, Window: 1000})
		wire.TCP(l4).SetChecksum(sum())
	}
	return ip
}

// complaints are the ICMP errors that IPVS takes for such, in ICMP and in ICMPv6,
// each with what follows the checksum.
var complaints = []struct {
	refusal
	rest uint32
}{
	{portUnreachable, 0},
	{refusal{wire.ICMPv4DstUnreachable, wire.ICMPv4HostUnreachable, wire.ICMPv6DstUnreachable, wire.ICMPv6AddressUnreachable}, 0},
	{tooBig, 1400},
	{timeExceeded, 0},
	{refusal{wire.ICMPv4SourceQuench, 0, wire.ICMPv6ParamProblem, 1}, 0},
}

// complain makes an ICMP error from src to dst about a packet from dst to src.
func complain(p *Packet, src, dst netip.AddrPort) []byte {
	about := build(&Packet{Proto: p.Proto, Flags: wire.ACK, Length: 2000}, dst, src)
	about = about[:wire.IP(about).HeaderLen()+p.Quote]
	c := &complaints[p.Error-1]
	proto, ttl, typ, code := wire.ProtoICMP, uint8(64), c.type4, c.code4
	if src.Addr().Is6() {
		proto, typ, code = wire.ProtoICMPv6, c.type6, c.code6
	}
	if p.Last {
		ttl = 1
	}
	ip, m := wrapping(src, dst, proto, ttl, wire.ICMPLen+len(about))
	m[0], m[1] = typ, code
	binary.BigEndian.PutUint32(m[4:], c.rest)
	copy(m[wire.ICMPLen:], about)
	pseudo := uint64(0)
	if ip.V6() {
		pseudo = ip.PseudoSum(proto, len(m))
	}
	sum := ^wire.Fold(wire.Sum(m, pseudo))
	if p.NoSum {
		sum ^= 0x0101
	}
	wire.ICMPv4(m).SetChecksum(sum)
	return ip
}

// wrapping makes an IP packet with n bytes of payload, which it returns too.
func wrapping(src, dst netip.AddrPort, proto, ttl uint8, n int) (ip wire.IP, payload []byte) {
	if src.Addr().Is6() {
		ip = make(wire.IP, wire.IPv6Len+n)
		wire.IPv6(ip).Encode(&wire.IPv6Fields{
			PayloadLen: n, NextHeader: proto, HopLimit: ttl, Src: src.Addr().As16(), Dst: dst.Addr().As16(),
		})
	} else {
		ip = make(wire.IP, wire.IPv4MinLen+n)
		wire.IPv4(ip).Encode(&wire.IPv4Fields{
			TotalLen: len(ip), ID: src.Port(), TTL: ttl, Protocol: proto, Flags: wire.IPv4DontFragment,
			Src: src.Addr().As4(), Dst: dst.Addr().As4(),
		})
	}
	return ip, ip[ip.HeaderLen():]
}

// parse reads an IP packet that has no Ethernet header.
func parse(ip []byte) (p wire.Packet, ok bool) {
	if len(ip) == 0 {
		return p, false
	}
	eth := make(wire.Ethernet, wire.EthernetLen+len(ip))
	eth.SetType(wire.IP(ip).EtherType())
	copy(eth.Payload(), ip)
	return p, p.Parse(eth) == wire.Parsed
}

func isICMP(p *wire.Packet) bool { return p.Proto == wire.ProtoICMP || p.Proto == wire.ProtoICMPv6 }

func destination(ip []byte) (netip.AddrPort, bool) {
	p, ok := parse(ip)
	return nat.AddrPort(p.Dst, p.DstPort), ok && !isICMP(&p)
}

// words describes a packet that left for one that came from there. All bytes
// count, but for the IP identification of an answer, or its flow label: a host draws
// them.
func words(d departed, from side) string {
	ip := wire.IP(d.ip)
	p, ok := parse(d.ip)
	if !ok {
		return fmt.Sprintf("to the %s: %x", d.side, d.ip)
	}
	text := fmt.Sprintf("to the %s: ", d.side)
	switch {
	case isICMP(&p):
		text += fmt.Sprintf("ICMP %d/%d from %s to %s", p.ICMPType, p.ICMPCode, nat.AddrPort(p.Src, 0).Addr(), nat.AddrPort(p.Dst, 0).Addr())
	case p.Proto == nat.ProtoSCTP:
		text += fmt.Sprintf("SCTP %s to %s", nat.AddrPort(p.Src, p.SrcPort), nat.AddrPort(p.Dst, p.DstPort))
	case p.Proto == nat.ProtoUDP:
		text += fmt.Sprintf("UDP %s to %s", nat.AddrPort(p.Src, p.SrcPort), nat.AddrPort(p.Dst, p.DstPort))
	default:
		text += fmt.Sprintf("TCP %s %s to %s", flagWords(p.TCPFlags), nat.AddrPort(p.Src, p.SrcPort), nat.AddrPort(p.Dst, p.DstPort))
	}
	if d.side == from {
		ip = append(wire.IP{}, ip...)
		if p.V6 {
			ip[1], ip[2], ip[3] = ip[1]&0xf0, 0, 0
		} else {
			ip[4], ip[5] = 0, 0
			wire.IPv4(ip).SetChecksum(0)
		}
	}
	return fmt.Sprintf("%s, TTL %d, %d bytes, CRC %08x", text, ip.TTL(), len(ip), crc32.ChecksumIEEE(ip))
}

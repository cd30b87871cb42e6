package conformance

import (
	"fmt"
	"hash/crc32"
	"net/netip"

	"vsnat/nat"
	"vsnat/nat/wire"
)

// build makes an IPv4 packet with right checksums. Its payload is all zero.
func build(p *Packet, src, dst netip.AddrPort) []byte {
	head := wire.TCPMinLen
	if p.Proto == nat.ProtoUDP {
		head = wire.UDPLen
	}
	ttl := uint8(64)
	if p.Last {
		ttl = 1
	}
	ip := wire.IPv4(make([]byte, wire.IPv4MinLen+head+p.Length))
	ip.Encode(&wire.IPv4Fields{
		TotalLen: len(ip), ID: src.Port(), TTL: ttl, Protocol: p.Proto, Flags: wire.IPv4DontFragment,
		Src: src.Addr().As4(), Dst: dst.Addr().As4(),
	})
	l4 := ip.Payload()
	sum := func() uint16 {
		return ^wire.Fold(wire.Sum(l4, wire.PseudoSum4(ip.Src(), ip.Dst(), p.Proto, len(l4))))
	}
	if p.Proto == nat.ProtoUDP {
		wire.UDP(l4).Encode(&wire.UDPFields{SrcPort: src.Port(), DstPort: dst.Port(), Length: len(l4)})
		if c := sum(); !p.NoSum && c == 0 {
			wire.UDP(l4).SetChecksum(0xffff) // RFC 768: 0 is none
		} else if !p.NoSum {
			wire.UDP(l4).SetChecksum(c)
		}
	} else {
		wire.TCP(l4).Encode(&wire.TCPFields{SrcPort: src.Port(), DstPort: dst.Port(), Seq: 1, Ack: 1, Flags: p.Flags, Window: 1000})
		wire.TCP(l4).SetChecksum(sum())
	}
	return ip
}

// parse reads an IPv4 packet that has no Ethernet header.
func parse(ip []byte) (p wire.Packet, ok bool) {
	eth := make(wire.Ethernet, wire.EthernetLen+len(ip))
	eth.SetType(wire.TypeIPv4)
	copy(eth.Payload(), ip)
	return p, p.Parse(eth) == wire.Parsed
}

func destination(ip []byte) (netip.AddrPort, bool) {
	p, ok := parse(ip)
	return nat.AddrPort(p.Dst, p.DstPort), ok && p.Proto != wire.ProtoICMP
}

// words describes a packet that left for one that came from there. All bytes
// count, but for the IP identification of an answer: a host draws it.
func words(d departed, from side) string {
	ip := wire.IPv4(d.ip)
	p, ok := parse(d.ip)
	if !ok {
		return fmt.Sprintf("to the %s: %x", d.side, d.ip)
	}
	text := fmt.Sprintf("to the %s: ", d.side)
	switch p.Proto {
	case wire.ProtoICMP:
		text += fmt.Sprintf("ICMP %d/%d from %s to %s", p.ICMPType, p.ICMPCode, nat.AddrPort(p.Src, 0).Addr(), nat.AddrPort(p.Dst, 0).Addr())
	case nat.ProtoUDP:
		text += fmt.Sprintf("UDP %s to %s", nat.AddrPort(p.Src, p.SrcPort), nat.AddrPort(p.Dst, p.DstPort))
	default:
		text += fmt.Sprintf("TCP %s %s to %s", flagWords(p.TCPFlags), nat.AddrPort(p.Src, p.SrcPort), nat.AddrPort(p.Dst, p.DstPort))
	}
	if d.side == from {
		ip = append(wire.IPv4{}, ip...)
		ip[4], ip[5] = 0, 0
		ip.SetChecksum(0)
	}
	return fmt.Sprintf("%s, TTL %d, %d bytes, CRC %08x", text, ip.TTL(), len(ip), crc32.ChecksumIEEE(ip))
}

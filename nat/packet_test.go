package nat

import (
	"net/netip"

	"vsnat/nat/wire"
	"vsnat/nic"
)

// packet makes a frame with a TCP or UDP packet, its checksums right.
func packet(proto uint8, src, dst netip.AddrPort, flags uint8, payload []byte) nic.Frame {
	head := wire.TCPMinLen
	if proto == ProtoUDP {
		head = wire.UDPLen
	}
	l4 := make([]byte, head+len(payload))
	copy(l4[head:], payload)
	if proto == ProtoUDP {
		wire.UDP(l4).Encode(&wire.UDPFields{SrcPort: src.Port(), DstPort: dst.Port(), Length: len(l4)})
	} else {
		wire.TCP(l4).Encode(&wire.TCPFields{SrcPort: src.Port(), DstPort: dst.Port(), Flags: flags, Window: 1000})
	}
	return packetOf(proto, src.Addr(), dst.Addr(), l4)
}

// packetOf makes a frame with an IP packet around l4, whose checksum it sets.
func packetOf(proto uint8, src, dst netip.Addr, l4 []byte) nic.Frame {
	head := wire.IPv4MinLen
	if src.Is6() {
		head = wire.IPv6Len
	}
	buf := make([]byte, nic.VNetHdrLen+wire.EthernetLen+head+len(l4))
	f := nic.Frame{Buf: buf, WireLen: len(buf) - nic.VNetHdrLen}
	eth := wire.Ethernet(f.Eth())
	ip := wire.IP(eth.Payload())
	if src.Is6() {
		wire.IPv6(ip).Encode(&wire.IPv6Fields{
			PayloadLen: len(l4), NextHeader: proto, HopLimit: 64, Src: src.As16(), Dst: dst.As16(),
		})
	} else {
		wire.IPv4(ip).Encode(&wire.IPv4Fields{
			TotalLen: len(ip), TTL: 64, Protocol: proto, Flags: wire.IPv4DontFragment, Src: src.As4(), Dst: dst.As4(),
		})
	}
	eth.SetType(ip.EtherType())
	copy(ip[head:], l4)
	l4 = ip[head:]
	switch proto {
	case ProtoTCP:
		wire.TCP(l4).SetChecksum(^wire.Fold(wire.Sum(l4, ip.PseudoSum(proto, len(l4)))))
	case ProtoUDP:
		wire.UDP(l4).SetChecksum(^wire.Fold(wire.Sum(l4, ip.PseudoSum(proto, len(l4)))))
	case wire.ProtoICMP:
		wire.ICMPv4(l4).SetChecksum(wire.Checksum(l4))
	case wire.ProtoICMPv6:
		wire.ICMPv6(l4).SetChecksum(^wire.Fold(wire.Sum(l4, ip.PseudoSum(proto, len(l4)))))
	}
	return f
}

func addrPort(a netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a, port) }

package nat

import (
	"net/netip"

	"vsnat/nat/wire"
	"vsnat/nic"
)

// packet makes a frame with an IPv4 TCP or UDP packet, its checksums right.
func packet(proto uint8, src, dst netip.AddrPort, flags uint8, payload []byte) nic.Frame {
	head := wire.TCPMinLen
	if proto == ProtoUDP {
		head = wire.UDPLen
	}
	size := wire.IPv4MinLen + head + len(payload)
	buf := make([]byte, nic.VNetHdrLen+wire.EthernetLen+size)
	f := nic.Frame{Buf: buf, WireLen: len(buf) - nic.VNetHdrLen}
	eth := wire.Ethernet(f.Eth())
	eth.SetType(wire.TypeIPv4)
	ip := wire.IPv4(eth.Payload())
	ip.Encode(&wire.IPv4Fields{
		TotalLen: size, TTL: 64, Protocol: proto, Flags: wire.IPv4DontFragment,
		Src: src.Addr().As4(), Dst: dst.Addr().As4(),
	})
	l4 := ip.Payload()
	copy(l4[head:], payload)
	sum := func() uint16 {
		return ^wire.Fold(wire.Sum(l4, wire.PseudoSum4(ip.Src(), ip.Dst(), proto, len(l4))))
	}
	if proto == ProtoUDP {
		wire.UDP(l4).Encode(&wire.UDPFields{SrcPort: src.Port(), DstPort: dst.Port(), Length: len(l4)})
		wire.UDP(l4).SetChecksum(sum())
	} else {
		wire.TCP(l4).Encode(&wire.TCPFields{SrcPort: src.Port(), DstPort: dst.Port(), Flags: flags, Window: 1000})
		wire.TCP(l4).SetChecksum(sum())
	}
	return f
}

func addrPort(a netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a, port) }

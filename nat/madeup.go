package nat

import (
	"encoding/binary"

	"vsnat/conntrack"
	"vsnat/nat/wire"
	"vsnat/nic"
)

// Packets that Explain makes up: a question's, and the server's answer to what
// became of it.

// madeUpTTL is their time to live, as most hosts send.
const madeUpTTL = 64

// frame returns the question's packet: a segment, a datagram or an SCTP packet with
// nothing in it but what begins a connection.
func (q *Question) frame() nic.Frame {
	return madeUp(q.Proto, q.Src.Addr().As16(), q.Dst.Addr().As16(), q.Src.Port(), q.Dst.Port(), q.TCPFlags, wire.SCTPInit)
}

// answerTo returns what the server sends back that is given the decision's packet;
// ok is false if its answer does not pass here.
func answerTo(d *Decision) (f nic.Frame, ok bool) {
	switch d.Connection.Method() {
	case conntrack.Masq, conntrack.Full, conntrack.Outbound:
	default:
		return f, false
	}
	h := &d.Out[0].Headers
	flags := uint8(wire.ACK)
	if h.TCPFlags&wire.SYN != 0 {
		flags |= wire.SYN
	}
	return madeUp(h.Proto, h.Dst, h.Src, h.DstPort, h.SrcPort, flags, wire.SCTPInitAck), h.TCPFlags&wire.RST == 0
}

// madeUp returns a frame with its checksums right. chunk is SCTP's.
func madeUp(proto uint8, src, dst Addr, srcPort, dstPort uint16, flags, chunk uint8) nic.Frame {
	v6 := !is4(&dst)
	head, l4 := wire.IPv4MinLen, wire.TCPMinLen
	if v6 {
		head = wire.IPv6Len
	}
	switch proto {
	case ProtoTCP:
	case ProtoUDP:
		l4 = wire.UDPLen
	default:
		l4 = wire.SCTPLen + wire.SCTPChunkLen + 16 // what INIT and INIT ACK have at least
	}
	mem := make([]byte, nic.Headroom+nic.VNetHdrLen+wire.EthernetLen+head+l4)
	var f nic.Frame
	f.Place(mem, nic.Headroom, len(mem))
	f.WireLen = len(f.Buf) - nic.VNetHdrLen
	eth := wire.Ethernet(f.Eth())
	ip := wire.IP(eth.Payload())
	if v6 {
		wire.IPv6(ip).Encode(&wire.IPv6Fields{PayloadLen: l4, NextHeader: proto, HopLimit: madeUpTTL, Src: src, Dst: dst})
	} else {
		wire.IPv4(ip).Encode(&wire.IPv4Fields{
			TotalLen: len(ip), TTL: madeUpTTL, Protocol: proto, Flags: wire.IPv4DontFragment, Src: [4]byte(src[12:]), Dst: [4]byte(dst[12:]),
		})
	}
	eth.SetType(ip.EtherType())
	body := ip[head:]
	switch proto {
	case ProtoTCP:
		wire.TCP(body).Encode(&wire.TCPFields{SrcPort: srcPort, DstPort: dstPort, Flags: flags, Window: 65535})
		wire.TCP(body).SetChecksum(^wire.Fold(wire.Sum(body, ip.PseudoSum(proto, l4))))
	case ProtoUDP:
		wire.UDP(body).Encode(&wire.UDPFields{SrcPort: srcPort, DstPort: dstPort, Length: l4})
		c := ^wire.Fold(wire.Sum(body, ip.PseudoSum(proto, l4)))
		if c == 0 {
			c = 0xffff // 0 is no checksum (RFC 768)
		}
		wire.UDP(body).SetChecksum(c)
	default:
		// Ports, a tag of 0 and the first chunk, with nothing but zeros in it.
		binary.BigEndian.PutUint16(body, srcPort)
		binary.BigEndian.PutUint16(body[2:], dstPort)
		body[wire.SCTPLen] = chunk
		binary.BigEndian.PutUint16(body[wire.SCTPLen+2:], wire.SCTPChunkLen+16)
		wire.SCTP(body).SetChecksum(wire.SCTP(body).CalculateChecksum())
	}
	return f
}

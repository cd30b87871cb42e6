package forward

import (
	"encoding/binary"

	"vsnat/nat/wire"
)

// Segments cuts a TCP or UDP super-packet, one of many segments' payload that
// hardware would cut, as the kernel does (tcp_gso_segment in
// net/ipv4/tcp_offload.c, __udp_gso_segment in net/ipv4/udp_offload.c). Payload
// stays where it is.
type Segments struct {
	head    []byte // the super-packet's IP and transport headers
	payload []byte // what is not in a segment yet
	l4      int    // offset of the transport header in head
	tcp     bool
	noSum   bool // UDP without checksum
	size    int  // payload bytes of a segment
	seq     uint32
	id      uint16
	first   bool
}

// NewSegments prepares a valid IP packet of either family whose transport header,
// TCP's or UDP's, begins at offset l4. size is the payload of a segment in bytes.
// partial says that the checksum is still to be completed. ok is false if the
// headers are not whole or size is 0.
func NewSegments(pkt []byte, l4 int, tcp bool, size int, partial bool) (s Segments, ok bool) {
	n := wire.UDPLen
	if tcp {
		if !wire.TCP(pkt[l4:]).IsValid() {
			return s, false
		}
		n = wire.TCP(pkt[l4:]).HeaderLen()
	}
	if size <= 0 || len(pkt) < l4+n {
		return s, false
	}
	s = Segments{head: pkt[:l4+n], payload: pkt[l4+n:], l4: l4, tcp: tcp, size: size, first: true}
	if tcp {
		s.seq = wire.TCP(pkt[l4:]).Seq()
	} else {
		s.noSum = !partial && wire.UDP(pkt[l4:]).Checksum() == 0
	}
	if !wire.IP(pkt).V6() {
		s.id = wire.IPv4(pkt).ID()
	}
	return s, true
}

// HeadLen returns the length in bytes of each segment's headers, an even number.
func (s *Segments) HeadLen() int { return len(s.head) }

// Len returns how many segments are left.
func (s *Segments) Len() int {
	if len(s.payload) == 0 && s.first {
		return 1
	}
	return (len(s.payload) + s.size - 1) / s.size
}

// Next writes the next segment's headers to head, [Segments.HeadLen] bytes, with
// all checksums complete, and returns its payload. [Segments.Len] tells when there
// is none.
func (s *Segments) Next(head []byte) (payload []byte) {
	payload = s.payload[:min(s.size, len(s.payload))]
	s.payload = s.payload[len(payload):]
	last := len(s.payload) == 0
	copy(head, s.head)
	n := len(s.head) + len(payload)
	if ip := wire.IP(head); ip.V6() {
		wire.IPv6(ip).SetPayloadLen(n - wire.IPv6Len)
	} else {
		// Each has an identification of its own, the next number.
		wire.IPv4(ip).SetLenID(n, s.id)
		s.id++
	}
	l4 := head[s.l4:len(s.head)]
	if s.tcp {
		s.tcpHeader(l4, last)
		s.seq += uint32(len(payload))
	} else {
		wire.UDP(l4).SetLength(len(l4) + len(payload))
	}
	s.sum(wire.IP(head), l4, payload)
	s.first = false
	return payload
}

// tcpHeader makes the header that of one segment: FIN and PSH are the last one's,
// CWR the first one's (RFC 3168, section 6.1.2).
func (s *Segments) tcpHeader(t wire.TCP, last bool) {
	t.SetSeq(s.seq)
	flags := t.Flags()
	if !last {
		flags &^= wire.FIN | wire.PSH
	}
	if !s.first {
		flags &^= wire.CWR
	}
	t.SetFlags(flags)
}

// sum completes the transport checksum.
func (s *Segments) sum(ip wire.IP, l4, payload []byte) {
	if s.noSum {
		return
	}
	proto, at := wire.ProtoUDP, 6
	if s.tcp {
		proto, at = wire.ProtoTCP, 16
	}
	field := l4[at : at+2]
	binary.BigEndian.PutUint16(field, 0)
	sum := wire.Sum(l4, ip.PseudoSum(proto, len(l4)+len(payload)))
	binary.BigEndian.PutUint16(field, wire.SumToChecksum(wire.Sum(payload, sum)))
}

package merge

import (
	"encoding/binary"
	"math/bits"

	"vsnat/nat/wire"
	"vsnat/nic"
)

// Offsets in bytes from the Ethernet header on, and values there. IPv4 headers have
// no options here, and IPv6 no extension headers.
const (
	ethLen  = 14
	offType = 12

	len4     = 20
	offTOS   = ethLen + 1
	offLen4  = ethLen + 2
	offID    = ethLen + 4
	offFrag  = ethLen + 6
	offTTL   = ethLen + 8
	offProt4 = ethLen + 9
	offSum4  = ethLen + 10
	offAddr4 = ethLen + 12
	flagDF   = 0x4000

	len6     = 40
	offLen6  = ethLen + 4
	offProt6 = ethLen + 6
	offHops  = ethLen + 7
	offAddr6 = ethLen + 8
)

// The same from the TCP and the UDP header on.
const (
	tcpLen    = 20
	tcpSeq    = 4
	tcpAck    = 8
	tcpOff    = 12
	tcpFlags  = 13
	tcpWindow = 14
	tcpSum    = 16
	tcpUrgent = 18

	udpLen    = 8
	udpLength = 4
	udpSum    = 6

	flagFIN, flagPSH, flagACK, flagECE = 0x01, 0x08, 0x10, 0x40
)

// maxHead is the room for the longest headers: virtio-net, Ethernet, IPv6 and TCP.
const maxHead = nic.VNetHdrLen + ethLen + len6 + 60

// segment is a frame as it was read.
type segment struct {
	eth   []byte // with whatever follows the packet
	l4    int    // offset of the TCP or UDP header
	head  int    // of the payload
	size  int    // the payload's, in bytes
	hash  uint64 // of the flow
	seq   uint32 // TCP
	id    uint16 // IPv4
	v6    bool
	udp   bool
	ends  bool // TCP: it has FIN or PSH, and nothing is put behind it
	given bool // the transport checksum is known to be right: it was verified before
	part  bool // it holds only the pseudo-header's sum
	vlan  uint32
}

// kind says what may be done with a frame.
type kind uint8

const (
	foreign  kind = iota // it is no whole TCP or UDP packet with plain headers
	alone                // of a flow, but it is sent by itself
	joinable             // it may go with others of its flow
)

// read reads a frame. Of foreign ones nothing is set.
func (s *segment) read(f *nic.Frame, datagrams bool) kind {
	if len(f.Buf) < nic.VNetHdrLen+ethLen+len4+udpLen || len(f.Tail) > 0 || len(f.Segments) > 0 {
		return foreign
	}
	eth := f.Eth()
	var proto uint8
	var end int
	switch {
	case be16(eth[offType:]) == wire.TypeIPv4 && eth[ethLen] == 0x45 && be16(eth[offFrag:])&^flagDF == 0:
		s.v6, s.l4, s.id = false, ethLen+len4, be16(eth[offID:])
		proto, end = eth[offProt4], ethLen+int(be16(eth[offLen4:]))
	case be16(eth[offType:]) == wire.TypeIPv6 && eth[ethLen]>>4 == 6 && len(eth) >= ethLen+len6+udpLen:
		s.v6, s.l4 = true, ethLen+len6
		proto, end = eth[offProt6], ethLen+len6+int(be16(eth[offLen6:]))
	default:
		return foreign
	}
	if end > len(eth) {
		return foreign
	}
	s.eth = eth
	s.vlan = uint32(f.VLAN)<<16 | uint32(f.VLANProto)
	k := foreign
	switch proto {
	case wire.ProtoTCP:
		k = s.readTCP(end)
	case wire.ProtoUDP:
		if k = s.readUDP(end); k == joinable && !datagrams {
			k = alone
		}
	}
	if k == foreign {
		return foreign
	}
	s.hash = s.flowHash()
	vnet := f.VNet()
	s.part, s.given = vnet.Partial(), vnet[0]&nic.VNetDataValid != 0
	if k == joinable && (end != len(eth) || vnet[1] != nic.VNetGSONone || vnet[0]&^(nic.VNetNeedsCsum|nic.VNetDataValid) != 0 ||
		s.part && (int(vnet.CsumStart()) != s.l4 || int(vnet.CsumOffset()) != s.sumAt()-s.l4)) {
		return alone
	}
	return k
}

// readTCP reads the TCP header of a packet that ends there.
func (s *segment) readTCP(end int) kind {
	if end < s.l4+tcpLen {
		return foreign
	}
	t := s.eth[s.l4:end]
	s.head = s.l4 + int(t[tcpOff]>>4)*4
	s.size = end - s.head
	if s.head < s.l4+tcpLen || s.size < 0 {
		return foreign
	}
	flags := t[tcpFlags]
	s.udp, s.seq, s.ends = false, binary.BigEndian.Uint32(t[tcpSeq:]), flags&(flagFIN|flagPSH) != 0
	if s.size == 0 || flags&^(flagFIN|flagPSH|flagECE) != flagACK {
		return alone
	}
	return joinable
}

// readUDP reads the UDP header of a packet that ends there. A datagram without
// checksum would get one, or none would.
func (s *segment) readUDP(end int) kind {
	if end < s.l4+udpLen {
		return foreign
	}
	u := s.eth[s.l4:end]
	s.head = s.l4 + udpLen
	s.size = end - s.head
	s.udp, s.seq, s.ends = true, 0, false
	if s.size == 0 || int(be16(u[udpLength:])) != len(u) || be16(u[udpSum:]) == 0 {
		return alone
	}
	return joinable
}

// sumAt returns the offset of the transport checksum.
func (s *segment) sumAt() int {
	if s.udp {
		return s.l4 + udpSum
	}
	return s.l4 + tcpSum
}

// flowHash returns a hash of addresses, ports and protocol.
func (s *segment) flowHash() uint64 {
	// Odd numbers without a pattern; the high bits of the product depend on all.
	const a, b = 0x9e3779b97f4a7c15, 0xd6e8feb86659fd93
	h := uint64(binary.NativeEndian.Uint32(s.eth[s.l4:]))
	if s.udp {
		h |= 1 << 32
	}
	if !s.v6 {
		return (h*b ^ binary.NativeEndian.Uint64(s.eth[offAddr4:])) * a
	}
	for i := range 4 {
		h = (h ^ binary.NativeEndian.Uint64(s.eth[offAddr6+8*i:])) * a
		h ^= h >> 32
	}
	return h * b
}

// sameFlow reports whether the segments have the same addresses, ports and protocol.
func (s *segment) sameFlow(o *segment) bool {
	if s.v6 != o.v6 || s.udp != o.udp || !same32(s.eth[s.l4:], o.eth[s.l4:]) {
		return false
	}
	if !s.v6 {
		return same64(s.eth[offAddr4:], o.eth[offAddr4:])
	}
	return [32]byte(s.eth[offAddr6:]) == [32]byte(o.eth[offAddr6:])
}

// goesOn reports whether the headers of a later segment of the flow, next, are those
// that segmentation makes of the first one's, but for sequence number, IPv4
// identification, lengths and checksums.
func (s *segment) goesOn(next *segment) bool {
	a, b := s.eth, next.eth
	if s.vlan != next.vlan || s.head != next.head || !same64(a, b) || !same64(a[6:], b[6:]) {
		return false
	}
	if s.v6 {
		// Version, traffic class and flow label.
		if !same32(a[ethLen:], b[ethLen:]) || a[offHops] != b[offHops] {
			return false
		}
	} else if a[offTOS] != b[offTOS] || a[offTTL] != b[offTTL] || be16(a[offFrag:]) != be16(b[offFrag:]) {
		return false
	}
	if s.udp {
		return true
	}
	a, b = a[s.l4:s.head], b[s.l4:s.head]
	// Of the flags the last one's FIN and PSH are the frame's. Reserved bits and the
	// window must be the same, as in tcp_gro_receive.
	if !same32(a[tcpAck:], b[tcpAck:]) || a[tcpOff] != b[tcpOff] || (a[tcpFlags]^b[tcpFlags])&^(flagFIN|flagPSH) != 0 ||
		be16(a[tcpWindow:]) != be16(b[tcpWindow:]) || be16(a[tcpUrgent:]) != be16(b[tcpUrgent:]) {
		return false
	}
	return string(a[tcpLen:]) == string(b[tcpLen:])
}

// right reports whether the segment's checksums are right, so that new ones hide
// nothing. A transport checksum that somebody has verified is taken to be so.
func (s *segment) right() bool {
	if !s.v6 && !right4(s.eth[ethLen:]) {
		return false
	}
	switch {
	case s.part:
		return sameSum(be16(s.eth[s.sumAt():]), wire.Fold(s.pseudo(len(s.eth)-s.l4)))
	case s.given:
		return true
	}
	return wire.Fold(wire.Sum(s.eth[s.l4:], s.pseudo(len(s.eth)-s.l4))) == 0xffff
}

// right4 reports whether the checksum of an IPv4 header without options is right. It is
// [wire.Checksum] in three loads.
func right4(h []byte) bool {
	sum, carry := bits.Add64(binary.NativeEndian.Uint64(h), binary.NativeEndian.Uint64(h[8:]), 0)
	sum, carry = bits.Add64(sum, uint64(binary.NativeEndian.Uint32(h[16:])), carry)
	sum, _ = bits.Add64(sum, 0, carry) // after a carry there is room
	return wire.Fold(sum) == 0xffff
}

// pseudo returns the sum of the pseudo-header with that length.
func (s *segment) pseudo(length int) uint64 {
	proto := uint8(wire.ProtoTCP)
	if s.udp {
		proto = wire.ProtoUDP
	}
	if s.v6 {
		return wire.PseudoSum6([16]byte(s.eth[offAddr6:]), [16]byte(s.eth[offAddr6+16:]), proto, length)
	}
	return wire.PseudoSum4([4]byte(s.eth[offAddr4:]), [4]byte(s.eth[offAddr4+4:]), proto, length)
}

// finish makes the headers in f.Buf, which are the segment's own, those of a frame
// of several segments, of which last is the last. length is that of the Ethernet
// frame without tag.
func (s *segment) finish(f *nic.Frame, last *segment, length int) {
	eth := f.Eth()
	if s.v6 {
		binary.BigEndian.PutUint16(eth[offLen6:], uint16(length-ethLen-len6))
	} else {
		binary.BigEndian.PutUint16(eth[offLen4:], uint16(length-ethLen))
		binary.BigEndian.PutUint16(eth[offSum4:], 0)
		binary.BigEndian.PutUint16(eth[offSum4:], wire.Checksum(eth[ethLen:ethLen+len4]))
	}
	vnet := f.VNet()
	vnet.Clear()
	if s.udp {
		binary.BigEndian.PutUint16(eth[s.l4+udpLength:], uint16(length-s.l4))
		vnet.SegmentDatagrams(s.head, s.l4, s.size)
	} else {
		eth[s.l4+tcpFlags] |= last.eth[s.l4+tcpFlags] & (flagFIN | flagPSH)
		vnet.Segment(s.v6, s.head, s.l4, s.size)
	}
	binary.BigEndian.PutUint16(eth[s.sumAt():], wire.Fold(s.pseudo(length-s.l4)))
}

// sameSum reports whether two folded sums are the same: 0 is 0xffff.
func sameSum(a, b uint16) bool { return a == b || a^b == 0xffff && (a == 0 || b == 0) }

func same64(a, b []byte) bool { return binary.NativeEndian.Uint64(a) == binary.NativeEndian.Uint64(b) }

func same32(a, b []byte) bool { return binary.NativeEndian.Uint32(a) == binary.NativeEndian.Uint32(b) }

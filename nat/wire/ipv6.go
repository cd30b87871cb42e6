package wire

import "encoding/binary"

// IPv6 header (RFC 8200, section 3), offsets in bytes:
//
//	 0           4      6   7   8          24         40
//	+-----------+------+---+---+----------+----------+----
//	|ver/tc/flow| plen |nxt|hop| src      | dst      | extensions, payload
//	+-----------+------+---+---+----------+----------+----
const (
	ip6VerTCFlow   = 0
	ip6PayloadLen  = 4
	ip6NextHeader  = 6
	ip6HopLimit    = 7
	ip6Src         = 8
	ip6Dst         = 24
	ip6ExtMinLen   = 8 // no extension header is shorter
	ip6FragOffMask = 0xfff8
)

// IPv6Len is the length in bytes of an IPv6 header without extensions.
const IPv6Len = 40

// maxExtensions bounds the walk over extension headers. RFC 8200, section 4.1,
// lets a packet have seven: each kind once, destination options twice.
const maxExtensions = 7

// IPv6 is an IPv6 packet from its header on. It may be followed by bytes that
// are not the packet's.
type IPv6 []byte

// IsHeader reports whether b begins with a whole IPv6 header. It is the check
// for a packet that was cut short, as an ICMPv6 error quotes it.
func (b IPv6) IsHeader() bool { return len(b) >= IPv6Len && b[0]>>4 == 6 }

// IsValid reports whether the first size bytes of b hold a whole IPv6 packet.
// size must not be larger than len(b). A jumbogram (RFC 2675) looks like a
// packet without payload.
func (b IPv6) IsValid(size int) bool { return b.IsHeader() && b.TotalLen() <= size }

// TrafficClass returns the traffic class: six bits of DSCP, two of ECN.
func (b IPv6) TrafficClass() uint8 { return b[0]<<4 | b[1]>>4 }

// FlowLabel returns the flow label, 20 bits.
func (b IPv6) FlowLabel() uint32 { return binary.BigEndian.Uint32(b[ip6VerTCFlow:]) & 0xfffff }

// PayloadLen returns the length in bytes of what follows the header,
// extensions included.
func (b IPv6) PayloadLen() int { return int(binary.BigEndian.Uint16(b[ip6PayloadLen:])) }

// SetPayloadLen sets the length in bytes of what follows the header.
func (b IPv6) SetPayloadLen(n int) { binary.BigEndian.PutUint16(b[ip6PayloadLen:], uint16(n)) }

// TotalLen returns the packet's length in bytes, header included.
func (b IPv6) TotalLen() int { return IPv6Len + b.PayloadLen() }

// NextHeader returns the number of the extension or protocol that follows.
func (b IPv6) NextHeader() uint8 { return b[ip6NextHeader] }

// HopLimit returns the hops left.
func (b IPv6) HopLimit() uint8 { return b[ip6HopLimit] }

// IPv6FragmentLen is the length in bytes of a fragment header (RFC 8200, section
// 4.5).
const IPv6FragmentLen = 8

// SetFragment makes a packet without extension headers, its header and
// [IPv6FragmentLen] bytes of room, a fragment: b ends with it. offset is in bytes, a
// multiple of 8.
func (b IPv6) SetFragment(offset int, more bool, id uint32) {
	f := b[IPv6Len : IPv6Len+IPv6FragmentLen]
	f[0], f[1] = b.NextHeader(), 0
	word := uint16(offset) & ip6FragOffMask
	if more {
		word |= 1
	}
	binary.BigEndian.PutUint16(f[2:], word)
	binary.BigEndian.PutUint32(f[4:], id)
	b[ip6NextHeader] = extFragment
	b.SetPayloadLen(len(b) - IPv6Len)
}

// DecHopLimit takes one hop off. The caller has seen that it is not 0.
func (b IPv6) DecHopLimit() { b[ip6HopLimit]-- }

// Src returns the source address.
func (b IPv6) Src() [16]byte { return [16]byte(b[ip6Src:]) }

// Dst returns the destination address.
func (b IPv6) Dst() [16]byte { return [16]byte(b[ip6Dst:]) }

// SetSrc sets the source address. The IPv6 header has no checksum.
func (b IPv6) SetSrc(a [16]byte) { copy(b[ip6Src:ip6Src+16], a[:]) }

// SetDst sets the destination address. The IPv6 header has no checksum.
func (b IPv6) SetDst(a [16]byte) { copy(b[ip6Dst:ip6Dst+16], a[:]) }

// Payload returns what follows the header, cut to the payload length.
func (b IPv6) Payload() []byte { return b[IPv6Len:b.TotalLen()] }

// IPv6Fields is what [IPv6.Encode] writes.
type IPv6Fields struct {
	TrafficClass uint8
	FlowLabel    uint32 // 20 bits
	PayloadLen   int    // bytes
	NextHeader   uint8
	HopLimit     uint8
	Src, Dst     [16]byte
}

// Encode writes a header to the first [IPv6Len] bytes of b.
func (b IPv6) Encode(f *IPv6Fields) {
	_ = b[IPv6Len-1]
	binary.BigEndian.PutUint32(b[ip6VerTCFlow:], 6<<28|uint32(f.TrafficClass)<<20|f.FlowLabel&0xfffff)
	binary.BigEndian.PutUint16(b[ip6PayloadLen:], uint16(f.PayloadLen))
	b[ip6NextHeader] = f.NextHeader
	b[ip6HopLimit] = f.HopLimit
	b.SetSrc(f.Src)
	b.SetDst(f.Dst)
}

// IPv6Upper is where an IPv6 packet's extension headers lead.
type IPv6Upper struct {
	Proto  uint8 // what stands at Offset
	Offset int   // bytes from the IPv6 header on

	// FragmentOffset (bytes), MoreFragments and FragmentID come from a
	// fragment header; they are zero without one, and in an atomic fragment
	// (RFC 6946) but for the ID.
	FragmentOffset int
	MoreFragments  bool
	FragmentID     uint32
}

// Upper walks the extension headers of a valid packet. It stops at the first
// header that is none, or behind the fragment header of a later fragment,
// where no header stands. The result is Parsed, Truncated (the payload ends
// within an extension header) or BadHeader (more extension headers than RFC
// 8200 has).
//
// An authentication header is stepped over, as IPVS does
// (ip_vs_fill_iph_skb_off in include/net/ip_vs.h).
func (b IPv6) Upper() (IPv6Upper, Result) { return b[:b.TotalLen()].upper() }

// IsExtension reports whether the number is that of a header that [IPv6.Upper]
// steps over.
func IsExtension(proto uint8) bool {
	switch proto {
	case extHopByHop, extRouting, extFragment, extDestOpts, ProtoAH:
		return true
	}
	return false
}

// upper is Upper over all of b.
func (b IPv6) upper() (u IPv6Upper, r Result) {
	u.Proto, u.Offset = b.NextHeader(), IPv6Len
	for range maxExtensions + 1 {
		if !IsExtension(u.Proto) {
			return u, Parsed
		}
		if len(b)-u.Offset < ip6ExtMinLen {
			return u, Truncated
		}
		h := b[u.Offset:]
		n := (int(h[1]) + 1) * 8 // RFC 8200, section 4.3
		switch u.Proto {
		case ProtoAH:
			n = (int(h[1]) + 2) * 4 // RFC 4302, section 2.2
		case extFragment:
			n = ip6ExtMinLen
			f := binary.BigEndian.Uint16(h[2:])
			u.FragmentOffset = int(f & ip6FragOffMask)
			u.MoreFragments = f&1 != 0
			u.FragmentID = binary.BigEndian.Uint32(h[4:])
		}
		if len(h) < n {
			return u, Truncated
		}
		u.Proto = h[0]
		u.Offset += n
		if u.FragmentOffset != 0 {
			return u, Parsed
		}
	}
	return u, BadHeader
}

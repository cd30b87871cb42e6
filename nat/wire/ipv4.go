package wire

import "encoding/binary"

// IPv4 header (RFC 791, section 3.1), offsets in bytes:
//
//	 0   1   2       4       6       8   9   10      12      16      20
//	+---+---+-------+-------+-------+---+---+-------+-------+-------+----
//	|ver|tos| total | id    |flg/off|ttl|pro| sum   | src   | dst   | options
//	+---+---+-------+-------+-------+---+---+-------+-------+-------+----
const (
	ip4VerIHL   = 0
	ip4TOS      = 1
	ip4TotalLen = 2
	ip4ID       = 4
	ip4FlagsOff = 6
	ip4TTL      = 8
	ip4Protocol = 9
	ip4Checksum = 10
	ip4Src      = 12
	ip4Dst      = 16
)

// IPv4MinLen is the length in bytes of an IPv4 header without options.
const IPv4MinLen = 20

// Flag bits of the word that also holds the fragment offset.
const (
	IPv4DontFragment  uint16 = 0x4000
	IPv4MoreFragments uint16 = 0x2000

	ip4OffsetMask uint16 = 0x1fff // in units of 8 bytes
)

// IPv4 is an IPv4 packet from its header on. It may be followed by bytes that
// are not the packet's, such as Ethernet padding.
type IPv4 []byte

// IsHeader reports whether b begins with a whole IPv4 header. It is the check
// for a packet that was cut short, as an ICMP error quotes it: the total
// length is not looked at.
func (b IPv4) IsHeader() bool {
	return len(b) >= IPv4MinLen && b[ip4VerIHL]>>4 == 4 &&
		b.HeaderLen() >= IPv4MinLen && b.HeaderLen() <= len(b)
}

// IsValid reports whether the first size bytes of b hold a whole IPv4 packet:
// version 4, a header length of at least 20 bytes, and a total length between
// the header length and size. size must not be larger than len(b).
func (b IPv4) IsValid(size int) bool {
	return b.IsHeader() && b.TotalLen() >= b.HeaderLen() && b.TotalLen() <= size
}

// HeaderLen returns the header's length in bytes, options included.
func (b IPv4) HeaderLen() int { return int(b[ip4VerIHL]&0x0f) * 4 }

// TotalLen returns the packet's length in bytes, header included.
func (b IPv4) TotalLen() int { return int(binary.BigEndian.Uint16(b[ip4TotalLen:])) }

// TOS returns the type of service: six bits of DSCP, two of ECN.
func (b IPv4) TOS() uint8 { return b[ip4TOS] }

// ID returns the identification, which a packet's fragments share.
func (b IPv4) ID() uint16 { return binary.BigEndian.Uint16(b[ip4ID:]) }

// Flags returns the flag bits, in the places of [IPv4DontFragment] and
// [IPv4MoreFragments].
func (b IPv4) Flags() uint16 { return b.flagsOff() &^ ip4OffsetMask }

func (b IPv4) flagsOff() uint16 { return binary.BigEndian.Uint16(b[ip4FlagsOff:]) }

// DontFragment reports whether routers must not fragment the packet.
func (b IPv4) DontFragment() bool { return b.flagsOff()&IPv4DontFragment != 0 }

// MoreFragments reports whether this is a fragment and not the last one.
func (b IPv4) MoreFragments() bool { return b.flagsOff()&IPv4MoreFragments != 0 }

// FragmentOffset returns where the payload belongs in the whole packet's
// payload, in bytes.
func (b IPv4) FragmentOffset() int { return int(b.flagsOff()&ip4OffsetMask) * 8 }

// Fragment reports whether this is a fragment, the first one included.
func (b IPv4) Fragment() bool { return b.flagsOff()&(IPv4MoreFragments|ip4OffsetMask) != 0 }

// TTL returns the time to live, in hops.
func (b IPv4) TTL() uint8 { return b[ip4TTL] }

// Protocol returns the protocol number of the payload.
func (b IPv4) Protocol() uint8 { return b[ip4Protocol] }

// Checksum returns the header checksum field.
func (b IPv4) Checksum() uint16 { return binary.BigEndian.Uint16(b[ip4Checksum:]) }

// Src returns the source address.
func (b IPv4) Src() [4]byte { return [4]byte(b[ip4Src:]) }

// Dst returns the destination address.
func (b IPv4) Dst() [4]byte { return [4]byte(b[ip4Dst:]) }

// Payload returns what follows the header, cut to the total length.
func (b IPv4) Payload() []byte { return b[b.HeaderLen():b.TotalLen()] }

// SetFragment sets the total length, the fragment offset (both in bytes, the
// offset a multiple of 8) and whether more fragments follow, and computes the
// header checksum anew. Don't fragment is cleared.
func (b IPv4) SetFragment(totalLen, offset int, more bool) {
	binary.BigEndian.PutUint16(b[ip4TotalLen:], uint16(totalLen))
	word := uint16(offset/8) & ip4OffsetMask
	if more {
		word |= IPv4MoreFragments
	}
	binary.BigEndian.PutUint16(b[ip4FlagsOff:], word)
	b.SetChecksum(b.CalculateChecksum())
}

// SetLenID sets the total length in bytes and the identification, and computes the
// header checksum anew.
func (b IPv4) SetLenID(totalLen int, id uint16) {
	binary.BigEndian.PutUint16(b[ip4TotalLen:], uint16(totalLen))
	binary.BigEndian.PutUint16(b[ip4ID:], id)
	b.SetChecksum(b.CalculateChecksum())
}

// ClearFirstOptions makes no-operations of the options that only a datagram's
// first fragment has: those whose type lacks the copied flag (RFC 791, section
// 3.1). The header checksum is not corrected.
func (b IPv4) ClearFirstOptions() {
	const end, noOperation, copied = 0, 1, 0x80
	for opts := b[IPv4MinLen:b.HeaderLen()]; len(opts) > 1 && opts[0] != end; {
		n := 1
		if opts[0] != noOperation {
			if n = int(opts[1]); n < 2 || n > len(opts) {
				return
			}
			if opts[0]&copied == 0 {
				for i := range opts[:n] {
					opts[i] = noOperation
				}
			}
		}
		opts = opts[n:]
	}
}

// CalculateChecksum returns what the header checksum field has to be. Options
// count; the field's present value does not.
func (b IPv4) CalculateChecksum() uint16 {
	h := b[:b.HeaderLen()]
	// Subtracting the field is adding its complement (RFC 1071, section 1).
	return ^Fold(Sum(h, uint64(^b.Checksum())))
}

// ChecksumOK reports whether the header checksum is right.
func (b IPv4) ChecksumOK() bool {
	if b.HeaderLen() != IPv4MinLen {
		return Fold(Sum(b[:b.HeaderLen()], 0)) == 0xffff
	}
	// Without options, as nearly always, five words do. Their order does not
	// matter to whether the sum is 0xffff (see Sum).
	h := b[:IPv4MinLen:IPv4MinLen]
	return Fold(uint64(binary.LittleEndian.Uint32(h))+uint64(binary.LittleEndian.Uint32(h[4:]))+
		uint64(binary.LittleEndian.Uint32(h[8:]))+uint64(binary.LittleEndian.Uint32(h[12:]))+
		uint64(binary.LittleEndian.Uint32(h[16:]))) == 0xffff
}

// SetChecksum sets the header checksum field and nothing else.
func (b IPv4) SetChecksum(c uint16) { binary.BigEndian.PutUint16(b[ip4Checksum:], c) }

// DecTTL takes one hop off the time to live and corrects the header checksum.
// The caller has seen that the time to live is not 0.
func (b IPv4) DecTTL() {
	// Time to live, protocol and checksum are one word, read and written at once: a
	// part of it that was just written by itself would be waited for.
	w := binary.BigEndian.Uint32(b[ip4TTL:])
	old := uint16(w >> 16)
	now := old - 1<<8
	binary.BigEndian.PutUint32(b[ip4TTL:], uint32(now)<<16|uint32(Update16(uint16(w), old, now)))
}

// SetSrc sets the source address and corrects the header checksum.
func (b IPv4) SetSrc(a [4]byte) { b.setAddr(ip4Src, a) }

// SetDst sets the destination address and corrects the header checksum.
func (b IPv4) SetDst(a [4]byte) { b.setAddr(ip4Dst, a) }

func (b IPv4) setAddr(off int, a [4]byte) {
	c := Update32(b.Checksum(), binary.BigEndian.Uint32(b[off:]), binary.BigEndian.Uint32(a[:]))
	copy(b[off:off+4], a[:])
	b.SetChecksum(c)
}

// IPv4Fields is what [IPv4.Encode] writes.
type IPv4Fields struct {
	TOS            uint8
	TotalLen       int // bytes, header included
	ID             uint16
	Flags          uint16 // IPv4DontFragment, IPv4MoreFragments
	FragmentOffset int    // bytes, a multiple of 8
	TTL            uint8
	Protocol       uint8
	Src, Dst       [4]byte
}

// Encode writes a header without options, its checksum included, to the first
// [IPv4MinLen] bytes of b.
func (b IPv4) Encode(f *IPv4Fields) {
	b.EncodePlain(f.TOS, f.TotalLen, f.ID, f.Flags|uint16(f.FragmentOffset/8)&ip4OffsetMask, f.TTL, f.Protocol,
		binary.BigEndian.Uint32(f.Src[:]), binary.BigEndian.Uint32(f.Dst[:]))
}

// EncodePlain is [IPv4.Encode] with all fields as numbers, for who writes many
// headers: flags are those of a packet that is no fragment, the addresses are big
// endian.
func (b IPv4) EncodePlain(tos uint8, totalLen int, id, flags uint16, ttl, protocol uint8, src, dst uint32) {
	h := b[:IPv4MinLen:IPv4MinLen]
	w0 := (4<<4|IPv4MinLen/4)<<24 | uint32(tos)<<16 | uint32(uint16(totalLen))
	w1 := uint32(id)<<16 | uint32(flags)
	w2 := uint32(ttl)<<24 | uint32(protocol)<<16
	c := ^Fold(uint64(w0) + uint64(w1) + uint64(w2) + uint64(src) + uint64(dst))
	binary.BigEndian.PutUint32(h[ip4VerIHL:], w0)
	binary.BigEndian.PutUint32(h[ip4ID:], w1)
	binary.BigEndian.PutUint32(h[ip4TTL:], w2|uint32(c))
	binary.BigEndian.PutUint32(h[ip4Src:], src)
	binary.BigEndian.PutUint32(h[ip4Dst:], dst)
}

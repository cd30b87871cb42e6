package wire

import "encoding/binary"

// Ethernet II header (IEEE 802.3, 3.2.6), offsets in bytes:
//
//	 0                   6                  12      14
//	+-------------------+-------------------+-------+----
//	|    destination    |      source       | type  | payload
//	+-------------------+-------------------+-------+----
const (
	ethDst  = 0
	ethSrc  = 6
	ethType = 12
)

// EthernetLen is the length in bytes of an Ethernet header without tags.
const EthernetLen = 14

// EtherTypes (IEEE 802 numbers).
const (
	TypeIPv4 uint16 = 0x0800
	TypeARP  uint16 = 0x0806
	TypeVLAN uint16 = 0x8100 // customer tag, 802.1Q
	TypeIPv6 uint16 = 0x86DD
	TypeQinQ uint16 = 0x88A8 // service tag, 802.1ad
)

// Ethernet is an Ethernet frame from its destination address on, without its
// check sequence.
type Ethernet []byte

// IsValid reports whether the frame is long enough for its header.
func (b Ethernet) IsValid() bool { return len(b) >= EthernetLen }

// Dst returns the destination address.
func (b Ethernet) Dst() [6]byte { return [6]byte(b[ethDst:]) }

// Src returns the source address.
func (b Ethernet) Src() [6]byte { return [6]byte(b[ethSrc:]) }

// Type returns the EtherType: of the payload, or of the first tag.
func (b Ethernet) Type() uint16 { return binary.BigEndian.Uint16(b[ethType:]) }

// SetDst sets the destination address.
func (b Ethernet) SetDst(a [6]byte) { copy(b[ethDst:], a[:]) }

// SetAddrs sets both addresses.
func (b Ethernet) SetAddrs(dst, src *[6]byte) {
	h := b[:ethType:ethType]
	binary.LittleEndian.PutUint64(h, uint64(binary.LittleEndian.Uint32(dst[:]))|
		uint64(binary.LittleEndian.Uint16(dst[4:]))<<32|uint64(binary.LittleEndian.Uint16(src[:]))<<48)
	binary.LittleEndian.PutUint32(h[8:], binary.LittleEndian.Uint32(src[2:]))
}

// SetSrc sets the source address.
func (b Ethernet) SetSrc(a [6]byte) { copy(b[ethSrc:], a[:]) }

// SetType sets the EtherType.
func (b Ethernet) SetType(t uint16) { binary.BigEndian.PutUint16(b[ethType:], t) }

// Payload returns what follows the header, padding included.
func (b Ethernet) Payload() []byte { return b[EthernetLen:] }

// VLANLen is the length in bytes of a VLAN tag after its EtherType.
const VLANLen = 4

// VLAN is a tag (IEEE 802.1Q, 9.6) from its tag control information on: two
// bytes of it and the EtherType of what follows. The tag's own EtherType
// stands before it.
type VLAN []byte

// IsValid reports whether the tag is whole.
func (b VLAN) IsValid() bool { return len(b) >= VLANLen }

// TCI returns the tag control information: priority, drop bit, identifier.
func (b VLAN) TCI() uint16 { return binary.BigEndian.Uint16(b) }

// ID returns the VLAN identifier, 0..4095.
func (b VLAN) ID() uint16 { return b.TCI() & 0x0fff }

// Priority returns the priority code point, 0..7.
func (b VLAN) Priority() uint8 { return b[0] >> 5 }

// Type returns the EtherType of what follows the tag.
func (b VLAN) Type() uint16 { return binary.BigEndian.Uint16(b[2:]) }

// Payload returns what follows the tag.
func (b VLAN) Payload() []byte { return b[VLANLen:] }

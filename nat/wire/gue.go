package wire

// GUE header, version 0 (draft-ietf-intarea-gue, section 3; struct guehdr in
// include/net/gue.h), offsets in bytes. It stands behind a UDP header:
//
//	 0        1       2       4
//	+--------+-------+-------+----
//	|ver|C|hl| proto | flags | optional fields, packet
//	+--------+-------+-------+----
//
// The first two bits are the version, the third says that this is a control
// message, and the other five are the length of the optional fields in words of
// 4 bytes.
const (
	gueVersion = 0xe0 // and the control bit: 0 in what carries a packet
	gueWords   = 0x1f
)

// GUELen is the length in bytes of a GUE header without optional fields.
const GUELen = 4

// GUE is what follows the UDP header of Generic UDP Encapsulation.
type GUE []byte

// IsData reports whether b begins with a whole header, of version 0, that a
// packet follows and not a control message.
func (b GUE) IsData() bool {
	return len(b) >= GUELen && b[0]&gueVersion == 0 && b.HeaderLen() <= len(b)
}

// HeaderLen returns the header's length in bytes, optional fields included.
func (b GUE) HeaderLen() int { return GUELen + int(b[0]&gueWords)*4 }

// Protocol returns the IP protocol number of what follows.
func (b GUE) Protocol() uint8 { return b[1] }

// Encode writes a header without optional fields to the first [GUELen] bytes of
// b.
func (b GUE) Encode(proto uint8) {
	_ = b[GUELen-1]
	b[0], b[1], b[2], b[3] = 0, proto, 0, 0
}

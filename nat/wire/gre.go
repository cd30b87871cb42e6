package wire

import "encoding/binary"

// GRE header, version 0 (RFC 2784, section 2), offsets in bytes:
//
//	 0       2       4       6       8
//	+-------+-------+-------+-------+----
//	| flags | type  | sum   | 0     | packet
//	+-------+-------+-------+-------+----
//
// The checksum and what follows it are there only if the flag for it is set.
const (
	greFlags    = 0
	greType     = 2
	greChecksum = 4

	greHasChecksum uint16 = 0x8000
)

const (
	// GRELen is the length in bytes of a GRE header without checksum, GRESumLen
	// with one.
	GRELen    = 4
	GRESumLen = 8
)

// GRE is a GRE packet (Generic Routing Encapsulation) from its header on.
type GRE []byte

// IsValid reports whether b begins with a whole header of version 0 that has a
// checksum or nothing more: neither key nor sequence number nor routing.
func (b GRE) IsValid() bool {
	return len(b) >= GRELen && binary.BigEndian.Uint16(b[greFlags:])&^greHasChecksum == 0 && b.HeaderLen() <= len(b)
}

// HasChecksum reports whether the header has a checksum.
func (b GRE) HasChecksum() bool { return binary.BigEndian.Uint16(b[greFlags:])&greHasChecksum != 0 }

// HeaderLen returns the length in bytes of a valid packet's header.
func (b GRE) HeaderLen() int {
	if b.HasChecksum() {
		return GRESumLen
	}
	return GRELen
}

// Type returns the EtherType of what follows.
func (b GRE) Type() uint16 { return binary.BigEndian.Uint16(b[greType:]) }

// SetChecksum sets the checksum field of a header that has one and nothing else.
func (b GRE) SetChecksum(c uint16) { binary.BigEndian.PutUint16(b[greChecksum:], c) }

// Encode writes a header to the first [GRELen] bytes of b, or with a checksum,
// which becomes 0, to the first [GRESumLen].
func (b GRE) Encode(typ uint16, checksum bool) {
	_ = b[GRELen-1]
	binary.BigEndian.PutUint16(b[greType:], typ)
	if !checksum {
		binary.BigEndian.PutUint16(b[greFlags:], 0)
		return
	}
	binary.BigEndian.PutUint16(b[greFlags:], greHasChecksum)
	binary.BigEndian.PutUint32(b[greChecksum:], 0)
}

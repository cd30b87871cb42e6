package wire

import "encoding/binary"

// UDP header (RFC 768), offsets in bytes:
//
//	 0      2      4      6      8
//	+------+------+------+------+----
//	| src  | dst  | len  | sum  | payload
//	+------+------+------+------+----
const (
	udpSrcPort  = 0
	udpDstPort  = 2
	udpLength   = 4
	udpChecksum = 6
)

// UDPLen is the length in bytes of a UDP header.
const UDPLen = 8

// UDP is a UDP datagram from its header on.
type UDP []byte

// IsValid reports whether the header is whole and its length field possible.
func (b UDP) IsValid() bool {
	return len(b) >= UDPLen && b.Length() >= UDPLen && b.Length() <= len(b)
}

// SrcPort returns the source port.
func (b UDP) SrcPort() uint16 { return binary.BigEndian.Uint16(b[udpSrcPort:]) }

// DstPort returns the destination port.
func (b UDP) DstPort() uint16 { return binary.BigEndian.Uint16(b[udpDstPort:]) }

// Length returns the datagram's length in bytes, header included.
func (b UDP) Length() int { return int(binary.BigEndian.Uint16(b[udpLength:])) }

// SetLength sets the length field and nothing else.
func (b UDP) SetLength(n int) { binary.BigEndian.PutUint16(b[udpLength:], uint16(n)) }

// Checksum returns the checksum field; over IPv4, 0 means that there is none.
func (b UDP) Checksum() uint16 { return binary.BigEndian.Uint16(b[udpChecksum:]) }

// SetChecksum sets the checksum field and nothing else.
func (b UDP) SetChecksum(c uint16) { binary.BigEndian.PutUint16(b[udpChecksum:], c) }

// Payload returns what follows the header, cut to the length field.
func (b UDP) Payload() []byte { return b[UDPLen:b.Length()] }

// UDPFields is what [UDP.Encode] writes.
type UDPFields struct {
	SrcPort, DstPort uint16
	Length           int // bytes, header included
	Checksum         uint16
}

// Encode writes a header to the first [UDPLen] bytes of b.
func (b UDP) Encode(f *UDPFields) {
	_ = b[UDPLen-1]
	binary.BigEndian.PutUint16(b[udpSrcPort:], f.SrcPort)
	binary.BigEndian.PutUint16(b[udpDstPort:], f.DstPort)
	binary.BigEndian.PutUint16(b[udpLength:], uint16(f.Length))
	b.SetChecksum(f.Checksum)
}

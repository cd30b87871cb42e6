package wire

import "encoding/binary"

// ICMPv6 types (RFC 4443; RFC 4861 for neighbour discovery).
const (
	ICMPv6DstUnreachable uint8 = 1
	ICMPv6PacketTooBig   uint8 = 2
	ICMPv6TimeExceeded   uint8 = 3
	ICMPv6ParamProblem   uint8 = 4
	ICMPv6Echo           uint8 = 128
	ICMPv6EchoReply      uint8 = 129
	ICMPv6Redirect       uint8 = 137
)

// ICMPv6 codes (RFC 4443, section 3).
const (
	ICMPv6NoRoute            uint8 = 0 // of ICMPv6DstUnreachable
	ICMPv6Prohibited         uint8 = 1
	ICMPv6AddressUnreachable uint8 = 3
	ICMPv6PortUnreachable    uint8 = 4
	ICMPv6HopsExceeded       uint8 = 0 // of ICMPv6TimeExceeded
)

// ICMPv6 is an ICMPv6 message from its header on.
type ICMPv6 []byte

// IsValid reports whether the header is whole.
func (b ICMPv6) IsValid() bool { return len(b) >= ICMPLen }

// Type returns the message's type.
func (b ICMPv6) Type() uint8 { return b[icmpType] }

// Code returns the code, whose meaning depends on the type.
func (b ICMPv6) Code() uint8 { return b[icmpCode] }

// Checksum returns the checksum field.
func (b ICMPv6) Checksum() uint16 { return binary.BigEndian.Uint16(b[icmpChecksum:]) }

// Rest returns the four bytes that depend on the type, as a number.
func (b ICMPv6) Rest() uint32 { return binary.BigEndian.Uint32(b[icmpRest:]) }

// SetChecksum sets the checksum field and nothing else.
func (b ICMPv6) SetChecksum(c uint16) { binary.BigEndian.PutUint16(b[icmpChecksum:], c) }

// ChecksumOK reports whether the checksum over the pseudo-header and the whole
// of b is right.
func (b ICMPv6) ChecksumOK(src, dst [16]byte) bool {
	return Fold(Sum(b, PseudoSum6(src, dst, ProtoICMPv6, len(b)))) == 0xffff
}

// MTU returns the next hop's MTU in bytes from a packet too big message (RFC
// 4443, section 3.2).
func (b ICMPv6) MTU() uint32 { return binary.BigEndian.Uint32(b[icmpRest:]) }

// Payload returns what follows the header: in an error, the quoted packet.
func (b ICMPv6) Payload() []byte { return b[ICMPLen:] }

// IsError reports whether the message is an error (RFC 4443, section 2.1:
// types below 128). These are also the ones that IPVS treats as messages about
// a connection.
func (b ICMPv6) IsError() bool { return b.Type() < 128 }

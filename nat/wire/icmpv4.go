package wire

import "encoding/binary"

// ICMP header (RFC 792), offsets in bytes:
//
//	 0   1   2      4       8
//	+---+---+------+-------+----
//	|typ|cod| sum  | rest  | quoted packet, or data
//	+---+---+------+-------+----
//
// ICMPv6 (RFC 4443, section 2.1) has the same layout.
const (
	icmpType     = 0
	icmpCode     = 1
	icmpChecksum = 2
	icmpRest     = 4
)

// ICMPLen is the length in bytes of an ICMP or ICMPv6 header, the four bytes
// that depend on the type included.
const ICMPLen = 8

// ICMPv4 types (RFC 792).
const (
	ICMPv4EchoReply      uint8 = 0
	ICMPv4DstUnreachable uint8 = 3
	ICMPv4SourceQuench   uint8 = 4
	ICMPv4Redirect       uint8 = 5
	ICMPv4Echo           uint8 = 8
	ICMPv4TimeExceeded   uint8 = 11
	ICMPv4ParamProblem   uint8 = 12
	ICMPv4Timestamp      uint8 = 13
	ICMPv4TimestampReply uint8 = 14

	icmp4MaxType uint8 = 18 // the highest that the kernel knows: NR_ICMP_TYPES
)

// ICMPv4 codes (RFC 792, RFC 1122 section 3.2.2.1).
const (
	ICMPv4NetUnreachable      uint8 = 0 // of ICMPv4DstUnreachable
	ICMPv4HostUnreachable     uint8 = 1
	ICMPv4ProtocolUnreachable uint8 = 2
	ICMPv4PortUnreachable     uint8 = 3
	ICMPv4FragNeeded          uint8 = 4
	ICMPv4HopsExceeded        uint8 = 0 // of ICMPv4TimeExceeded
	ICMPv4ReassemblyExceeded  uint8 = 1
)

// ICMPv4 is an ICMP message over IPv4 from its header on.
type ICMPv4 []byte

// IsValid reports whether the header is whole.
func (b ICMPv4) IsValid() bool { return len(b) >= ICMPLen }

// Type returns the message's type.
func (b ICMPv4) Type() uint8 { return b[icmpType] }

// Code returns the code, whose meaning depends on the type.
func (b ICMPv4) Code() uint8 { return b[icmpCode] }

// Checksum returns the checksum field.
func (b ICMPv4) Checksum() uint16 { return binary.BigEndian.Uint16(b[icmpChecksum:]) }

// Rest returns the four bytes that depend on the type, as a number.
func (b ICMPv4) Rest() uint32 { return binary.BigEndian.Uint32(b[icmpRest:]) }

// SetChecksum sets the checksum field and nothing else.
func (b ICMPv4) SetChecksum(c uint16) { binary.BigEndian.PutUint16(b[icmpChecksum:], c) }

// ChecksumOK reports whether the checksum over the whole of b is right.
func (b ICMPv4) ChecksumOK() bool { return Checksum(b) == 0 }

// MTU returns the next hop's MTU in bytes from a fragmentation needed message
// (RFC 1191, section 4); 0 if the router did not tell.
func (b ICMPv4) MTU() int { return int(binary.BigEndian.Uint16(b[icmpRest+2:])) }

// Payload returns what follows the header: in an error, the quoted packet.
func (b ICMPv4) Payload() []byte { return b[ICMPLen:] }

// IsError reports whether the message is an error, so that it quotes a packet
// and must not be answered by another error (RFC 1122, section 3.2.2).
func (b ICMPv4) IsError() bool {
	switch b.Type() {
	case ICMPv4DstUnreachable, ICMPv4SourceQuench, ICMPv4Redirect, ICMPv4TimeExceeded, ICMPv4ParamProblem:
		return true
	}
	return false
}

// IsRelated reports whether IPVS treats the message as one about a connection:
// unreachable, source quench and time exceeded, but neither redirect nor
// parameter problem (ip_vs_in_icmp and ip_vs_out_icmp in
// net/netfilter/ipvs/ip_vs_core.c).
func (b ICMPv4) IsRelated() bool {
	switch b.Type() {
	case ICMPv4DstUnreachable, ICMPv4SourceQuench, ICMPv4TimeExceeded:
		return true
	}
	return false
}

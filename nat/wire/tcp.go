package wire

import "encoding/binary"

// TCP header (RFC 9293, section 3.1), offsets in bytes:
//
//	 0      2      4       8       12  13  14     16     18     20
//	+------+------+-------+-------+---+---+------+------+------+----
//	| src  | dst  | seq   | ack   |off|flg| wnd  | sum  | urg  | options
//	+------+------+-------+-------+---+---+------+------+------+----
const (
	tcpSrcPort  = 0
	tcpDstPort  = 2
	tcpSeq      = 4
	tcpAck      = 8
	tcpDataOff  = 12
	tcpFlags    = 13
	tcpWindow   = 14
	tcpChecksum = 16
	tcpUrgent   = 18
)

// TCPMinLen is the length in bytes of a TCP header without options.
const TCPMinLen = 20

// TCP flags.
const (
	FIN uint8 = 0x01
	SYN uint8 = 0x02
	RST uint8 = 0x04
	PSH uint8 = 0x08
	ACK uint8 = 0x10
	URG uint8 = 0x20
	ECE uint8 = 0x40
	CWR uint8 = 0x80
)

// TCP is a TCP segment from its header on.
type TCP []byte

// IsValid reports whether the header is whole and its length field possible.
func (b TCP) IsValid() bool {
	return len(b) >= TCPMinLen && b.HeaderLen() >= TCPMinLen && b.HeaderLen() <= len(b)
}

// SrcPort returns the source port.
func (b TCP) SrcPort() uint16 { return binary.BigEndian.Uint16(b[tcpSrcPort:]) }

// DstPort returns the destination port.
func (b TCP) DstPort() uint16 { return binary.BigEndian.Uint16(b[tcpDstPort:]) }

// Seq returns the sequence number.
func (b TCP) Seq() uint32 { return binary.BigEndian.Uint32(b[tcpSeq:]) }

// Ack returns the acknowledgment number.
func (b TCP) Ack() uint32 { return binary.BigEndian.Uint32(b[tcpAck:]) }

// HeaderLen returns the header's length in bytes, options included.
func (b TCP) HeaderLen() int { return int(b[tcpDataOff]>>4) * 4 }

// Flags returns the flags.
func (b TCP) Flags() uint8 { return b[tcpFlags] }

// SetSeq sets the sequence number and nothing else.
func (b TCP) SetSeq(n uint32) { binary.BigEndian.PutUint32(b[tcpSeq:], n) }

// SetFlags sets the flags and nothing else.
func (b TCP) SetFlags(f uint8) { b[tcpFlags] = f }

// Window returns the window, not scaled.
func (b TCP) Window() uint16 { return binary.BigEndian.Uint16(b[tcpWindow:]) }

// Checksum returns the checksum field.
func (b TCP) Checksum() uint16 { return binary.BigEndian.Uint16(b[tcpChecksum:]) }

// SetChecksum sets the checksum field and nothing else.
func (b TCP) SetChecksum(c uint16) { binary.BigEndian.PutUint16(b[tcpChecksum:], c) }

// ChecksumOK4 reports whether the checksum of a whole segment between src and
// dst is right. It means nothing for a packet whose checksum is partial.
func (b TCP) ChecksumOK4(src, dst [4]byte) bool {
	return Fold(Sum(b, PseudoSum4(src, dst, ProtoTCP, len(b)))) == 0xffff
}

// ChecksumOK6 is [TCP.ChecksumOK4] for IPv6.
func (b TCP) ChecksumOK6(src, dst [16]byte) bool {
	return Fold(Sum(b, PseudoSum6(src, dst, ProtoTCP, len(b)))) == 0xffff
}

// Payload returns what follows the header.
func (b TCP) Payload() []byte { return b[b.HeaderLen():] }

// TCPFields is what [TCP.Encode] writes.
type TCPFields struct {
	SrcPort, DstPort uint16
	Seq, Ack         uint32
	Flags            uint8
	Window           uint16
}

// Encode writes a header without options to the first [TCPMinLen] bytes of b.
// The checksum field becomes 0: the caller sets it, knowing the addresses and
// the payload.
func (b TCP) Encode(f *TCPFields) {
	_ = b[TCPMinLen-1]
	binary.BigEndian.PutUint16(b[tcpSrcPort:], f.SrcPort)
	binary.BigEndian.PutUint16(b[tcpDstPort:], f.DstPort)
	binary.BigEndian.PutUint32(b[tcpSeq:], f.Seq)
	binary.BigEndian.PutUint32(b[tcpAck:], f.Ack)
	b[tcpDataOff] = TCPMinLen / 4 << 4
	b[tcpFlags] = f.Flags
	binary.BigEndian.PutUint16(b[tcpWindow:], f.Window)
	b.SetChecksum(0)
	binary.BigEndian.PutUint16(b[tcpUrgent:], 0)
}

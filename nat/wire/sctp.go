package wire

import (
	"encoding/binary"
	"hash/crc32"
)

// SCTP common header and the first chunk's header (RFC 9260, section 3),
// offsets in bytes:
//
//	 0      2      4       8       12  13  14     16
//	+------+------+-------+-------+---+---+------+----
//	| src  | dst  | tag   | crc   |typ|flg| len  | value
//	+------+------+-------+-------+---+---+------+----
const (
	sctpSrcPort  = 0
	sctpDstPort  = 2
	sctpTag      = 4
	sctpChecksum = 8
)

const (
	// SCTPLen is the length in bytes of the SCTP common header.
	SCTPLen = 12
	// SCTPChunkLen is the length in bytes of a chunk's header.
	SCTPChunkLen = 4
)

// SCTP chunk types (RFC 9260, section 3.2).
const (
	SCTPData             uint8 = 0
	SCTPInit             uint8 = 1
	SCTPInitAck          uint8 = 2
	SCTPSack             uint8 = 3
	SCTPHeartbeat        uint8 = 4
	SCTPHeartbeatAck     uint8 = 5
	SCTPAbort            uint8 = 6
	SCTPShutdown         uint8 = 7
	SCTPShutdownAck      uint8 = 8
	SCTPError            uint8 = 9
	SCTPCookieEcho       uint8 = 10
	SCTPCookieAck        uint8 = 11
	SCTPShutdownComplete uint8 = 14
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	// noChecksum stands for the checksum field while a packet's checksum is
	// computed. As a local variable it would escape to the heap.
	noChecksum = make([]byte, 4)
)

// SCTP is an SCTP packet from its common header on.
type SCTP []byte

// IsValid reports whether the common header is whole.
func (b SCTP) IsValid() bool { return len(b) >= SCTPLen }

// SrcPort returns the source port.
func (b SCTP) SrcPort() uint16 { return binary.BigEndian.Uint16(b[sctpSrcPort:]) }

// DstPort returns the destination port.
func (b SCTP) DstPort() uint16 { return binary.BigEndian.Uint16(b[sctpDstPort:]) }

// Tag returns the verification tag.
func (b SCTP) Tag() uint32 { return binary.BigEndian.Uint32(b[sctpTag:]) }

// Checksum returns the checksum field. A CRC32c stands on the wire with its
// least significant byte first (RFC 9260, appendix A).
func (b SCTP) Checksum() uint32 { return binary.LittleEndian.Uint32(b[sctpChecksum:]) }

// CalculateChecksum returns what the checksum field has to be for the whole of
// b. The field's present value does not count.
func (b SCTP) CalculateChecksum() uint32 {
	c := crc32.Update(0, castagnoli, b[:sctpChecksum])
	c = crc32.Update(c, castagnoli, noChecksum)
	return crc32.Update(c, castagnoli, b[SCTPLen:])
}

// SetChecksum sets the checksum field and nothing else.
func (b SCTP) SetChecksum(c uint32) { binary.LittleEndian.PutUint32(b[sctpChecksum:], c) }

// Chunks returns the type of the first chunk (RFC 9260, section 3.2) and, if that
// is a COOKIE ECHO or COOKIE ACK, the type of the one that follows it: no other
// chunk says more about the association than the first (set_sctp_state in
// net/netfilter/ipvs/ip_vs_proto_sctp.c). second is [SCTPData], which says nothing,
// when it is not looked for or not there. ok is false if the first chunk's header is
// not whole.
func (b SCTP) Chunks() (first, second uint8, ok bool) {
	if len(b) < SCTPLen+SCTPChunkLen {
		return 0, 0, false
	}
	first = b[SCTPLen]
	if first != SCTPCookieEcho && first != SCTPCookieAck {
		return first, 0, true
	}
	n := b.chunkLen(SCTPLen)
	if next := SCTPLen + (n+3)&^3; n >= SCTPChunkLen && next <= len(b)-SCTPChunkLen {
		second = b[next]
	}
	return first, second, true
}

// chunkLen returns the length of the chunk at offset off, whose header is whole.
func (b SCTP) chunkLen(off int) int { return int(binary.BigEndian.Uint16(b[off+2:])) }

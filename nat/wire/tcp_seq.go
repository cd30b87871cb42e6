package wire

import (
	"encoding/binary"
	"math/bits"
)

// TCP option kinds (RFC 9293, section 3.1; RFC 2018, section 3).
const (
	tcpOptEnd  = 0
	tcpOptNOP  = 1
	tcpOptSACK = 5
)

// sackBlock is the length of a SACK block: two sequence numbers.
const sackBlock = 8

// MoveSeq sets the sequence number and corrects the checksum. partial is as in
// [RewriteDst4].
func (b TCP) MoveSeq(seq uint32, partial bool) { b.move(tcpSeq, seq, partial) }

// MoveAck sets the acknowledgment number and corrects the checksum.
func (b TCP) MoveAck(ack uint32, partial bool) { b.move(tcpAck, ack, partial) }

// move sets the 32 bits at that offset, which may be odd, and corrects the
// checksum.
func (b TCP) move(off int, now uint32, partial bool) {
	old := binary.BigEndian.Uint32(b[off:])
	binary.BigEndian.PutUint32(b[off:], now)
	switch {
	case partial: // the sum of the pseudo-header alone
	case off&1 == 0:
		b.SetChecksum(Update32(b.Checksum(), old, now))
	default:
		// The sum of words that straddle is that of their bytes, swapped (RFC 1071,
		// section 2(B)).
		b.SetChecksum(bits.ReverseBytes16(Update32(bits.ReverseBytes16(b.Checksum()), old, now)))
	}
}

// MoveSACK replaces every edge of the segment's SACK blocks by what edge makes of
// it, and corrects the checksum. The header is valid. It reports false when the
// options are malformed.
func (b TCP) MoveSACK(edge func(uint32) uint32, partial bool) bool {
	end := b.HeaderLen()
	for off := TCPMinLen; off < end; {
		switch b[off] {
		case tcpOptEnd:
			return true
		case tcpOptNOP:
			off++
			continue
		}
		if off+1 >= end {
			return false
		}
		n := int(b[off+1])
		if n < 2 || off+n > end {
			return false
		}
		if b[off] == tcpOptSACK && n > 2 && (n-2)%sackBlock == 0 {
			for at := off + 2; at < off+n; at += sackBlock / 2 {
				b.move(at, edge(binary.BigEndian.Uint32(b[at:])), partial)
			}
		}
		off += n
	}
	return true
}

// ClearFIN takes the FIN flag off and corrects the checksum.
func (b TCP) ClearFIN(partial bool) {
	old := binary.BigEndian.Uint16(b[tcpDataOff:])
	b[tcpFlags] &^= FIN
	if !partial {
		b.SetChecksum(Update16(b.Checksum(), old, binary.BigEndian.Uint16(b[tcpDataOff:])))
	}
}

// Resized sets the checksum of a segment whose payload was changed and that was
// oldLen bytes long, header included, but for its addresses ready; pseudo is its
// pseudo-header's sum. partial is as in [RewriteDst4].
func (b TCP) Resized(oldLen int, pseudo uint64, partial bool) {
	if partial {
		b.SetChecksum(^Update16(^b.Checksum(), uint16(oldLen), uint16(len(b))))
		return
	}
	b.SetChecksum(0)
	b.SetChecksum(^Fold(Sum(b, pseudo)))
}

package forward

import (
	"vsnat/conntrack"
	"vsnat/nat/wire"
)

// AdjustSeq corrects the numbers of a TCP segment whose stream was resized, or
// the other way's was: this is its own direction's record, other that of the
// direction which it acknowledges, in sequence, acknowledgment and SACK blocks
// (nf_ct_seq_adjust in net/netfilter/nf_conntrack_seqadj.c). partial is as in
// [wire.RewriteDst4]. The segment's header is valid. It reports false when the
// segment's options are malformed.
func AdjustSeq(t wire.TCP, partial bool, this, other *conntrack.SeqAdj) bool {
	if this.Moves() {
		t.MoveSeq(this.Seq(t.Seq()), partial)
	}
	if !other.Moves() || t.Flags()&wire.ACK == 0 {
		return true
	}
	t.MoveAck(other.Ack(t.Ack()), partial)
	if t.HeaderLen() == wire.TCPMinLen {
		return true
	}
	return t.MoveSACK(other.Ack, partial)
}

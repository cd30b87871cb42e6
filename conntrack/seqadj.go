package conntrack

// The arithmetic of resized streams (nf_ct_seqadj_set and nf_ct_seq_adjust in
// net/netfilter/nf_conntrack_seqadj.c). Sequence numbers compare as of RFC 9293,
// section 3.4: those up to 2^31 bytes ahead are later.

// Resize notes that the payload of the segment with sequence number seq, as its
// sender counts, grew by diff bytes, or shrank. A segment that comes again
// changes nothing.
func (a *SeqAdj) Resize(seq uint32, diff int32) {
	if diff != 0 && (a.Before == a.After || int32(seq-a.Pos) > 0) {
		a.Pos, a.Before = seq, a.After
		a.After += diff
	}
}

// Moves reports whether any sequence number is moved.
func (a *SeqAdj) Moves() bool { return a.Before|a.After != 0 }

// longAgo is how far behind in bytes a stream's place is which nobody asks for any
// more: windows are at most 2^30 bytes (RFC 7323, section 2.3). The kernel takes
// what is 2^31 bytes behind a resizing for what lies before it.
const longAgo = 1 << 30

// Seq returns the sequence number, of a segment of this direction, as its receiver
// counts. The resized segment itself still begins where it would have.
func (a *SeqAdj) Seq(seq uint32) uint32 {
	if d := int32(seq - a.Pos); d > 0 {
		if d > longAgo {
			a.Before = a.After
		}
		return seq + uint32(a.After)
	}
	return seq + uint32(a.Before)
}

// Ack returns an acknowledgment, or an edge of a SACK block, of this direction's
// receiver as its sender counts: what Seq did, undone.
func (a *SeqAdj) Ack(ack uint32) uint32 {
	if int32(ack-uint32(a.Before)-a.Pos) > 0 {
		return ack - uint32(a.After)
	}
	return ack - uint32(a.Before)
}

package nat

import (
	"vsnat/conntrack"
	"vsnat/nat/forward"
	"vsnat/nat/wire"
)

// A port that is another's again soon. A server that closed a connection first
// remembers it for a minute, and takes a SYN from the same address and port for a
// new one only if its sequence number is beyond the old ones, and its timestamp not
// older (tcp_timewait_state_process in net/ipv4/tcp_minisocks.c; RFC 6191). Another
// client's are neither but by chance. As long as there are other ports, one whose
// connection is over is not taken; when there are none, the new client's numbers are
// moved beyond the old one's, and its SYN has no timestamps.

// successorGap is how far beyond, in bytes.
const successorGap = 1 << 16

// succeed has connection c begin beyond what the far end awaits of the connection that
// had its port; 0 is nothing.
func succeed(j *job, s *conntrack.Shard, c *conntrack.Conn, next uint32) {
	t := wire.TCP(j.l4)
	if next == 0 || !t.IsValid() || t.Flags()&(wire.SYN|wire.ACK) != wire.SYN {
		return
	}
	c.Flags |= conntrack.InSeq
	by := int32(next + successorGap - t.Seq())
	s.Extend(c).In = conntrack.SeqAdj{Pos: t.Seq(), Before: by, After: by}
}

// anew has the numbers of a connection that begins with the SYN t be moved no more,
// unless it is moved beyond another's from the start.
func anew(c *conntrack.Conn, x *conntrack.Ext, t wire.TCP) {
	if c.Flags&conntrack.InSeq != 0 && x.In.Pos == t.Seq() {
		return
	}
	c.Flags &^= conntrack.InSeq
	x.In, x.Out = conntrack.SeqAdj{}, conntrack.SeqAdj{}
}

// unmoveQuoted puts right the sequence number in what an ICMP error quotes of a
// client's segment, as the client counts: it takes no other for its own (RFC 5927,
// section 4.1).
func unmoveQuoted(j *job, q *wire.Packet, x *conntrack.Ext) {
	if x != nil && q.Proto == ProtoTCP && x.In.Moves() && q.End-q.L4 >= 8 {
		t := wire.TCP(j.l4[q.L4:])
		t.SetSeq(x.In.Ack(t.Seq()))
	}
}

// moveReset puts right the numbers of a reset that was made for a segment's receiver
// with the numbers of the segment itself.
func (w *Worker) moveReset(ip wire.IP, c *conntrack.Conn, fromClient bool) {
	x := w.e.table.HomeOf(c).Ext(c)
	if x == nil || c.Proto != ProtoTCP {
		return
	}
	this, other := &x.In, &x.Out
	if !fromClient {
		this, other = other, this
	}
	forward.AdjustSeq(wire.TCP(ip[ip.HeaderLen():]), false, this, other)
}

package nat

import (
	"vsnat/conntrack"
	"vsnat/nat/wire"
)

// schedule_icmp: an ICMP error from the client's side about a packet of no
// connection makes one, as the packet's answer would have, so that it reaches the
// server that would get that (ip_vs_in_icmp). The connection is in no state yet and
// lasts three seconds, unless the client sends more.

// scheduleError deals with an error that quotes a packet q of no connection. The
// shard s, of the connection with that key, is locked.
func (w *Worker) scheduleError(j *job, s *conntrack.Shard, hash uint64, key *conntrack.Key, q *wire.Packet) Verdict {
	if !w.snap.settings.ScheduleICMP || isIPsec(q) {
		return passed
	}
	w.mark(j) // that of the error
	outer := w.pkt
	w.inverse = wire.Packet{
		Src: q.Dst, Dst: q.Src, SrcPort: q.DstPort, DstPort: q.SrcPort, Proto: q.Proto, V6: q.V6,
	}
	w.pkt, j.aboutError = &w.inverse, true
	c, v := w.schedule(j, s, hash, key, 0)
	w.pkt, j.aboutError = outer, false
	if c == nil {
		return v
	}
	d := w.e.destOf(w.snap, c.Server)
	if d == nil || !d.available.Load() {
		w.abandon(s, c, d)
		return drop(ServerGone)
	}
	v = w.errorToServer(j, s, hash, c)
	switch {
	case c.Flags&conntrack.OnePacket != 0:
		w.settle(c, d)
	case c.Expires == 0:
		s.Arm(c, w.now, conntrack.FirstTimeout)
	}
	return v
}

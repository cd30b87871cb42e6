package nat

import (
	"vsnat/conntrack"
	"vsnat/conntrack/state"
	"vsnat/nat/wire"
)

// What packets meet when their connection's server is in trouble. The table
// keeps no sequence numbers, so that a connection is reset in answer to its next
// packet, from either side, and with that packet's numbers.

// lateReplies is how long a UDP flow that was given up passes what its server
// still answers, in nanoseconds.
const lateReplies = 5e9

// ruling is what a policy says of a packet.
type ruling uint8

const (
	rulesNot ruling = iota // what the kernel does
	keeps                  // goes on
	givesUp                // its connection is none any more
	ends                   // was dealt with
)

// ruled applies the doom f of server d to a packet from the client of connection
// c, whose shard s is locked. The verdict is of a packet that it ends.
func (w *Worker) ruled(j *job, s *conntrack.Shard, c *conntrack.Conn, d *dest, f *doom) (ruling, Verdict) {
	acts := f.at(w.now)
	switch {
	case c.Proto == ProtoUDP:
		w.watch.ruled(f, UDPFlow, w.now)
		return w.ruledFlow(j, s, c, d, acts[UDPFlow])
	case !w.begins(j):
		w.watch.ruled(f, Established, w.now)
		return w.ruledSegment(j, s, c, d, acts[Established], true)
	}
	w.watch.ruled(f, NewTCP, w.now)
	a := acts[NewTCP]
	if a == AsKernel || reusable(c, w.snap.settings.ConnReuseMode) {
		return rulesNot, Verdict{} // the connection there was is over
	}
	if a == Keep {
		return keeps, Verdict{}
	}
	if a != Move {
		if v, told := w.refuseNew(j, d, a); !told {
			return ends, v
		}
	} else {
		d.tell(Move)
	}
	if w.e.table.Children(c) == 0 {
		s.Arm(c, w.now, 0)
	}
	if a != Move {
		return ends, replied
	}
	return givesUp, Verdict{}
}

// refuseNew answers a packet that would begin a connection: with a reset, or
// with port unreachable, and that in any case if it is not TCP's.
func (w *Worker) refuseNew(j *job, d *dest, a Action) (v Verdict, told bool) {
	switch {
	case !w.pkt.Frag && !w.checksumOK(j):
		return drop(BadChecksum), false
	case a == ResetClient && w.pkt.Proto != ProtoUDP:
		f, room := w.answers.next()
		v = w.answer(f, w.refusal(room, j), w.pkt.Src, j.eth, j.i)
	default:
		a = Unreachable
		v = w.answerError(j, w.pkt.Dst, portUnreachable, 0)
	}
	if told = v == replied; told {
		d.tell(a)
	}
	return v, told
}

// ruledFlow is ruled for a datagram.
func (w *Worker) ruledFlow(j *job, s *conntrack.Shard, c *conntrack.Conn, d *dest, a Action) (ruling, Verdict) {
	switch a {
	case AsKernel:
		return rulesNot, Verdict{}
	case Keep:
		return keeps, Verdict{}
	case Unreachable:
		if c.Flags&conntrack.GivenUp != 0 {
			return givesUp, Verdict{} // was told
		}
		v, told := w.refuseNew(j, d, a)
		if told {
			c.Flags |= conntrack.GivenUp
			s.Arm(c, w.now, 0)
		}
		return ends, v
	}
	d.giveUp(s, c, w.now)
	return givesUp, Verdict{}
}

// giveUp has a UDP flow pass nothing but late answers, and those not for long.
// Its shard s is locked.
func (d *dest) giveUp(s *conntrack.Shard, c *conntrack.Conn, now int64) {
	if c.Flags&conntrack.GivenUp == 0 {
		c.Flags |= conntrack.GivenUp
		d.tell(Move)
		s.Arm(c, now, lateReplies)
	}
}

// ruledSegment is ruled for a packet of a TCP connection, or of an SCTP association,
// that begins none, from its client or from its server.
func (w *Worker) ruledSegment(j *job, s *conntrack.Shard, c *conntrack.Conn, d *dest, a Action, fromClient bool) (ruling, Verdict) {
	switch {
	case a == AsKernel:
		return rulesNot, Verdict{}
	case a == Keep, w.ends(j), c.Proto == ProtoTCP && state.TCP(c.State) == state.TCPTimeWait:
		// A reset ends it as well as ours would, and what is over needs none.
		return keeps, Verdict{}
	case w.pkt.Frag:
		return ends, drop(Fragment) // where it ends is not known
	case !w.checksumOK(j):
		return ends, drop(BadChecksum)
	}
	v := w.reset(j, c, a, fromClient)
	if v == replied && w.close(c) {
		d.tell(a)
		d.recount(c)
		// The other side has this long to hear of it, too.
		s.Rearm(c, w.now)
	}
	return ends, v
}

// reset sends resets in place of the segment to the sides that the action names:
// to its sender as a host answers that has no such connection, to its receiver
// with the segment's own numbers.
func (w *Worker) reset(j *job, c *conntrack.Conn, a Action, fromClient bool) Verdict {
	back, on := a.resetsClient(), a.resetsServer()
	if !fromClient {
		back, on = on, back
	}
	v := drop(NoAnswer)
	if back {
		f, room := w.answers.next()
		v = w.answer(f, w.refusal(room, j), w.pkt.Src, j.eth, j.i)
	}
	if !on {
		return v
	}
	next, to, toPort, from, fromPort := c.Dest, c.Dest, c.DestPort, c.Client, c.ClientPort
	switch {
	case !fromClient:
		next, to, toPort, from, fromPort = c.Client, c.Client, c.ClientPort, c.Virtual, c.VirtualPort
	case c.Method() == conntrack.Full:
		if a, port := w.e.table.HomeOf(c).Local(c); port != 0 {
			from, fromPort = *a, port
		}
	case c.Method() != conntrack.Masq:
		to, toPort = c.Virtual, c.VirtualPort
	}
	f, room := w.answers.next()
	in := 0
	d := w.e.destOf(w.snap, c.Server)
	if fromClient && c.Method() == conntrack.Tunnel && d != nil {
		in = d.tunnel.overhead(&next)
	}
	n := w.onward(room[in:], j, &from, fromPort, &to, toPort)
	if n > 0 {
		w.moveReset(wire.IP(room[in:in+n]), c, fromClient)
	}
	if in > 0 && n > 0 {
		n = w.wrapAnswer(room[:in+n], d, &next, w.tunnelPort(j.hash, c, d.tunnelType()))
	}
	o := w.answer(f, n, next, nil, j.i)
	if v != replied {
		return o
	}
	if o == replied {
		w.out[len(w.out)-1].Second = true
	}
	return v
}

// ruledReply applies the doom of server d to a packet that it sent to the client
// of connection c, whose shard s is locked.
func (w *Worker) ruledReply(j *job, s *conntrack.Shard, c *conntrack.Conn, d *dest, f *doom) (ruling, Verdict) {
	acts := f.at(w.now)
	if c.Proto != ProtoUDP {
		w.watch.ruled(f, Established, w.now)
		return w.ruledSegment(j, s, c, d, acts[Established], false)
	}
	w.watch.ruled(f, UDPFlow, w.now)
	switch acts[UDPFlow] {
	case Move, Unreachable:
		return givesUp, Verdict{} // goes to the client, and renews nothing
	}
	return rulesNot, Verdict{}
}

// ruledTemplate applies the doom f of server d to its template c, whose shard s is
// locked, when its client begins something new.
func (w *Worker) ruledTemplate(j *job, s *conntrack.Shard, c *conntrack.Conn, d *dest, f *doom) (ruling, Verdict) {
	w.watch.ruled(f, PersistentClient, w.now)
	switch a := f.at(w.now)[PersistentClient]; a {
	case AsKernel:
		return rulesNot, Verdict{}
	case Keep:
		return keeps, Verdict{}
	case Move:
		d.tell(Move)
		retire(c)
		return givesUp, Verdict{}
	default:
		v, told := w.refuseNew(j, d, a)
		if told {
			retire(c)
		}
		return ends, v
	}
}

// letMove applies the doom f of server d to a connection or template that is to
// move, as the sweep meets it. It reports whether that settles it: what the
// kernel does is not asked then. The shard s is locked.
func letMove(s *conntrack.Shard, c *conntrack.Conn, d *dest, f *doom, now int64) (settled bool) {
	t := Established
	switch {
	case c.Flags&conntrack.Template != 0:
		t = PersistentClient
	case c.Proto == ProtoUDP:
		t = UDPFlow
	}
	a := f.at(now)[t]
	switch {
	case a != Move:
	case t == UDPFlow:
		d.giveUp(s, c, now)
	case c.VirtualPort != retiredPort:
		d.tell(Move)
		retire(c)
		s.Arm(c, now, 0)
	}
	return a != AsKernel
}

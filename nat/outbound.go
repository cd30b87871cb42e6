package nat

import (
	"vsnat/conntrack"
	"vsnat/conntrack/state"
	"vsnat/nat/forward"
	"vsnat/nic"
)

// outbound deals with a packet of a protocol that services have that goes to no VIP: a reply from a
// real server, if it is one of a connection (ip_vs_out in ip_vs_core.c).
func (w *Worker) outbound(j *job) Verdict {
	p := w.pkt
	s := w.e.table.Shard(j.hash)
	s.Lock()
	c := s.Out(j.hash, p.Proto, p.Src, p.SrcPort, p.Dst, p.DstPort)
	if c == nil {
		s.Unlock()
		return w.stray(j, Endpoint{Proto: p.Proto, Addr: p.Src, Port: p.SrcPort})
	}
	j.server = c.Server
	d := w.e.destOf(w.snap, c.Server)
	w.watch.found(c, d, ServerSide)
	renews := true
	if f := d.doomed(); f != nil {
		r, v := w.ruledReply(j, s, c, d, f)
		if r == ends {
			s.Unlock()
			return v
		}
		renews = r != givesUp
	}
	if c.Method() != conntrack.Masq {
		// It came by way of us, and goes on as the host wants.
		w.fromServer(j, s, c, d, renews)
		s.Unlock()
		return passed
	}
	hop := w.hop(c.Client)
	v, ok := w.routable(j, hop)
	if ok && w.cannotRewrite(c.Proto, c.DestPort, c.VirtualPort) {
		v, ok = drop(Fragment), false
	}
	if ok {
		w.fromServer(j, s, c, d, renews)
		j.next = c.Client
		j.ip.DecTTL()
		if forward.MasqOut(j.ip, j.l4, c.Proto, j.partial(), c) {
			v = w.send(j, hop, nil)
		} else {
			v = drop(Truncated)
		}
	}
	s.Unlock()
	return v
}

// fromServer counts a packet of the connection from its server d, which renews
// the connection or not. The shard s is locked.
func (w *Worker) fromServer(j *job, s *conntrack.Shard, c *conntrack.Conn, d *dest, renews bool) {
	n := w.counts.of(c.Server)
	n.OutPkts++
	n.OutBytes += w.bytes(j)
	c.OutBytes += w.bytes(j)
	if !renews {
		return
	}
	if d != nil {
		w.observe(c, d)
		w.step(j, c, d, state.Output)
	}
	s.Arm(c, w.now, c.Timeout())
}

// routable makes the checks of a router (ip_forward in net/ipv4/ip_forward.c)
// and answers the sender when the packet cannot go on.
func (w *Worker) routable(j *job, hop *nic.Hop) (Verdict, bool) {
	switch hop.State {
	case nic.HopNoRoute:
		return w.answerFromHost(j, netUnreachable, 0), false
	case nic.HopLocal:
		return drop(RedirectedHome), false
	}
	if j.ip.TTL() <= 1 {
		return w.answerFromHost(j, hopsExceeded, 0), false
	}
	if j.length() > hop.MTU {
		switch {
		case j.ip.DontFragment():
			return w.answerFromHost(j, packetTooBig, hop.MTU), false
		case !j.divisible():
			return drop(TooBig), false
		}
		j.long = true
	}
	return Verdict{}, true
}

// stray deals with a packet from a real server's endpoint that belongs to no
// connection. IPVS leaves it to the host, which forwards it if it is a router;
// where the guard has kept it from the host, that falls to us.
func (w *Worker) stray(j *job, from Endpoint) Verdict {
	if !has(w.snap.servers, from) || !w.e.opt.Guarded || w.routes.Local(w.pkt.Dst) {
		return passed
	}
	if !w.routes.Forwarding(w.index, w.pkt.V6) {
		return drop(NoConnection)
	}
	hop := w.hop(w.pkt.Dst)
	v, ok := w.routable(j, hop)
	if !ok {
		return v
	}
	j.ip.DecTTL()
	j.next = w.pkt.Dst
	return w.send(j, hop, nil)
}

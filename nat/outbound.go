package nat

import (
	"vsnat/conntrack"
	"vsnat/conntrack/state"
	"vsnat/nat/forward"
	"vsnat/nat/wire"
	"vsnat/nic"
)

// outbound deals with a packet of a protocol that services have that goes to no VIP: a reply from a
// real server, if it is one of a connection (ip_vs_out in ip_vs_core.c).
func (w *Worker) outbound(j *job) Verdict {
	p := w.pkt
	s := w.e.table.Shard(j.hash)
	s.Lock()
	key := answerKey(p)
	c := s.Out(conntrack.Hint{}, j.hash, &key)
	if c == nil && p.Proto == ProtoUDP {
		if c = s.OutAny(j.hash, p.Proto, &p.Src, &p.Dst, p.DstPort); c != nil {
			c.DestPort = p.SrcPort
			c.Flags &^= conntrack.AnyDPort
		}
	}
	if c == nil {
		s.Unlock()
		if v, ok := w.talks(j); ok {
			return v
		}
		if w.fromHost() {
			return passed
		}
		if n := w.snap.insideOf(&p.Src); n != nil {
			return w.goesOut(j, n, p.SrcPort, p.DstPort)
		}
		return w.stray(j, Endpoint{Proto: p.Proto, Addr: p.Src, Port: p.SrcPort})
	}
	v := w.reply(j, s, c)
	s.Unlock()
	if len(w.agreed) > 0 {
		w.expectAgreed()
	}
	return v
}

// answerKey is what the connection is found by whose server sent the packet.
func answerKey(p *wire.Packet) (k conntrack.Key) {
	// Field by field: a literal is made elsewhere and copied.
	k.Client, k.ClientPort = p.Dst, p.DstPort
	k.Virtual, k.VirtualPort, k.Proto = p.Src, p.SrcPort, p.Proto
	return k
}

// reply deals with a packet of connection c from its server. The shard s is locked.
func (w *Worker) reply(j *job, s *conntrack.Shard, c *conntrack.Conn) Verdict {
	j.server = c.Server
	d := w.e.destOf(w.snap, c.Server)
	w.watch.found(c, d, ServerSide)
	renews := true
	if f := d.doomed(); f != nil {
		r, v := w.ruledReply(j, s, c, d, f)
		if r == ends {
			return v
		}
		renews = r != givesUp
	}
	if c.Method() != conntrack.Masq && c.Method() != conntrack.Full {
		// It came by way of us, and goes on as the host wants.
		w.fromServer(j, s, c, d, renews)
		return passed
	}
	hop := w.hop(&c.Client)
	v, ok := w.routable(j, hop)
	full := c.Method() == conntrack.Full
	switch {
	case !ok:
		return v
	case w.cannotRewrite(c.Proto, c.DestPort, c.VirtualPort), full && w.cannotRewrite(c.Proto, w.pkt.DstPort, c.ClientPort):
		return drop(Fragment)
	}
	if v, ok = w.extended(j, c, hop, true); !ok {
		return v
	}
	w.fromServer(j, s, c, d, renews)
	j.next = c.Client
	w.takeHop(j)
	if full {
		ok = forward.FullOut(j.ip, j.l4, j.partial(), c)
	} else {
		ok = forward.MasqOut(j.ip, j.l4, j.proto, j.partial(), c)
	}
	if !ok {
		return drop(Truncated)
	}
	return w.send(j, hop, nil)
}

// fromServer counts a packet of the connection from its server d, which renews
// the connection or not. The shard s is locked.
func (w *Worker) fromServer(j *job, s *conntrack.Shard, c *conntrack.Conn, d *dest, renews bool) {
	n := w.counts.of(c.Server)
	n.OutPkts++
	n.OutBytes += uint64(w.bytes(j))
	w.e.table.CountOut(c, w.bytes(j))
	if !renews {
		return
	}
	before := c.State
	if d != nil {
		w.observe(c, d)
	}
	if d != nil || c.Method() == conntrack.Bypass {
		w.step(j, c, d, state.Output)
		if c.State != before && c.Method() == conntrack.Full {
			w.notePort(s, c, before)
		}
	}
	if c.Flags&conntrack.OnePacket == 0 { // else it is in no table
		s.Rearm(c, w.now)
	}
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
	if j.ip.TTL() <= 1 && !w.fromHost() {
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
	if j.flow && w.snap.locals.has(&w.pkt.Dst) {
		return w.hostAnswer(j) // to a port of a pool that no connection has, perhaps
	}
	if !has(w.snap.servers, from) || w.routes.Local(w.pkt.Dst) {
		return passed
	}
	complains := w.complainsTo(j, from)
	return w.routeOn(j, complains)
}

// complainsTo reports whether the packet, of no connection and from a real server's
// endpoint, is answered with port unreachable on its way (nat_icmp_send): that of a
// masquerading server, unless the packet ends its connection itself.
func (w *Worker) complainsTo(j *job, from Endpoint) bool {
	if !w.snap.settings.NATICMPSend || !w.e.opt.Guarded || !j.flow || w.ends(j) {
		return false
	}
	if _, ok := w.snap.masq[from]; ok {
		return true
	}
	from.Proto = 0
	_, ok := w.snap.masq[from]
	return ok
}

package nat

import (
	"vsnat/conntrack"
	"vsnat/conntrack/state"
	"vsnat/nat/forward"
	"vsnat/nat/wire"
	"vsnat/nic"
	"vsnat/sched"
)

// inbound deals with a packet of a protocol that services have to a VIP or with a mark (ip_vs_in in the kernel's
// ip_vs_core.c).
func (w *Worker) inbound(j *job) Verdict {
	p := w.pkt
	// Field by field: a literal is made elsewhere and copied.
	var key conntrack.Key
	key.Client, key.ClientPort = p.Src, p.SrcPort
	key.Virtual, key.VirtualPort, key.Proto = p.Dst, p.DstPort, p.Proto
	s := w.e.table.Shard(j.hash)
	s.Lock()
	v := w.inboundLocked(j, s, j.hash, &key)
	s.Unlock()
	if len(w.agreed) > 0 {
		w.expectAgreed()
	}
	return v
}

func (w *Worker) inboundLocked(j *job, s *conntrack.Shard, hash uint64, key *conntrack.Key) Verdict {
	c := s.In(hash, key)
	var d *dest
	var old conntrack.Ref
	var r ruling
	if c != nil && c.Method() == conntrack.Outbound {
		old, c = w.e.table.Ref(c), nil // was none of a service
	}
	if c != nil {
		d = w.e.destOf(w.snap, c.Server)
		w.watch.found(c, d, ClientSide)
		if f := d.doomed(); f != nil {
			var v Verdict
			if r, v = w.ruled(j, s, c, d, f); r == ends {
				return v
			}
		}
		if r == givesUp {
			w.watch.gaveUp(c, d, 0, true)
			old, c = w.e.table.Ref(c), nil
		} else if outlived, ends := w.outlived(j, c, d); r == rulesNot && outlived {
			// The new connection stands before the old one, which ends with its
			// timer's next tick (ip_vs_conn_expire_now).
			w.watch.gaveUp(c, d, w.snap.settings.ConnReuseMode, false)
			if ends {
				s.Arm(c, w.now, 0)
			}
			old, c = w.e.table.Ref(c), nil
		}
	}
	if c == nil {
		var v Verdict
		if c, v = w.schedule(j, s, hash, key, old); v == bypassing {
			c, v = w.bypass(j, s, hash, key, old)
		}
		if c == nil {
			return v
		}
		if r == givesUp && c.Why() == conntrack.Scheduled {
			c.SetWhy(conntrack.MovedByPolicy)
		}
		d = w.e.destOf(w.snap, c.Server)
	}
	if c.Method() != conntrack.Bypass && (d == nil || !d.available.Load() && r != keeps) {
		w.abandon(s, c, d)
		return drop(ServerGone)
	}
	j.server, j.toServer = c.Server, true
	full := c.Method() == conntrack.Full
	if full {
		if _, port := s.Local(c); port == 0 || finished(c) {
			if v, ok := w.local(j, s, c, d); !ok {
				return v
			}
		}
	}
	n := w.counts.of(c.Server)
	n.InPkts++
	n.InBytes += uint64(w.bytes(j))
	w.e.table.CountIn(c, w.bytes(j))
	before := c.State
	w.step(j, c, d, state.Input)
	if full && w.pkt.TCPFlags&wire.FIN != 0 {
		w.noteNext(j, s, c)
	}
	if full && c.State != before {
		w.notePort(s, c, before)
	}
	v := w.toServer(j, c, d)
	c.InPkts++
	if c.Flags&conntrack.OnePacket != 0 {
		w.settle(c, d)
	} else {
		s.Rearm(c, w.now)
	}
	return v
}

// abandon sees to it that a connection whose server was deleted while it was
// being made ends too.
func (w *Worker) abandon(s *conntrack.Shard, c *conntrack.Conn, d *dest) {
	switch {
	case c.Flags&conntrack.OnePacket != 0:
		w.settle(c, d)
	case c.Expires == 0:
		s.Arm(c, w.now, conntrack.FirstTimeout)
	}
}

// schedule makes a connection for a packet that has none, or says what becomes
// of the packet (ip_vs_schedule). old is the connection that was given up for
// it, if any. The shard s is locked; it may be unlocked for a while.
func (w *Worker) schedule(j *job, s *conntrack.Shard, hash uint64, key *conntrack.Key, old conntrack.Ref) (*conntrack.Conn, Verdict) {
	p := w.pkt
	svc := w.snap.service(w.mark(j), p)
	w.watch.asks(svc, p.DstPort)
	if svc == nil {
		v := w.hostAnswer(j)
		if !j.aboutError && v == passed && !w.snap.vips.has(&p.Dst) {
			v = w.stray(j, Endpoint{Proto: p.Proto, Addr: p.Src, Port: p.SrcPort})
		}
		return nil, v
	}
	switch may, torn := w.schedulable(j); {
	case torn:
		return nil, drop(Truncated)
	case !may:
		w.watch.because(BeginsNothing)
		return nil, w.hostAnswer(j)
	}
	if !foreign(&p.Src) || w.routes.Local(p.Src) {
		return nil, drop(Martian)
	}
	if w.sacrificed() {
		return nil, drop(Defence)
	}
	if p.SrcPort == ftpDataPort {
		// Active FTP's data port: never scheduled (ip_vs_schedule).
		w.watch.because(FromFTPData)
		return nil, w.hostAnswer(j)
	}
	spec := svc.spec.Load()
	if spec.Persistent {
		return w.persistent(j, s, hash, key, old, svc, spec)
	}
	if spec.Key.Mark == 0 && p.DstPort != spec.Key.Port {
		w.watch.because(OtherPort)
		return nil, w.noServer(j, spec)
	}
	svc.mu.Lock()
	defer svc.mu.Unlock()
	d, v := w.pick(j, svc, spec)
	if d == nil {
		return nil, v
	}
	c := w.connection(s, hash, key, spec, d)
	if c == nil {
		return nil, drop(TableFull)
	}
	d.bind()
	port := d.key.Port
	if port == 0 {
		port = p.DstPort
	}
	w.attach(j, c, d, port, conntrack.Scheduled)
	return c, Verdict{}
}

// pick has the scheduler choose a server for the packet. The service's mu is
// held.
func (w *Worker) pick(j *job, svc *service, spec *ServiceSpec) (*dest, Verdict) {
	if svc.deleted {
		w.watch.because(ServiceDeleted)
		return nil, w.hostAnswer(j)
	}
	p := w.pkt
	// The worker's own: a local one would be allocated, as Pick takes it through
	// an interface.
	w.req = sched.Request{Client: p.Src, Virtual: p.Dst, ClientPort: p.SrcPort, Flags: spec.Flags, Now: w.now}
	if j.aboutError {
		w.req.Virtual = p.Src // the kernel's schedulers take the destination of what is quoted
	}
	w.watch.weighs(svc, &w.req)
	srv := svc.sched.Pick(svc.list, &w.req)
	w.watch.picked(svc, srv)
	if srv == nil {
		return nil, w.noServer(j, spec)
	}
	d := w.e.destOf(w.snap, srv.ID)
	if d == nil || !d.Available {
		return nil, drop(ServerGone)
	}
	return d, Verdict{}
}

// attach gives a connection that the server has counted its server and the port
// there.
func (w *Worker) attach(j *job, c *conntrack.Conn, d *dest, port uint16, why conntrack.Why) {
	c.SetWhy(why)
	w.e.table.SetMark(c, w.mark(j))
	c.Server, c.Dest, c.DestPort = d.ID, d.key.Addr, port
	c.Flags |= d.connFlags()
	w.proxies(c, d.service.Load().spec.Load())
	w.giveHelper(c)
	w.counts.of(d.ID).Conns++
	w.watch.made(c, d)
}

// noServer answers a packet whose service has no server for it
// (ip_vs_leave). The service of FTP's control port is not the packet's for
// certain.
func (w *Worker) noServer(j *job, spec *ServiceSpec) Verdict {
	if w.bypasses(j, spec) {
		return bypassing
	}
	if spec.Key.Port == ftpPort && w.pkt.DstPort != ftpPort {
		return w.hostAnswer(j)
	}
	if j.aboutError {
		return drop(NoAnswer)
	}
	return w.answerError(j, w.pkt.Dst, portUnreachable, 0)
}

// step follows the connection's state machine over the packet, keeps the
// server's count of active connections, and tells the template that the server
// answers.
func (w *Worker) step(j *job, c *conntrack.Conn, d *dest, dir state.Dir) {
	timeouts := w.e.timeouts.Load()
	if c.Proto == ProtoUDP {
		if j.proto != ProtoUDP {
			return // IPsec's has no state
		}
		c.SetTimeout(timeouts.UDP)
		c.Flags &^= conntrack.GivenUp // its server is well again
		if dir == state.Output && c.Control != 0 {
			w.e.table.Assure(c.Control)
		}
		return
	}
	if c.Flags&conntrack.NoOutput != 0 {
		// The server's packets do not pass here, until one does.
		if dir == state.Output {
			c.Flags &^= conntrack.NoOutput
		} else {
			dir = state.InputOnly
		}
	}
	var next, established uint8
	if c.Proto == ProtoSCTP {
		ev, ok := j.sctpEvent()
		if !ok {
			return // says nothing; the timer starts again all the same
		}
		next, established = uint8(state.NextSCTP(dir, ev, state.SCTP(c.State))), uint8(state.SCTPEstablished)
	} else {
		next = uint8(state.NextTCP(w.snap.defences.secure, dir, state.TCPEvent(w.pkt.TCPFlags), state.TCP(c.State)))
		established = uint8(state.TCPEstablished)
	}
	c.SetTimeout(timeouts.Of(c.Proto, next))
	if next == c.State {
		return
	}
	c.State = next
	if next == established && c.Control != 0 {
		w.e.table.Assure(c.Control)
	}
	if d != nil { // else it is bypassed
		d.recount(c)
	}
}

// recount counts a connection whose state has changed as active, or not.
func (d *dest) recount(c *conntrack.Conn) {
	switch active := state.Active(c.Proto, c.State); {
	case active && c.Flags&conntrack.Inactive != 0:
		c.Flags &^= conntrack.Inactive
		d.Active.Add(1)
	case !active && c.Flags&conntrack.Inactive == 0:
		c.Flags |= conntrack.Inactive
		d.Active.Add(-1)
	}
}

// toServer sends the packet to its real server d: rewritten for it
// (ip_vs_nat_xmit), as it is (ip_vs_dr_xmit), or in a tunnel (ip_vs_tunnel_xmit).
// The checks come in the kernel's order.
func (w *Worker) toServer(j *job, c *conntrack.Conn, d *dest) Verdict {
	to := goal(c)
	hop := w.hop(&to)
	switch hop.State {
	case nic.HopNoRoute:
		return w.answerFor(j, c, hostUnreachable, 0)
	case nic.HopLocal:
		return w.toHost(j, c)
	}
	if j.ip.TTL() <= 1 {
		return w.answerFor(j, c, hopsExceeded, 0)
	}
	j.ip.DecTTL()
	j.next = to
	if c.Method() == conntrack.Tunnel {
		j.srcPort = w.tunnelPort(j.hash, c, d.tunnelType())
		return w.toTunnel(j, hop, d, c, true)
	}
	if j.length() > hop.MTU {
		switch {
		case j.ip.DontFragment():
			return w.answerFor(j, c, packetTooBig, hop.MTU)
		case !j.divisible():
			return drop(TooBig)
		}
		j.long = true
	}
	switch c.Method() {
	case conntrack.Masq:
		if w.cannotRewrite(c.Proto, c.VirtualPort, c.DestPort) {
			return drop(Fragment)
		}
		if v, ok := w.extended(j, c, hop, false); !ok {
			return v
		}
		if !forward.MasqIn(j.ip, j.l4, j.proto, j.partial(), c) {
			return drop(Truncated)
		}
	case conntrack.Full:
		local, port := w.e.table.HomeOf(c).Local(c)
		if w.cannotRewrite(c.Proto, c.ClientPort, port) {
			return drop(Fragment)
		}
		if c.Flags&(conntrack.Proxied|conntrack.InSeq) != 0 {
			if v, ok := w.extended(j, c, hop, false); !ok {
				return v
			}
		}
		if !forward.FullIn(j.ip, j.l4, j.partial(), c, local, port) {
			return drop(Truncated)
		}
	}
	return w.send(j, hop, c)
}

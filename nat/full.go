package nat

import (
	"vsnat/conntrack"
	"vsnat/nat/forward"
	"vsnat/nat/wire"
	"vsnat/nic"
)

// FullNAT: the server sees a connection of the director's own, from an address and
// port of a pool. Its packets come to that port, where nothing tells the client:
// the connection table's book of ports does. The connection itself is one of its
// client's as any other.

// local gives the connection to server d an address and port if it has none. It
// reports false and a verdict if there is none. The shard s is locked.
func (w *Worker) local(j *job, s *conntrack.Shard, c *conntrack.Conn, d *dest) (Verdict, bool) {
	if _, port := s.Local(c); port != 0 {
		if !finished(c) || s.HasPort(c) {
			return Verdict{}, true
		}
		// Another connection has it now. What begins anew gets another one.
		if c.Proto != ProtoTCP || w.pkt.TCPFlags&wire.SYN == 0 {
			return w.hostAnswer(j), false
		}
	}
	v, hop := drop(NoPort), w.hop(&c.Dest)
	if hop.State == nic.HopLocal {
		v = drop(ServerIsLocal)
	} else if w.takePort(j, s, c, w.snap.pools[d.poolName()], hop) {
		return Verdict{}, true
	}
	if c.Expires == 0 { // made for this packet
		d.unbind(c)
		s.Remove(c)
	}
	return v, false
}

// portOf is the port that a packet goes to, in the book of ports.
func portOf(p *wire.Packet) conntrack.PortKey {
	return conntrack.PortKey{Local: p.Dst, LocalPort: p.DstPort, Remote: p.Src, RemotePort: p.SrcPort, Proto: p.Proto}
}

// byPort finds the connection that has the port, whose hash is told, too. Its shard
// is locked then.
func (w *Worker) byPort(k *conntrack.PortKey, hash uint64) (*conntrack.Shard, *conntrack.Conn) {
	return w.onPort(k, w.e.table.Book().Find(hash))
}

// onPort is byPort where the book was asked already: ref is what it said.
func (w *Worker) onPort(k *conntrack.PortKey, ref conntrack.Ref) (*conntrack.Shard, *conntrack.Conn) {
	if ref == 0 {
		return nil, nil
	}
	s := w.e.table.Home(ref)
	s.Lock()
	if c := s.Get(ref); c != nil && s.IsPort(c, k) {
		return s, c
	}
	s.Unlock()
	return nil, nil
}

// homebound deals with a packet to a port that a connection has. It reports false
// if none has it.
func (w *Worker) homebound(j *job) (Verdict, bool) {
	k := portOf(w.pkt)
	s, c := w.byPort(&k, j.port)
	if c == nil {
		return Verdict{}, false
	}
	defer s.Unlock()
	if c.Method() == conntrack.Outbound {
		return w.backInside(j, s, c), true
	}
	return w.reply(j, s, c), true
}

// icmpHomebound deals with an ICMP message to an address that has ports of pools:
// an error about a packet that went out from one of them, or the answer to an echo
// request. It reports false if it is neither.
func (w *Worker) icmpHomebound(j *job) (Verdict, bool) {
	if id, request, ok := wire.EchoID(j.l4, j.proto); ok {
		if request {
			return Verdict{}, false
		}
		return w.echoReply(j, id)
	}
	var q wire.Packet
	if !j.isRelated() || !w.quoted(j, &q) {
		return Verdict{}, false
	}
	k := conntrack.PortKey{Local: q.Src, LocalPort: q.SrcPort, Remote: q.Dst, RemotePort: q.DstPort, Proto: q.Proto}
	if q.Proto == wire.ProtoICMP || q.Proto == wire.ProtoICMPv6 {
		k.LocalPort, _, _ = wire.EchoID(j.l4[q.L4:], q.Proto)
	}
	s, c := w.byPort(&k, w.e.table.Book().Hash(&k))
	if c == nil {
		return Verdict{}, false
	}
	defer s.Unlock()
	if w.pkt.Dst != q.Src {
		return drop(NoAnswer), true // not to where the packet came from
	}
	if !j.icmpChecksumOK() {
		return drop(BadICMPChecksum), true
	}
	hop := w.hop(&c.Client)
	if v, ok := w.routable(j, hop); !ok {
		return v, true
	}
	src := w.pkt.Src // a router on the way out is no secret
	if c.Method() == conntrack.Full {
		src = c.Virtual
		n := w.counts.of(c.Server)
		n.OutPkts++
		n.OutBytes += uint64(len(j.ip))
	}
	unmoveQuoted(j, &q, s.Ext(c))
	if !forward.FullErrorOut(j.ip, j.l4, &src, c) {
		return drop(Truncated), true
	}
	j.next = c.Client
	j.ip.DecTTL()
	j.f.VNet().Clear()
	return w.send(j, hop, nil), true
}

// errorToFull deals with an ICMP error about a packet that went from the VIP to the
// client of connection c, whose shard s is locked: for the server it is about its
// own packet to the director.
func (w *Worker) errorToFull(j *job, s *conntrack.Shard, c *conntrack.Conn, hop *nic.Hop) Verdict {
	local, port := s.Local(c)
	if port == 0 || !forward.FullErrorIn(j.ip, j.l4, c, local, port) {
		return drop(Truncated)
	}
	j.ip.DecTTL()
	j.f.VNet().Clear()
	return w.send(j, hop, nil)
}

// echoReply deals with the answer to an echo request of that identifier. It reports
// false if no connection has it: then the host asked.
func (w *Worker) echoReply(j *job, id uint16) (Verdict, bool) {
	k := conntrack.PortKey{Local: w.pkt.Dst, LocalPort: id, Remote: w.pkt.Src, Proto: j.proto}
	s, c := w.byPort(&k, w.e.table.Book().Hash(&k))
	if c == nil {
		return Verdict{}, false
	}
	defer s.Unlock()
	return w.backInside(j, s, c), true
}

// noteNext notes what the far end awaits after a FIN. The shard s is locked.
func (w *Worker) noteNext(j *job, s *conntrack.Shard, c *conntrack.Conn) {
	if w.pkt.Frag {
		return
	}
	t := wire.TCP(j.l4)
	if !t.IsValid() {
		return
	}
	seq := t.Seq()
	if x := s.Ext(c); x != nil {
		seq = x.In.Seq(seq)
	}
	s.NoteNext(c, seq+uint32(len(t)-t.HeaderLen())+1)
}

package nat

import (
	"vsnat/conntrack"
	"vsnat/nat/wire"
	"vsnat/nic"
)

// icmpInbound deals with an ICMP message to a VIP: an error about a packet
// that went from the VIP to a client concerns the real server that sent it
// (ip_vs_in_icmp). All else, echo above all, is the host's.
func (w *Worker) icmpInbound(j *job) Verdict {
	var q wire.Packet
	if !j.isRelated() || !w.quotedFlow(j, &q) {
		return passed
	}
	key := conntrack.Key{
		Client: q.Dst, ClientPort: q.DstPort,
		Virtual: q.Src, VirtualPort: q.SrcPort, Proto: connProto(&q),
	}
	hash := w.e.table.Hash(key.Proto, q.Dst, q.DstPort)
	s := w.e.table.Shard(hash)
	s.Lock()
	defer s.Unlock()
	c := s.In(hash, &key)
	if c == nil {
		return w.scheduleError(j, s, hash, &key, &q)
	}
	if c.Method() == conntrack.Outbound {
		return passed
	}
	w.watch.found(c, w.e.destOf(w.snap, c.Server), ClientSide)
	return w.errorToServer(j, s, hash, c)
}

// errorToServer sends an ICMP error on to the server of the connection that it is
// about (ip_vs_icmp_xmit). The connection's shard s is locked.
func (w *Worker) errorToServer(j *job, s *conntrack.Shard, hash uint64, c *conntrack.Conn) Verdict {
	masq, full := c.Method() == conntrack.Masq, c.Method() == conntrack.Full
	if (masq || full) && !j.icmpChecksumOK() {
		return drop(BadICMPChecksum)
	}
	n := w.counts.of(c.Server)
	n.InPkts++
	n.InBytes += uint64(len(j.ip))
	to := goal(c)
	hop := w.hop(&to)
	switch {
	case hop.State == nic.HopNoRoute:
		return drop(NoRouteOut)
	case hop.State == nic.HopLocal:
		return w.errorToHost(j, c)
	case j.ip.TTL() <= 1:
		return drop(NoAnswer)
	}
	j.next = to
	if full {
		return w.errorToFull(j, s, c, hop)
	}
	if !masq {
		c.InPkts++
		j.ip.DecTTL()
		if c.Method() == conntrack.Tunnel {
			d := w.e.destOf(w.snap, c.Server)
			j.srcPort = w.tunnelPort(hash, c, d.tunnelType())
			return w.toTunnel(j, hop, d, nil, false)
		}
		return w.send(j, hop, nil)
	}
	if !wire.RewriteErrorIn(j.ip, j.l4, &c.Dest, c.DestPort) {
		return drop(Truncated)
	}
	j.ip.DecTTL()
	j.f.VNet().Clear() // the checksum is complete now
	return w.send(j, hop, nil)
}

// icmpOutbound deals with an ICMP message that goes to no VIP: an error about
// a packet from a client to a real server reaches the client as if the VIP had
// sent it (ip_vs_out_icmp).
func (w *Worker) icmpOutbound(j *job) Verdict {
	// The guard keeps all errors about our packets from the host, those too that
	// IPVS leaves to it: IPv4's parameter problems.
	related := j.isRelated()
	var q wire.Packet
	if v, ok := w.icmpFromInside(j); ok {
		return v
	}
	if !related && !j.isParamProblem() || !w.quotedFlow(j, &q) {
		return passed
	}
	server := Endpoint{Proto: q.Proto, Addr: q.Dst, Port: q.DstPort}
	if !related {
		return w.stray(j, server)
	}
	proto := connProto(&q)
	hash := w.e.table.Hash(proto, q.Src, q.SrcPort)
	s := w.e.table.Shard(hash)
	s.Lock()
	defer s.Unlock()
	key := conntrack.Key{Client: q.Src, Virtual: q.Dst, ClientPort: q.SrcPort, VirtualPort: q.DstPort, Proto: proto}
	c := s.Out(conntrack.Hint{}, hash, &key)
	if c == nil {
		return w.stray(j, server)
	}
	if w.pkt.Dst != c.Client {
		// Not on its way to the client that the quoted packet came from.
		return passed
	}
	w.watch.found(c, w.e.destOf(w.snap, c.Server), ServerSide)
	if c.Method() != conntrack.Masq {
		n := w.counts.of(c.Server)
		n.OutPkts++
		n.OutBytes += uint64(len(j.ip))
		return w.stray(j, server)
	}
	if !j.icmpChecksumOK() {
		return drop(BadICMPChecksum)
	}
	hop := w.hop(&c.Client)
	if v, ok := w.routable(j, hop); !ok {
		return v
	}
	n := w.counts.of(c.Server)
	n.OutPkts++
	n.OutBytes += uint64(len(j.ip))
	unmoveQuoted(j, &q, s.Ext(c))
	if !wire.RewriteErrorOut(j.ip, j.l4, &c.Virtual, c.VirtualPort) {
		return drop(Truncated)
	}
	j.next = c.Client
	j.ip.DecTTL()
	j.f.VNet().Clear()
	return w.send(j, hop, nil)
}

// quoted reads the packet that the frame's ICMP error quotes, down to its ports.
// It reports false when there are none.
func (w *Worker) quoted(j *job, q *wire.Packet) bool {
	return !w.pkt.Frag && q.ParseQuoted(j.l4, wire.ICMPLen, w.pkt.V6) == wire.Parsed && (!q.Frag || q.FirstFrag)
}

// isRelated reports whether IPVS takes the ICMP message for one about a
// connection.
func (j *job) isRelated() bool {
	if j.ip.V6() {
		return wire.ICMPv6(j.l4).IsError()
	}
	return wire.ICMPv4(j.l4).IsRelated()
}

// isParamProblem reports whether the ICMP message is an IPv4 parameter problem.
func (j *job) isParamProblem() bool {
	return !j.ip.V6() && wire.ICMPv4(j.l4).Type() == wire.ICMPv4ParamProblem
}

// isICMPError reports whether the packet is an ICMP error, which no error may
// answer.
func (j *job) isICMPError() bool {
	switch j.proto {
	case wire.ProtoICMPv6:
		return wire.ICMPv6(j.l4).IsError()
	case wire.ProtoICMP:
		return wire.ICMPv4(j.l4).IsError()
	}
	return false
}

// icmpChecksumOK verifies the checksum of an ICMP message that is to be
// translated, unless it is still to be completed.
func (j *job) icmpChecksumOK() bool {
	switch {
	case j.partial():
		return true
	case j.ip.V6():
		return wire.ICMPv6(j.l4).ChecksumOK(j.ip.Src(), j.ip.Dst())
	}
	return wire.ICMPv4(j.l4).ChecksumOK()
}

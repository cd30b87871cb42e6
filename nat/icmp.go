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
	icmp := wire.ICMPv4(j.l4)
	if !icmp.IsRelated() || w.pkt.Frag {
		return passed
	}
	var q wire.Packet
	if r := q.ParseQuoted(icmp.Payload(), 0, false); r != wire.Parsed || q.Frag && !q.FirstFrag {
		return passed
	}
	key := conntrack.Key{
		Client: q.Dst, ClientPort: q.DstPort,
		Virtual: q.Src, VirtualPort: q.SrcPort, Proto: q.Proto,
	}
	hash := w.e.table.Hash(q.Proto, q.Dst, q.DstPort)
	s := w.e.table.Shard(hash)
	s.Lock()
	defer s.Unlock()
	c := s.In(hash, &key)
	if c == nil {
		return passed
	}
	masq := c.Method() == conntrack.Masq
	if masq && !j.partial() && !icmp.ChecksumOK() {
		return drop(BadICMPChecksum)
	}
	n := w.counts.of(c.Server)
	n.InPkts++
	n.InBytes += uint64(len(j.ip))
	hop := w.hop(c.Dest)
	switch {
	case hop.State == nic.HopNoRoute:
		return drop(NoRouteOut)
	case hop.State == nic.HopLocal:
		return drop(ServerIsLocal)
	case j.ip.TTL() <= 1:
		return drop(NoAnswer)
	}
	j.next = c.Dest
	if !masq {
		c.InPkts++
		j.ip.DecTTL()
		return w.send(j, hop, nil)
	}
	if !wire.RewriteQuotedSrc4(icmp, [4]byte(c.Dest[12:]), c.DestPort) {
		return drop(Truncated)
	}
	j.ip.DecTTL()
	j.ip.SetDst([4]byte(c.Dest[12:]))
	j.f.VNet().Clear() // the checksum is complete now
	return w.send(j, hop, nil)
}

// icmpOutbound deals with an ICMP message that goes to no VIP: an error about
// a packet from a client to a real server reaches the client as if the VIP had
// sent it (ip_vs_out_icmp).
func (w *Worker) icmpOutbound(j *job) Verdict {
	icmp := wire.ICMPv4(j.l4)
	// The guard keeps all errors about our packets from the host, those too that
	// IPVS leaves to it: parameter problems.
	related := icmp.IsRelated()
	if !related && icmp.Type() != wire.ICMPv4ParamProblem || w.pkt.Frag {
		return passed
	}
	var q wire.Packet
	if r := q.ParseQuoted(icmp.Payload(), 0, false); r != wire.Parsed || q.Frag && !q.FirstFrag {
		return passed
	}
	server := Endpoint{Proto: q.Proto, Addr: q.Dst, Port: q.DstPort}
	if !related {
		return w.stray(j, server)
	}
	hash := w.e.table.Hash(q.Proto, q.Src, q.SrcPort)
	s := w.e.table.Shard(hash)
	s.Lock()
	defer s.Unlock()
	c := s.Out(hash, q.Proto, q.Dst, q.DstPort, q.Src, q.SrcPort)
	if c == nil {
		return w.stray(j, server)
	}
	if w.pkt.Dst != c.Client {
		// Not on its way to the client that the quoted packet came from.
		return passed
	}
	if c.Method() != conntrack.Masq {
		n := w.counts.of(c.Server)
		n.OutPkts++
		n.OutBytes += uint64(len(j.ip))
		return w.stray(j, server)
	}
	if !j.partial() && !icmp.ChecksumOK() {
		return drop(BadICMPChecksum)
	}
	hop := w.hop(c.Client)
	if v, ok := w.routable(j, hop); !ok {
		return v
	}
	n := w.counts.of(c.Server)
	n.OutPkts++
	n.OutBytes += uint64(len(j.ip))
	if !wire.RewriteQuotedDst4(icmp, [4]byte(c.Virtual[12:]), c.VirtualPort) {
		return drop(Truncated)
	}
	j.next = c.Client
	j.ip.DecTTL()
	j.ip.SetSrc([4]byte(c.Virtual[12:]))
	j.f.VNet().Clear()
	return w.send(j, hop, nil)
}

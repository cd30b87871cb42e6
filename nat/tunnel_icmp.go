package nat

import (
	"sync/atomic"
	"syscall"

	"vsnat/conntrack"
	"vsnat/nat/forward"
	"vsnat/nat/wire"
)

// tunnelEnd names where the tunnel to an address ends.
func tunnelEnd(t forward.Tunnel, addr Addr) Endpoint {
	switch t.Type {
	case forward.GUE:
		return Endpoint{Proto: ProtoUDP, Addr: addr, Port: t.Port}
	case forward.GRE:
		return Endpoint{Proto: wire.ProtoGRE, Addr: addr}
	}
	return Endpoint{Proto: wire.ProtoIPIP, Addr: addr}
}

// checkTunnel makes the kernel's checks of a tunnel (ip_vs_add_dest and
// ip_vs_edit_dest in ip_vs_ctl.c), and refuses what it does not know.
func checkTunnel(op, subject string, spec *ServerSpec) error {
	t := &spec.Tunnel
	switch {
	case t.Type == forward.GUE && t.Port == 0:
		return refuse(op, subject, syscall.EINVAL, "a GUE tunnel has a port")
	case t.Type > forward.GRE:
		return refuse(op, subject, syscall.EINVAL, "a tunnel is ipip, gue or gre")
	}
	return nil
}

const (
	// leastPathMTU is what a path over IPv4 is taken to let pass whatever an ICMP
	// error says (net.ipv4.route.min_pmtu); over IPv6 it is leastMTU6.
	leastPathMTU = 552
	// pathMTUTime is how long an error's word counts (net.ipv4.route.mtu_expires).
	pathMTUTime = 600e9
)

// pathMTU is the longest packet that a tunnel's path lets pass, as routers on it
// have told.
type pathMTU struct {
	mtu   atomic.Uint32 // 0: nobody has told
	until atomic.Int64
}

// below returns the MTU where the first link has the one given.
func (p *pathMTU) below(link int, now int64) int {
	if m := p.mtu.Load(); m != 0 && int(m) < link && now < p.until.Load() {
		return int(m)
	}
	return link
}

// learn takes over what a router has told about a path over IPv6 or IPv4.
func (p *pathMTU) learn(mtu int, v6 bool, now int64) {
	least := leastPathMTU
	if v6 {
		least = leastMTU6
	}
	p.until.Store(now + pathMTUTime)
	p.mtu.Store(uint32(max(mtu, least)))
}

// tunnelError deals with an ICMP error about a packet of ours in a tunnel: the
// client hears it as if it were about its own (ip_vs_in_icmp). Anything else it
// passes.
func (w *Worker) tunnelError(j *job) Verdict {
	if !j.isRelated() || w.pkt.Frag || !w.routes.Local(w.pkt.Dst) {
		return passed
	}
	var q, in wire.Packet
	inner, to, ok := w.inTunnel(j, &q)
	if !ok || in.ParseQuoted(inner, 0, to.v6) != wire.Parsed || in.Frag && !in.FirstFrag {
		return passed
	}
	hash := w.e.table.Hash(in.Proto, in.Src, in.SrcPort)
	s := w.e.table.Shard(hash)
	s.Lock()
	defer s.Unlock()
	c := s.In(hash, &conntrack.Key{
		Client: in.Src, ClientPort: in.SrcPort, Virtual: in.Dst, VirtualPort: in.DstPort, Proto: in.Proto,
	})
	if c == nil || c.Method() != conntrack.Tunnel || c.Dest != q.Dst {
		return passed
	}
	d := w.e.destOf(w.snap, c.Server)
	switch {
	case d == nil:
		return drop(ServerGone)
	case !j.icmpChecksumOK():
		return drop(BadICMPChecksum)
	}
	orig := wire.IP(inner)
	mtu := j.toldMTU()
	if mtu >= 0 {
		d.pathMTU.learn(mtu, q.V6, w.now)
		if !orig.V6() && !orig.DontFragment() {
			return drop(NoAnswer) // the next one will be fragmented
		}
		if path, n := d.pathMTU.below(maxPacket, w.now), d.tunnel.overhead(&c.Dest); path > leastInside+n {
			mtu = path - n
		}
	} else if !w.mayAnswer(in.Src) {
		return drop(ICMPLimited)
	}
	f, room := w.answers.next()
	v := w.answerOrHold(f, w.retell(room, j, &in.Dst, mtu, orig), in.Src, j.i)
	if v == replied || v == holding {
		n := w.counts.of(c.Server)
		n.OutPkts++
		n.OutBytes += uint64(len(inner))
	}
	return v
}

// tunnelHeader is what is known of a quoted tunnel header.
type tunnelHeader struct {
	v6 bool // it is around an IPv6 packet
}

// inTunnel finds what is in the tunnel packet that the frame's ICMP error quotes,
// and reads that packet's header. ok is false if there is no such packet, or its
// tunnel is none of ours.
func (w *Worker) inTunnel(j *job, q *wire.Packet) (inner []byte, h tunnelHeader, ok bool) {
	r := q.ParseQuoted(j.l4, wire.ICMPLen, w.pkt.V6)
	if r != wire.Parsed && r != wire.OtherProtocol || q.Frag && !q.FirstFrag {
		return nil, h, false
	}
	end := Endpoint{Proto: q.Proto, Addr: q.Dst}
	payload := j.l4[q.L4:q.End]
	switch q.Proto {
	case ProtoUDP:
		end.Port = q.DstPort
		inner, h.v6, ok = forward.InGUE(payload)
	case wire.ProtoGRE:
		inner, h.v6, ok = forward.InGRE(payload)
	default:
		end.Proto = wire.ProtoIPIP
		inner, h.v6, ok = forward.InIPIP(q.Proto, payload)
	}
	if ok {
		_, ok = w.snap.tunnels[end]
	}
	return inner, h, ok
}

// toldMTU returns the MTU in an ICMP error that says that a packet was too long,
// and -1 for other errors.
func (j *job) toldMTU() int {
	if j.ip.V6() {
		if m := wire.ICMPv6(j.l4); m.Type() == wire.ICMPv6PacketTooBig {
			return int(m.MTU())
		}
		return -1
	}
	if m := wire.ICMPv4(j.l4); m.Type() == wire.ICMPv4DstUnreachable && m.Code() == wire.ICMPv4FragNeeded {
		return m.MTU()
	}
	return -1
}

// retell writes the error that the client hears about its packet orig, from src,
// to the start of room, and returns its length: the one in the frame with the MTU
// given, if that is not -1. Where the tunnel is of the other family, it is
// unreachable (RFC 2473, section 8).
func (w *Worker) retell(room []byte, j *job, src *Addr, mtu int, orig wire.IP) int {
	switch {
	case mtu >= 0:
		return w.writeError(room, src, packetTooBig, mtu, orig)
	case orig.V6() != j.ip.V6():
		return w.writeError(room, src, hostUnreachable, 0, orig)
	case orig.V6():
		m := wire.ICMPv6(j.l4)
		return wire.BuildICMPv6Error(room, *src, m.Type(), m.Code(), m.Rest(), wire.IPv6(orig))
	}
	m := wire.ICMPv4(j.l4)
	w.answers.ipID++
	return wire.BuildICMPv4Error(room, [4]byte(src[12:]), w.answers.ipID, m.Type(), m.Code(), m.Rest(), wire.IPv4(orig))
}

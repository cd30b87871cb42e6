package nat

import (
	"syscall"

	"vsnat/conntrack"
	"vsnat/conntrack/state"
	"vsnat/nat/forward"
	"vsnat/nat/wire"
	"vsnat/nic"
)

// The PROXY protocol: a server is told its client's address in a header before the
// first byte of the client's stream. The header is a segment of its own, so that the
// client's segments stay as they are, super-frames and segments as long as the link
// takes among them; but for their sequence numbers, which are moved by the header's
// length.
//
// The header takes the place of the acknowledgment that ends the handshake, so that
// servers that speak first have it too. It goes again before whatever else begins at
// the first byte until the server has acknowledged it: if it was lost, the server
// acknowledges the beginning, and the client sends again from there.

// proxies notes that the connection, of a packet that begins it, has a header. Its
// shard is locked.
func (w *Worker) proxies(c *conntrack.Conn, spec *ServiceSpec) {
	if spec.ProxyProtocol != On || c.Proto != ProtoTCP || w.pkt.TCPFlags&(wire.SYN|wire.ACK) != wire.SYN {
		return
	}
	if m := c.Method(); m == conntrack.Masq || m == conntrack.Full {
		w.e.table.HomeOf(c).Extend(c)
		c.Flags |= conntrack.Proxied
	}
}

// proxyEdge translates what a server acknowledges.
type proxyEdge struct {
	first uint32 // sequence number of the client's first byte, as it counts
	after uint32 // how far its stream is moved
	size  uint32 // of the header
}

func edgeOf(c *conntrack.Conn, x *conntrack.Ext) proxyEdge {
	return proxyEdge{x.In.Pos + 1, uint32(x.In.After), uint32(wire.ProxyLen(&c.Client))}
}

// ack returns an acknowledgment or the edge of a SACK block as the client counts. The
// header, and a part of it, is nothing of the client's.
func (e proxyEdge) ack(n uint32) uint32 {
	n -= e.after
	if e.first-n <= e.size {
		return e.first
	}
	return n
}

// done reports whether the server has acknowledged the header.
func (e proxyEdge) done(n uint32) bool { return int32(n-e.after-e.first) >= 0 }

// proxyRequest deals with a segment from the client of a connection that has a header.
// hop is the way to the server. It is as [Worker.extended].
func (w *Worker) proxyRequest(j *job, c *conntrack.Conn, x *conntrack.Ext, hop *nic.Hop) (Verdict, bool) {
	t := wire.TCP(j.l4)
	if !t.IsValid() {
		return drop(Truncated), false
	}
	size := int32(wire.ProxyLen(&c.Client))
	// A SYN in the midst of a connection begins nothing: whoever sent it, the server
	// answers that it goes on (RFC 5961, section 4).
	if t.Flags()&(wire.SYN|wire.ACK) == wire.SYN && (t.Seq() == x.In.Pos || state.TCP(c.State) == state.TCPSynRecv) {
		c.Flags &^= conntrack.ProxyDone
		anew(c, x, t)
		x.In.Pos, x.In.After = t.Seq(), x.In.Before+size
		if len(t) > t.HeaderLen() && !w.trimSYN(j) {
			return drop(Fragment), false
		}
		t = wire.TCP(j.l4)
		if x.In.Before != 0 {
			t.DropTimestamps(j.partial())
			t.MoveSeq(x.In.Seq(t.Seq()), j.partial())
		}
		return Verdict{}, true
	}
	if c.Flags&conntrack.ProxyDone == 0 && t.Seq() == x.In.Pos+1 && t.Flags()&(wire.RST|wire.ACK) == wire.ACK {
		switch {
		case w.pkt.Frag:
			return drop(Fragment), false
		case !w.checksumOK(j):
			return drop(BadChecksum), false // the header would have a right one
		}
		f, n := w.proxySegment(j, c, x, t)
		if f == nil {
			return drop(TooBig), false
		}
		if len(t) == t.HeaderLen() && t.Flags()&wire.FIN == 0 {
			// In place of a segment that only acknowledges.
			j.f, j.eth = f, f.Eth()
			j.ip, j.l4 = wire.IP(j.eth[w.pkt.L3:]), j.eth[w.pkt.L4:]
			return Verdict{}, true
		}
		w.sendFirst(j, c, f, n, hop)
	}
	t.MoveSeq(x.In.Seq(t.Seq()), j.partial())
	return Verdict{}, true
}

// proxyReply deals with a segment from the server of such a connection.
func (w *Worker) proxyReply(j *job, c *conntrack.Conn, x *conntrack.Ext) (Verdict, bool) {
	t := wire.TCP(j.l4)
	if !t.IsValid() {
		return drop(Truncated), false
	}
	if t.Flags()&wire.ACK == 0 {
		return Verdict{}, true
	}
	e := edgeOf(c, x)
	if t.Flags()&wire.SYN != 0 {
		t.MoveAck(t.Ack()-uint32(x.In.Before), j.partial())
		return Verdict{}, true
	}
	if e.done(t.Ack()) {
		c.Flags |= conntrack.ProxyDone
	}
	t.MoveAck(e.ack(t.Ack()), j.partial())
	if t.HeaderLen() > wire.TCPMinLen && !t.MoveSACK(e.ack, j.partial()) {
		return drop(Truncated), false
	}
	return Verdict{}, true
}

// trimSYN takes off a SYN the data that it carries (TCP fast open): the header must
// come first. The client sends them again when it sees that only the SYN was
// acknowledged (RFC 7413, section 4.2.1). It reports false if it cannot.
func (w *Worker) trimSYN(j *job) bool {
	if w.pkt.Frag {
		return false
	}
	t := wire.TCP(j.l4)
	old, end := len(t), w.pkt.L4+t.HeaderLen()
	j.f.Buf = j.f.Buf[:nic.VNetHdrLen+end]
	j.eth = j.f.Eth()
	partial, payload := j.partial(), t[t.HeaderLen():]
	sum := wire.Sum(payload, 0)
	j.ip, j.l4 = wire.IP(j.eth[w.pkt.L3:end]), j.eth[w.pkt.L4:end]
	t = wire.TCP(j.l4)
	j.ip.SetTotalLen(len(j.ip))
	if partial {
		t.Resized(old, 0, true)
	} else {
		t.Shortened(old, sum)
	}
	j.f.VNet().Whole()
	return true
}

// proxySegment makes a frame with the header out of the segment t of the frame, of
// which it has all headers. n is the length of its transport segment; but for
// addresses and ports it is ready. It returns nil if there is no room.
func (w *Worker) proxySegment(j *job, c *conntrack.Conn, x *conntrack.Ext, t wire.TCP) (f *nic.Frame, n int) {
	head := w.pkt.L4 + t.HeaderLen()
	size := wire.ProxyLen(&c.Client)
	f = w.pieces.next(head + size - wire.EthernetLen)
	if f == nil {
		return nil, 0
	}
	buf := f.Buf
	*f = *j.f
	f.Buf, f.WireLen = buf, head+size
	eth := f.Eth()
	copy(eth, j.eth[:head])
	wire.PutProxy(eth[head:], &c.Client, c.ClientPort, &c.Virtual, c.VirtualPort)
	ip, h := wire.IP(eth[w.pkt.L3:]), wire.TCP(eth[w.pkt.L4:])
	ip.SetTotalLen(len(ip))
	h.SetFlags(wire.ACK | wire.PSH)
	h.SetSeq(x.In.Pos + 1 + uint32(x.In.Before))
	h.SetChecksum(0)
	h.SetChecksum(^wire.Fold(wire.Sum(h, ip.PseudoSum(ProtoTCP, len(h)))))
	f.VNet().Clear()
	return f, len(h)
}

// sendFirst sends the header before the frame that it was made of. While the server's
// link-layer address is not known it does not wait with that: the server will ask
// for it.
func (w *Worker) sendFirst(j *job, c *conntrack.Conn, f *nic.Frame, n int, hop *nic.Hop) {
	if hop.State != nic.HopResolved && hop.State != nic.HopLocal {
		return
	}
	h := &w.first
	*h = *j
	h.f, h.eth, h.long = f, f.Eth(), false
	h.ip = wire.IP(h.eth[w.pkt.L3:])
	h.l4 = h.eth[len(h.eth)-n:]
	if c.Method() == conntrack.Full {
		local, port := w.e.table.HomeOf(c).Local(c)
		forward.FullIn(h.ip, h.l4, false, c, local, port)
	} else {
		forward.MasqIn(h.ip, h.l4, ProtoTCP, false, c)
	}
	if hop.State == nic.HopLocal {
		w.handOver(h)
	} else {
		w.send(h, hop, nil)
	}
	w.out[len(w.out)-1].Second = true
}

// SetProxyProtocol has new connections of a service have a PROXY header, or none.
func (tx *Tx) SetProxyProtocol(k ServiceKey, on bool) error {
	is := tx.find(k)
	if is == nil {
		return refuse("set-proxy-protocol", k, syscall.ESRCH, "there is no such service")
	}
	spec := *is.wanted()
	if spec.ProxyProtocol = Off; on {
		spec.ProxyProtocol = On
	}
	if err := checkProxy("set-proxy-protocol", &spec); err != nil {
		return err
	}
	if tx.rehearsal != nil {
		tx.draft(k).spec.ProxyProtocol = spec.ProxyProtocol
		return nil
	}
	s := tx.e.service(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spec.Store(&spec)
	return nil
}

// checkProxy refuses the header where there is no stream that it could begin.
func checkProxy(op string, spec *ServiceSpec) error {
	if spec.ProxyProtocol == On && spec.Key.Mark == 0 && spec.Key.Proto != ProtoTCP {
		return refuse(op, spec.Key, syscall.EINVAL, "the PROXY protocol is for TCP")
	}
	return nil
}

package nat

import (
	"vsnat/conntrack"
	"vsnat/conntrack/state"
	"vsnat/nat/forward"
	"vsnat/nat/wire"
	"vsnat/nic"
)

// Helpers read the payload of connections to their ports, and the engine does
// what they ask for (ip_vs_app_pkt_in and ip_vs_app_pkt_out in
// net/netfilter/ipvs/ip_vs_app.c). Which there are and where is in helpers.go;
// what they expect becomes connections in expect.go.

// giveHelper has a new masquerading connection's payload read if its virtual port
// is one of a helper's. Its shard is locked.
func (w *Worker) giveHelper(c *conntrack.Conn) {
	if c.Method() != conntrack.Masq || c.Flags&(conntrack.OnePacket|conntrack.Proxied) != 0 {
		return
	}
	if n := w.snap.helpers.of(c.Proto, c.VirtualPort); n != 0 {
		w.e.table.HomeOf(c).Extend(c).Helper = n
		c.Flags |= conntrack.NFCT
	}
}

// extended deals with a packet of a masquerading or FullNAT connection that may be more than
// addresses and ports: its helper looks at it, and its sequence numbers are put
// right. hop is where it goes. It reports false and a verdict if it goes no
// further. The connection's shard is locked.
func (w *Worker) extended(j *job, c *conntrack.Conn, hop *nic.Hop, fromServer bool) (Verdict, bool) {
	if !c.Extended() {
		return Verdict{}, true
	}
	x := w.e.table.HomeOf(c).Ext(c)
	switch {
	case c.Flags&conntrack.Proxied == 0:
	case fromServer:
		return w.proxyReply(j, c, x)
	default:
		return w.proxyRequest(j, c, x, hop)
	}
	this, other := &x.In, &x.Out
	if fromServer {
		this, other = other, this
	}
	if j.proto != ProtoTCP {
		if x.Helper != 0 && !w.pkt.Frag && wire.UDP(j.l4).IsValid() {
			w.segment(c, x, this, other, fromServer)
			w.seg.Open, w.seg.Payload = true, wire.UDP(j.l4).Payload()
			w.consult(c, x.Helper)
		}
		return Verdict{}, true
	}
	tcp := wire.TCP(j.l4)
	if !tcp.IsValid() {
		return drop(Truncated), false
	}
	begins := !fromServer && tcp.Flags()&(wire.SYN|wire.ACK) == wire.SYN && state.TCP(c.State) == state.TCPSynRecv
	if begins {
		if anew(c, x, tcp); c.Flags&conntrack.InSeq != 0 {
			tcp.DropTimestamps(j.partial())
		}
	}
	helped := x.Helper != 0 && !w.pkt.Frag
	if helped {
		if !w.checksumOK(j) {
			return drop(BadChecksum), false
		}
		w.segment(c, x, this, other, fromServer)
		s := &w.seg
		s.Begins, s.Open = begins, state.TCP(c.State) == state.TCPEstablished
		s.Payload = tcp.Payload()
		s.Seq, s.Ack, s.HasAck = tcp.Seq(), tcp.Ack(), tcp.Flags()&wire.ACK != 0
		if tcp.Flags()&wire.SYN != 0 {
			s.Seq++
		}
		w.consult(c, x.Helper)
		if v, ok := w.reshape(j, hop); !ok {
			return v, false
		}
		tcp = wire.TCP(j.l4)
		if s.MoveSeq {
			tcp.MoveSeq(s.SeqTo, j.partial())
		}
	}
	if (this.Moves() || other.Moves()) && !forward.AdjustSeq(tcp, j.partial(), this, other) {
		return drop(Truncated), false
	}
	if helped && w.seg.MoveAck {
		tcp.MoveAck(w.seg.AckTo, j.partial())
	}
	return Verdict{}, true
}

// segment makes w.seg ready for a packet of the connection.
func (w *Worker) segment(c *conntrack.Conn, x *conntrack.Ext, this, other *conntrack.SeqAdj, fromServer bool) {
	s := &w.seg
	s.Reset()
	s.FromServer, s.Conn, s.Ref = fromServer, c, w.e.table.Ref(c)
	s.State, s.Lines, s.Now = &x.HelperState, &w.e.lines, w.now
	s.This, s.Other, s.Taken = this, other, w.taken
}

// consult has the helper of that number look at the packet in w.seg, and does what
// it wants of the connection.
func (w *Worker) consult(c *conntrack.Conn, number uint8) {
	s := &w.seg
	helpers[number-1].Packet(s)
	n := &w.e.helped[number-1]
	if s.Replaced {
		n.changed.Add(1)
	}
	if s.Refused > 0 {
		n.refused.Add(uint64(s.Refused))
	}
	if s.ServerPort != 0 {
		c.DestPort = s.ServerPort
	}
	if s.AwaitPort {
		c.Flags |= conntrack.AnyDPort
	}
	for _, e := range s.Expected[:s.Expects] {
		w.agree(c, number, e)
	}
}

// reshape changes the payload of a TCP segment as the helper wants it, its
// lengths and its checksum. Addresses and sequence numbers come later.
func (w *Worker) reshape(j *job, hop *nic.Hop) (Verdict, bool) {
	s := &w.seg
	had := len(s.Payload)
	keep := had
	if s.Keep >= 0 && s.Keep < had {
		if keep = s.Keep; keep == 0 {
			return drop(HelperWaits), false
		}
	} else if !s.Replaced {
		return Verdict{}, true
	}
	size := keep
	if s.Replaced {
		size += s.New - s.Old
	}
	oldLen, start := len(j.l4), w.pkt.L4+len(j.l4)-had // of the payload in the frame
	if !w.resize(j, start+size) {
		return drop(TooBig), false
	}
	payload := j.f.Eth()[start:]
	if s.Replaced {
		copy(payload[s.Off+s.New:size], payload[s.Off+s.Old:keep])
		copy(payload[s.Off:], s.Text[:s.New])
	}
	j.f.Buf = j.f.Buf[:nic.VNetHdrLen+start+size]
	j.eth = j.f.Eth()
	j.ip, j.l4 = wire.IP(j.eth[w.pkt.L3:]), j.eth[w.pkt.L4:]
	j.ip.SetTotalLen(len(j.ip))
	tcp, vnet := wire.TCP(j.l4), j.f.VNet()
	tcp.Resized(oldLen, j.ip.PseudoSum(ProtoTCP, len(j.l4)), vnet.Partial())
	if keep < had {
		tcp.ClearFIN(vnet.Partial())
	}
	if vnet.GSOType() != nic.VNetGSONone && size <= int(vnet.GSOSize()) {
		vnet.Whole()
	}
	if size > had && j.length() > hop.MTU {
		w.overlong(j, hop)
	}
	return Verdict{}, true
}

// resize sees to it that the frame has room for n bytes from the Ethernet header
// on, and is at least that long. A frame without room moves to the worker's own
// memory.
func (w *Worker) resize(j *job, n int) bool {
	buf := j.f.Buf
	need := max(nic.VNetHdrLen+n, len(buf))
	if n-w.pkt.L3 > 65535 {
		return false
	}
	if need <= cap(buf) {
		j.f.Buf = buf[:need]
		return true
	}
	f := w.pieces.next(need - nic.VNetHdrLen - wire.EthernetLen)
	if f == nil {
		return false
	}
	copy(f.Buf, buf)
	moved := *j.f
	moved.Buf = f.Buf
	*f = moved
	j.f = f
	return true
}

// overlong deals with a TCP packet that has become longer than the next link
// takes: it leaves in fragments if it may, and else as a super-frame, which whoever
// sends it makes two segments of.
func (w *Worker) overlong(j *job, hop *nic.Hop) {
	if j.divisible() {
		j.long = true
		return
	}
	tcp := wire.TCP(j.l4)
	head := w.pkt.L4 - w.pkt.L3 + tcp.HeaderLen()
	size := hop.MTU - head
	if size <= 0 || j.f.VNet().GSOType() != nic.VNetGSONone {
		return // the NIC refuses it
	}
	j.f.VNet().Segment(w.pkt.V6, w.pkt.L3+head, w.pkt.L4, size)
	tcp.SetChecksum(wire.Fold(j.ip.PseudoSum(ProtoTCP, len(j.l4))))
}

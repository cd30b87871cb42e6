package nat

import (
	"encoding/binary"

	"vsnat/conntrack"
	"vsnat/conntrack/state"
	"vsnat/nat/forward"
	"vsnat/nat/wire"
	"vsnat/nic"
)

// The express way: nearly all packets are plain ones of connections that are
// established and stay so, to or from a server that is well, by way of a next hop that
// is known. Nothing is decided about them that judge.go's way would not decide; it
// has only been decided beforehand, and what need not be asked is not. Whatever is not
// so in the least is left to that way, untouched. A packet that somebody watches always
// goes there.

// express is what a batch's plain packets have in common.
type express struct {
	open     bool // there may be plain packets
	tcp, udp conntrack.Deadline
}

// setOut makes the way ready for a batch.
func (w *Worker) setOut() {
	// By a mark any packet may be a client's, and the host's own need no hop.
	x := &w.express
	x.open = !w.explains && w.traces.all == nil && len(w.snap.rules) == 0 && !w.fromHost() && !w.general
	if x.open {
		t := w.e.timeouts.Load()
		x.tcp = conntrack.In(w.now, t.TCP[state.TCPEstablished])
		x.udp = conntrack.In(w.now, t.UDP)
	}
}

// aside are the connections that the express way leaves alone.
const aside = conntrack.Template | conntrack.OnePacket | conntrack.NoCPort | conntrack.GivenUp |
	conntrack.AnyDPort | conntrack.Proxied | conntrack.InSeq | conntrack.OutSeq

// passOn sends a plain packet on. It reports false, and has changed nothing but what is
// noted, if it is none for the express way.
func (w *Worker) passOn(i int, q *plain, f *nic.Frame) bool {
	if q.home {
		k := q.portKey()
		s, c := w.onPort(&k, conntrack.Ref(w.ports[q.found]))
		if c == nil {
			return false
		}
		if f.Time < w.oldest.time {
			w.notePlain(i, f, c)
		}
		ok := c.Method() == conntrack.Full && w.onwardOut(i, q, f, s, c)
		s.Unlock()
		return ok
	}
	s, ok := w.e.table.Shard(q.hash), false
	s.Lock()
	if q.in {
		if c := s.Known(w.hints[q.found], q.hash, &q.key); c != nil {
			if f.Time < w.oldest.time {
				w.notePlain(i, f, c)
			}
			ok = w.onwardIn(i, q, f, s, c)
		}
	} else if c := s.Out(w.hints[q.found], q.hash, &q.key); c != nil && c.Method() == conntrack.Masq && !c.Extended() {
		if f.Time < w.oldest.time {
			w.notePlain(i, f, c)
		}
		ok = w.onwardOut(i, q, f, s, c)
	}
	s.Unlock()
	return ok
}

// onwardIn sends a packet of connection c from its client on. The shard s is locked.
func (w *Worker) onwardIn(i int, q *plain, f *nic.Frame, s *conntrack.Shard, c *conntrack.Conn) bool {
	d := w.wellServed(c)
	if d == nil || !d.available.Load() {
		return false
	}
	hop, method := w.hop(&c.Dest), c.Method()
	if hop.State != nic.HopResolved || method != conntrack.Tunnel && !q.fits(f, hop.MTU) {
		return false
	}
	switch method {
	case conntrack.Masq:
		if c.Extended() {
			return false
		}
		q.rewrite(f, &c.Client, c.ClientPort, &c.Dest, c.DestPort)
	case conntrack.Full:
		local, port := s.Local(c)
		if port == 0 {
			return false
		}
		q.rewrite(f, local, port, &c.Dest, c.DestPort)
	case conntrack.Direct:
		wire.IP(f.Buf[plainIP:]).DecTTL()
	case conntrack.Tunnel:
		if !w.wrapPlain(q, f, hop, d, c) {
			return false
		}
	default:
		return false
	}
	n := w.counts.of(c.Server)
	n.InPkts++
	n.InBytes += uint64(q.length)
	w.e.table.CountIn(c, uint32(q.length))
	c.InPkts++
	w.depart(i, q, f, hop, s, c)
	return true
}

// onwardOut sends a packet of connection c from its server, which is masquerading or
// FullNAT, on. The shard s is locked.
func (w *Worker) onwardOut(i int, q *plain, f *nic.Frame, s *conntrack.Shard, c *conntrack.Conn) bool {
	if w.wellServed(c) == nil {
		return false
	}
	hop := w.hop(&c.Client)
	if hop.State != nic.HopResolved || !q.fits(f, hop.MTU) {
		return false
	}
	q.rewrite(f, &c.Virtual, c.VirtualPort, &c.Client, c.ClientPort)
	n := w.counts.of(c.Server)
	n.OutPkts++
	n.OutBytes += uint64(q.length)
	w.e.table.CountOut(c, uint32(q.length))
	if c.Proto == ProtoUDP && c.Control != 0 {
		w.e.table.Assure(c.Control)
	}
	w.depart(i, q, f, hop, s, c)
	return true
}

// wrapPlain puts the packet into the tunnel to server d if it fits as it is.
func (w *Worker) wrapPlain(q *plain, f *nic.Frame, hop *nic.Hop, d *dest, c *conntrack.Conn) bool {
	t, over4 := d.tunnel.load(), is4(&c.Dest)
	n := t.Overhead(!over4)
	vnet := binary.LittleEndian.Uint16(f.Buf) // flags and type of a super-frame
	if q.length+n > d.pathMTU.below(hop.MTU, w.now) || q.length+n > maxPacket || vnet&^nic.VNetDataValid != 0 ||
		hop.Src == (Addr{}) || w.tunnels.frames == nil || !f.Prepend(n) {
		return false
	}
	if end := plainIP + n + q.length; end < len(f.Buf) {
		f.Buf = f.Buf[:end]
	}
	f.VNet().Clear()
	head, ip := f.Buf[plainIP:], wire.IP(f.Buf[plainIP+n:])
	ip.DecTTL()
	pmtu, port := w.snap.settings.PMTUDisc, uint16(0)
	if t.Type == forward.GUE {
		port = w.tunnelPort(q.hash, c, t.Type)
	}
	if over4 && t.Flags == 0 {
		df, id := !q.v6 && pmtu && wire.IPv4(ip).DontFragment(), uint16(0)
		if !df {
			id = uint16(w.nextID())
		}
		t.PutPlain4(head, n, binary.BigEndian.Uint32(hop.Src[12:]), binary.BigEndian.Uint32(c.Dest[12:]), df, id, port)
		binary.LittleEndian.PutUint16(f.Buf[plainEthType:], etherIPv4)
	} else {
		o := &w.tunnels.outer
		o.Around(ip, t, &hop.Src, &c.Dest, pmtu)
		if o.SrcPort = port; !o.DF {
			o.ID = uint16(w.nextID())
		}
		o.Put(head, nil)
		wire.Ethernet(f.Buf[nic.VNetHdrLen:]).SetType(wire.IP(head).EtherType())
	}
	return true
}

// wellServed returns the connection's server if that is well and a plain packet is
// none that the connection has to be asked about: it stays in its state.
func (w *Worker) wellServed(c *conntrack.Conn) *dest {
	if c.Flags&aside != 0 || c.Proto == ProtoTCP && state.TCP(c.State) != state.TCPEstablished {
		return nil
	}
	d := w.snap.dest(c.Server)
	if d == nil || d.doom.Load() != nil {
		return nil
	}
	return d
}

// depart sends a packet that is ready, but for its link-layer addresses, and renews its
// connection c. The shard s is locked.
func (w *Worker) depart(i int, q *plain, f *nic.Frame, hop *nic.Hop, s *conntrack.Shard, c *conntrack.Conn) {
	q.server = c.Server
	if c.Proto == ProtoUDP {
		s.ArmAs(c, &w.express.udp)
	} else {
		s.ArmAs(c, &w.express.tcp)
	}
	wire.Ethernet(f.Buf[nic.VNetHdrLen:]).SetAddrs(&hop.DstMAC, &hop.SrcMAC)
	w.goes(f, hop, i)
}

// rewrite takes one hop off the packet and sets both of its ends.
func (q *plain) rewrite(f *nic.Frame, src *Addr, sport uint16, dst *Addr, dport uint16) {
	ip, partial, ports := f.Buf[plainIP:], f.Buf[0]&nic.VNetNeedsCsum != 0, uint32(sport)<<16|uint32(dport)
	if q.v6 {
		wire.Onward6(ip, q.key.Proto, partial, src, dst, ports)
		return
	}
	wire.Onward4(ip, q.key.Proto, partial, binary.BigEndian.Uint32(src[12:]), binary.BigEndian.Uint32(dst[12:]), ports)
}

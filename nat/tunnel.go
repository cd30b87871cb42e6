package nat

import (
	"encoding/binary"
	"sync/atomic"

	"vsnat/conntrack"
	"vsnat/nat/forward"
	"vsnat/nat/wire"
	"vsnat/nic"
)

// Tunnels: the client's packet goes to the real server whole, behind a header of
// the director's (ip_vs_tunnel_xmit in net/netfilter/ipvs/ip_vs_xmit.c).
//
// The header goes before the packet where it lies. Super-frames are segmented here
// (tunnel_segments.go), as no packet socket takes one in a tunnel. What is said
// about the tunnel's packets on their way is in tunnel_icmp.go.

// tunnelSetting is a server's [forward.Tunnel], changed by control and read by
// workers.
type tunnelSetting struct{ v atomic.Uint32 }

func (s *tunnelSetting) store(t forward.Tunnel) {
	s.v.Store(uint32(t.Type)<<24 | uint32(t.Flags)<<16 | uint32(t.Port))
}

func (s *tunnelSetting) load() forward.Tunnel {
	v := s.v.Load()
	return forward.Tunnel{Type: forward.TunnelType(v >> 24), Flags: forward.TunnelFlags(v >> 16), Port: uint16(v)}
}

// tunnelType returns that of the server's tunnel; d may be nil.
func (d *dest) tunnelType() forward.TunnelType {
	if d == nil {
		return forward.IPIP
	}
	return d.tunnel.load().Type
}

// overhead is that of the tunnel to an address.
func (s *tunnelSetting) overhead(to *Addr) int {
	t := s.load()
	return t.Overhead(!is4(to))
}

// tunnels is what a worker needs for them. Its memory is allocated when the first
// server with a tunnel comes.
type tunnels struct {
	outer forward.Outer
	id    uint32 // of packets that may be fragmented
	segmentPool
}

func (w *Worker) setUpTunnels() {
	w.tunnels.init()
	// Workers have the same addresses: they begin with different numbers.
	w.tunnels.id = uint32(w.e.table.Hash(0, Addr{}, uint16(w.e.tunnelIDs.Add(1))))
	out := make([]Out, len(w.out), cap(w.out)+segmentSlots)
	copy(out, w.out)
	w.out = out
}

// nextID returns an identification for a packet that may be fragmented.
func (w *Worker) nextID() uint32 {
	w.tunnels.id++
	return w.tunnels.id
}

// tunnelPort returns the port that the connection's datagrams come from in a tunnel of
// that type, if that has any: all from one, so that they stay in order, and other connections'
// from others (udp_flow_src_port in include/net/udp.h). hash is of its client.
func (w *Worker) tunnelPort(hash uint64, c *conntrack.Conn, t forward.TunnelType) uint16 {
	if t != forward.GUE {
		return 0
	}
	h := uint32(hash>>32) ^ uint32(hash)
	h ^= (binary.BigEndian.Uint32(c.Virtual[12:]) + uint32(c.VirtualPort)) * 0x9e3779b1
	first, last := w.e.opt.Ports[0], w.e.opt.Ports[1]
	return first + uint16(uint64(h)*uint64(last-first)>>32)
}

const (
	// leastInside and leastInside6 are the smallest MTUs inside a tunnel over IPv4
	// and IPv6 (__ip_vs_get_out_rt).
	leastInside  = 68
	leastInside6 = leastMTU6
)

// toTunnel sends the packet, whose time to live is that with which it leaves, to
// server d, at j.next by way of hop. from is as in [Worker.send]; answer says that
// the sender of what is too long is to hear of it.
func (w *Worker) toTunnel(j *job, hop *nic.Hop, d *dest, from *conntrack.Conn, answer bool) Verdict {
	if d == nil {
		return drop(ServerGone)
	}
	t := d.tunnel.load()
	least, v6 := leastInside, !is4(&j.next)
	if v6 {
		least = leastInside6
	}
	n := t.Overhead(v6)
	mtu := d.pathMTU.below(hop.MTU, w.now) - n
	segments := w.segmented(j)
	j.long = false
	if j.length() > mtu {
		pmtu := w.snap.settings.PMTUDisc
		switch {
		case mtu < least:
			return drop(TooBig)
		case answer && (j.ip.V6() || pmtu && j.ip.DontFragment()):
			return w.answerError(j, w.pkt.Dst, packetTooBig, mtu)
		case segments, j.ip.V6(), pmtu && j.ip.DontFragment():
			return drop(TooBig)
		}
		j.long = true
	}
	if hop.Src == (Addr{}) {
		return drop(NoRouteOut) // the host has no address to send from
	}
	o := &w.tunnels.outer
	o.Around(j.ip, t, &hop.Src, &j.next, w.snap.settings.PMTUDisc)
	o.SrcPort = j.srcPort
	if segments || j.long && v6 {
		// What is made of it is not kept for a neighbour that is not known yet. It
		// is known: a connection's first packets were neither.
		if hop.State != nic.HopResolved {
			w.ask(hop)
			return drop(HoldFull)
		}
		if segments {
			return w.sendSegments(j, hop, o, n)
		}
	}
	if !o.DF {
		o.ID = uint16(w.nextID())
	}
	if !w.wrap(j, o, n) {
		return drop(TooBig)
	}
	return w.send(j, hop, from)
}

// wrap puts the header o, of n bytes, before the frame's packet. Without room
// there it makes a copy; it reports false if there is no room for that either.
func (w *Worker) wrap(j *job, o *forward.Outer, n int) bool {
	eth := j.eth
	l3 := cap(eth) - cap(j.ip) // length of what is before the packet
	size := l3 + n + len(j.ip)
	if n+len(j.ip) > maxPacket {
		return false
	}
	if h := j.f.VNet(); h.Partial() {
		completeChecksum(eth[:l3+len(j.ip)], h)
	}
	if j.f.Prepend(n) {
		j.f.Buf = j.f.Buf[:nic.VNetHdrLen+size]
	} else {
		f := w.pieces.next(size - wire.EthernetLen)
		if f == nil {
			return false
		}
		copy(f.Eth()[l3+n:], j.ip)
		f.VLAN, f.VLANProto = j.f.VLAN, j.f.VLANProto
		j.f = f
	}
	j.f.VNet().Clear()
	// Who sends the frame sets its link-layer addresses.
	j.eth = j.f.Eth()
	o.Put(j.eth[l3:], nil)
	typ := wire.TypeIPv4
	if o.V6() {
		typ = wire.TypeIPv6
	}
	binary.BigEndian.PutUint16(j.eth[l3-2:], typ)
	j.wrapped = n
	return true
}

// maxPacket is the length in bytes of the longest IP packet.
const maxPacket = 65535

// wrapAnswer puts the tunnel's header at the start of room, before a packet of ours
// to server d, which room ends with. It returns the length of all, or 0 if the host
// has no address to send from.
func (w *Worker) wrapAnswer(room []byte, d *dest, to *Addr, srcPort uint16) int {
	hop := w.hop(to)
	if hop.Src == (Addr{}) {
		return 0
	}
	o := &w.tunnels.outer
	o.Around(wire.IP(room[d.tunnel.overhead(to):]), d.tunnel.load(), &hop.Src, to, true)
	o.SrcPort = srcPort
	if !o.DF {
		o.ID = uint16(w.nextID())
	}
	o.Put(room, nil)
	return len(room)
}

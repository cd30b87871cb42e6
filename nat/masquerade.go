package nat

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"syscall"

	"vsnat/conntrack"
	"vsnat/conntrack/state"
	"vsnat/nat/forward"
	"vsnat/nat/wire"
)

// What machines behind the director want of the world is masqueraded: their
// connections get an address and port of a pool as source, as netfilter's
// MASQUERADE does. Such a connection has no service and no server; its client is
// the machine inside, and where it goes is its virtual address and its server's.

// Masquerade is a network whose connections to the outside are masqueraded.
type Masquerade struct {
	Network netip.Prefix
	// NIC is the ifindex of the NIC that they must leave by to be masqueraded; 0 is
	// any.
	NIC  int
	Pool string // "" is [DefaultPool]
}

// maxMasquerades bounds the networks, each of which may be compared with a packet's
// source.
const maxMasquerades = 64

// SetMasquerades replaces the networks that are masqueraded. The first that has a
// packet's source counts. What goes from one of them to another is not masqueraded.
func (tx *Tx) SetMasquerades(list []Masquerade) error {
	const op = "set-masquerades"
	if len(list) > maxMasquerades {
		return refuse(op, "networks", syscall.E2BIG, fmt.Sprintf("%d networks: there is room for %d", len(list), maxMasquerades))
	}
	for i, m := range list {
		subject := "network " + m.Network.String()
		switch {
		case !m.Network.IsValid() || m.Network.Addr().Is4In6():
			return refuse(op, subject, syscall.EINVAL, "write an IPv4 or IPv6 prefix")
		case slices.ContainsFunc(list[:i], func(o Masquerade) bool { return o.Network == m.Network }):
			return refuse(op, subject, syscall.EEXIST, "it is there twice")
		}
		if err := tx.checkPool(op, subject, m.Pool); err != nil {
			return err
		}
	}
	list = slices.Clone(list)
	if tx.rehearsal != nil {
		tx.rehearsal.masquerades = list
		return nil
	}
	tx.e.masquerades = list
	tx.e.dirty = true
	return nil
}

// Masquerades returns the networks.
func (tx *Tx) Masquerades() []Masquerade {
	if tx.rehearsal != nil {
		return slices.Clone(tx.rehearsal.masquerades)
	}
	return slices.Clone(tx.e.masquerades)
}

// inside is a masqueraded network as workers use it.
type inside struct {
	addr, mask [2]uint64 // of addresses in 16 bytes
	nic        int
	pool       string
}

func newInside(m *Masquerade) inside {
	bits := m.Network.Bits()
	if m.Network.Addr().Is4() {
		bits += 96
	}
	n := inside{nic: m.NIC, pool: poolName(m.Pool)}
	for i := range n.mask {
		n.mask[i] = ^uint64(0) << (64 - min(max(bits-64*i, 0), 64)) // 0 for 64
	}
	a := halves(m.Network.Addr().As16())
	n.addr = [2]uint64{a[0] & n.mask[0], a[1] & n.mask[1]}
	return n
}

func halves(a Addr) [2]uint64 {
	return [2]uint64{binary.BigEndian.Uint64(a[:8]), binary.BigEndian.Uint64(a[8:])}
}

// insideOf returns the masqueraded network that the address is in, or nil.
func (s *snapshot) insideOf(a *Addr) *inside {
	if len(s.inside) == 0 {
		return nil
	}
	h := halves(*a)
	for i := range s.inside {
		if n := &s.inside[i]; h[0]&n.mask[0] == n.addr[0] && h[1]&n.mask[1] == n.addr[1] {
			return n
		}
	}
	return nil
}

// goesOut deals with a TCP or UDP packet, or an echo request, from network n to an
// address that is no VIP, which belongs to no service's connection. sport and dport
// stand in its connection: of an echo request, its identifier and 0. SCTP, whose
// addresses also stand in its chunks, is routed as it is.
func (w *Worker) goesOut(j *job, n *inside, sport, dport uint16) Verdict {
	p := w.pkt
	if w.routes.Local(p.Dst) || !unicast(&p.Dst) || !foreign(&p.Src) {
		return passed
	}
	hop := w.hop(&p.Dst)
	if p.Proto == ProtoSCTP || n.nic != 0 && hop.Index != n.nic || w.snap.insideOf(&p.Dst) != nil {
		return w.routeOn(j, false)
	}
	key := conntrack.Key{Client: p.Src, ClientPort: sport, Virtual: p.Dst, VirtualPort: dport, Proto: p.Proto}
	hash := w.e.table.Hash(p.Proto, p.Src, sport)
	s := w.e.table.Shard(hash)
	s.Lock()
	defer s.Unlock()
	c := s.In(hash, &key)
	if c != nil && c.Method() != conntrack.Outbound {
		c = nil
	}
	if c != nil {
		w.watch.found(c, nil, ClientSide)
	}
	v, ok := w.routable(j, hop)
	if !ok {
		return v
	}
	fresh := c == nil
	if fresh {
		if p.Proto == ProtoTCP && p.TCPFlags&wire.RST != 0 {
			return drop(NoConnection)
		}
		if c = s.Insert(hash, &key, w.now); c == nil {
			return drop(TableFull)
		}
		c.Flags |= conntrack.Flags(conntrack.Outbound) | conntrack.Inactive
		c.Dest, c.DestPort = p.Dst, dport
		w.watch.made(c, nil)
	}
	before := c.State
	lost := finished(c) && !s.HasPort(c)
	if fresh || lost {
		if lost && p.TCPFlags&wire.SYN == 0 || !w.takePort(j, s, c, w.snap.pools[n.pool], hop) {
			if fresh {
				s.Remove(c)
			}
			return drop(NoPort)
		}
	}
	w.stepOutbound(s, c, state.Input, before)
	c.InPkts++
	w.e.table.CountIn(c, w.bytes(j))
	if p.TCPFlags&wire.FIN != 0 {
		w.noteNext(j, s, c)
	}
	if c.Flags&conntrack.InSeq != 0 {
		if v, ok := w.extended(j, c, hop, false); !ok {
			return v
		}
	}
	local, port := s.Local(c)
	if !forward.FullIn(j.ip, j.l4, j.partial(), c, local, port) {
		return drop(Truncated)
	}
	j.next = c.Dest
	j.ip.DecTTL()
	return w.send(j, hop, nil)
}

// icmpFromInside deals with an ICMP message that comes from a masqueraded network: an
// echo request, or an error about a packet of a masqueraded connection that came
// from outside. It reports false if it is neither.
func (w *Worker) icmpFromInside(j *job) (Verdict, bool) {
	if len(w.snap.inside) == 0 {
		return Verdict{}, false
	}
	if id, request, ok := wire.EchoID(j.l4, j.proto); ok {
		n := w.snap.insideOf(&w.pkt.Src)
		if !request || n == nil {
			return Verdict{}, false
		}
		return w.goesOut(j, n, id, 0), true
	}
	var q wire.Packet
	if !j.isRelated() || !w.quoted(j, &q) || w.snap.insideOf(&q.Dst) == nil {
		return Verdict{}, false
	}
	key := conntrack.Key{Client: q.Dst, ClientPort: q.DstPort, Virtual: q.Src, VirtualPort: q.SrcPort, Proto: q.Proto}
	hash := w.e.table.Hash(q.Proto, q.Dst, q.DstPort)
	s := w.e.table.Shard(hash)
	s.Lock()
	defer s.Unlock()
	c := s.In(hash, &key)
	if c == nil || c.Method() != conntrack.Outbound || w.pkt.Dst != c.Dest {
		return Verdict{}, false
	}
	if !j.icmpChecksumOK() {
		return drop(BadICMPChecksum), true
	}
	hop := w.hop(&c.Dest)
	if v, ok := w.routable(j, hop); !ok {
		return v, true
	}
	j.next = c.Dest
	return w.errorToFull(j, s, c, hop), true
}

// backInside deals with a packet from outside of connection c, whose shard s is
// locked.
func (w *Worker) backInside(j *job, s *conntrack.Shard, c *conntrack.Conn) Verdict {
	w.watch.found(c, nil, ServerSide)
	hop := w.hop(&c.Client)
	v, ok := w.routable(j, hop)
	if !ok {
		return v
	}
	c.Flags |= conntrack.Answered
	w.e.table.CountOut(c, w.bytes(j))
	w.stepOutbound(s, c, state.Output, c.State)
	if c.Flags&conntrack.InSeq != 0 {
		if v, ok := w.extended(j, c, hop, true); !ok {
			return v
		}
	}
	if !forward.FullOut(j.ip, j.l4, j.partial(), c) {
		return drop(Truncated)
	}
	j.next = c.Client
	j.ip.DecTTL()
	return w.send(j, hop, nil)
}

// How long a masqueraded connection lasts after its last packet, in nanoseconds: as
// netfilter has it (nf_conntrack_proto_udp.c and nf_conntrack_proto_icmp.c), and
// established TCP as long as RFC 5382 section 5 wants at least.
const (
	outboundUDP    = 30e9
	outboundStream = 120e9 // of UDP that is answered, and older than streamAge
	streamAge      = 2e9
	outboundEcho   = 30e9
	outboundTCP    = (2*60 + 4) * 60e9
)

// stepOutbound follows the state machine over the packet, and renews the connection.
// before is its state before the packet.
func (w *Worker) stepOutbound(s *conntrack.Shard, c *conntrack.Conn, dir state.Dir, before uint8) {
	timeout := int64(outboundEcho)
	switch c.Proto {
	case ProtoTCP:
		next := state.NextTCP(false, dir, state.TCPEvent(w.pkt.TCPFlags), state.TCP(c.State))
		c.State = uint8(next)
		timeout = w.e.timeouts.Load().TCP[next]
		if next == state.TCPEstablished {
			timeout = max(timeout, outboundTCP)
		}
		w.notePort(s, c, before)
	case ProtoUDP:
		timeout = outboundUDP
		if c.Flags&conntrack.Answered != 0 && w.now-w.e.table.Created(c) > streamAge {
			timeout = outboundStream
		}
	}
	s.Arm(c, w.now, timeout)
}

// routeOn forwards a packet that the guard has kept from the host, as the host would.
func (w *Worker) routeOn(j *job, complain bool) Verdict {
	if !w.e.opt.Guarded {
		return passed
	}
	if !w.routes.Forwarding(w.index, w.pkt.V6) {
		return drop(NoConnection)
	}
	hop := w.hop(&w.pkt.Dst)
	v, ok := w.routable(j, hop)
	if !ok {
		return v
	}
	j.ip.DecTTL()
	if complain {
		return w.answerFromHost(j, portUnreachable, 0)
	}
	j.next = w.pkt.Dst
	return w.send(j, hop, nil)
}

package nat

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"vsnat/conntrack"
	"vsnat/nat/wire"
	"vsnat/nic"
)

// expressTwins are two directors with the same history; no packet of the other goes
// the express way.
type expressTwins struct {
	t         *testing.T
	r         *rand.Rand
	one       *bed
	other     *bed
	trace     *Trace // of the other
	flows     []expressFlow
	log       []string
	expressed map[string]int // how many went that way, by method and direction
}

// expressFlow is one client's, as it was last seen to reach its server.
type expressFlow struct {
	proto       uint8
	client, vip netip.AddrPort
	server      netip.AddrPort // who answers, and to whom
	back        netip.AddrPort
	answers     bool // by way of the director
}

func newExpressTwins(t *testing.T, seed uint64) *expressTwins {
	m := &expressTwins{t: t, r: rand.New(rand.NewPCG(seed, 11)), expressed: map[string]int{}}
	for _, b := range []**bed{&m.one, &m.other} {
		*b = newBed(t, Options{Guarded: true, Conns: conntrack.Config{Seed: seed}})
		(*b).command("-C")
	}
	for _, w := range m.other.workers {
		w.general = true
	}
	var err error
	if m.trace, err = m.other.e.Trace(TraceFilter{}); err != nil {
		t.Fatal(err)
	}
	for _, a := range [][2]string{{"192.0.2.1", "10.0.0.%d"}, {"2001:db8:c::1", "2001:db8:5::%d"}} {
		for i, method := range []string{"-m", "-g", "-i", "-i --tun-type gue --tun-port 5555", "-i --tun-type gre --tun-csum", "-F", "-F", "-m"} {
			for _, proto := range []string{"-t", "-u"} {
				service := netip.AddrPortFrom(netip.MustParseAddr(a[0]), uint16(80+i))
				lines := []string{fmt.Sprintf("-A %s %s -s rr", proto, service)}
				if i == 7 {
					lines[0] += " -p 60"
				}
				for n := range 2 {
					port := uint16(8000 + i)
					if i > 0 && i < 5 {
						port = service.Port()
					}
					server := netip.AddrPortFrom(netip.MustParseAddr(fmt.Sprintf(a[1], 11+n)), port)
					lines = append(lines, fmt.Sprintf("-a %s %s -r %s %s", proto, service, server, method))
				}
				m.one.command(lines...)
				m.other.command(lines...)
			}
		}
		key := ServiceKey{Proto: ProtoTCP, Addr: netip.MustParseAddr(a[0]).As16(), Port: 86}
		m.one.proxy(key)
		m.other.proxy(key)
	}
	return m
}

// begin begins a flow.
func (m *expressTwins) begin() {
	i := uint16(m.r.IntN(8))
	f := expressFlow{proto: ProtoTCP, client: netip.AddrPortFrom(client.Addr(), uint16(2000+m.r.IntN(60))), vip: netip.AddrPortFrom(vip.Addr(), 80+i)}
	if m.r.IntN(2) == 0 {
		f.client, f.vip = netip.AddrPortFrom(client6.Addr(), f.client.Port()), netip.AddrPortFrom(vip6.Addr(), 80+i)
	}
	if m.r.IntN(3) == 0 {
		f.proto = ProtoUDP
	}
	m.flows = append(m.flows, f)
	at := len(m.flows) - 1
	m.send(clientNIC, []nic.Frame{m.frame(&m.flows[at], true, wire.SYN)}, []int{at})
	if f := &m.flows[at]; f.answers {
		m.send(serverNIC, []nic.Frame{m.frame(f, false, wire.SYN|wire.ACK)}, nil)
	}
	m.send(clientNIC, []nic.Frame{m.frame(&m.flows[at], true, wire.ACK)}, []int{at})
}

func (m *expressTwins) frame(f *expressFlow, in bool, flags uint8) nic.Frame {
	payload := make([]byte, m.r.IntN(40))
	src, dst := f.client, f.vip
	if !in {
		src, dst = f.server, f.back
	}
	p := packet(f.proto, src, dst, flags, payload)
	// As devices deliver them, with room before them.
	buf := make([]byte, nic.Headroom+len(p.Buf))
	copy(buf[nic.Headroom:], p.Buf)
	p.Place(buf, nic.Headroom, len(buf))
	return p
}

// spoil changes something about a frame, which may make it no plain packet.
func (m *expressTwins) spoil(f *nic.Frame) {
	eth, h := f.Eth(), f.VNet()
	ip := wire.IP(eth[wire.EthernetLen:])
	l4 := ip[ip.HeaderLen():]
	tcp := ip.TotalLen()-ip.HeaderLen() >= wire.TCPMinLen
	switch m.r.IntN(16) {
	case 0:
		eth[m.r.IntN(len(eth))] ^= byte(1 << m.r.IntN(8))
	case 1:
		f.Buf = f.Buf[:nic.VNetHdrLen+m.r.IntN(len(eth)+1)]
	case 2:
		if n := 1 + m.r.IntN(20); len(f.Buf)+n <= cap(f.Buf) {
			f.Buf = f.Buf[:len(f.Buf)+n] // padding
		}
	case 3, 4:
		h[0] = nic.VNetNeedsCsum
	case 5:
		h[1] = []uint8{nic.VNetGSOTCPv4, nic.VNetGSOTCPv6, nic.VNetGSOUDPL4}[m.r.IntN(3)]
		h[0], h[4], h[5] = nic.VNetNeedsCsum, byte(m.r.IntN(256)), byte(m.r.IntN(8))
	case 6:
		if ttl := uint8(m.r.IntN(3)); ip.V6() {
			ip[7] = ttl
		} else {
			ip[8] = ttl
			wire.IPv4(ip).SetChecksum(wire.IPv4(ip).CalculateChecksum())
		}
	case 7:
		if !ip.V6() {
			ip[6] = byte(m.r.IntN(256)) // flags and offset
			wire.IPv4(ip).SetChecksum(wire.IPv4(ip).CalculateChecksum())
		}
	case 8:
		f.Type = nic.PacketType(m.r.IntN(4))
	case 9:
		f.VLAN, f.VLANProto = uint16(m.r.IntN(3)), wire.TypeVLAN
	case 10:
		if tcp {
			l4[13] = byte(m.r.IntN(64)) // flags
		}
	case 11:
		if tcp {
			l4[12] = byte(m.r.IntN(16)) << 4 // header length
		}
	case 12:
		copy(l4, []byte{0, 0})
	case 14: // a length that is not the packet's
		if ip.V6() {
			ip[4], ip[5] = byte(m.r.IntN(2)), byte(m.r.IntN(256))
		} else {
			ip[2], ip[3] = byte(m.r.IntN(2)), byte(m.r.IntN(256))
			wire.IPv4(ip).SetChecksum(wire.IPv4(ip).CalculateChecksum())
		}
	case 13:
		if !tcp && len(l4) >= wire.UDPLen {
			wire.UDP(l4).SetChecksum(0)
		}
	}
}

// send gives a batch to both directors. of tells which flow each frame begins, if it
// is told.
func (m *expressTwins) send(index int, frames []nic.Frame, of []int) {
	var batch, twin nic.Batch
	batch.N, twin.N = len(frames), len(frames)
	for i := range frames {
		batch.Frames[i] = frames[i]
		f := frames[i]
		buf := make([]byte, nic.Headroom+len(f.Buf), nic.Headroom+cap(f.Buf))
		copy(buf[nic.Headroom:], f.Buf)
		f.Place(buf, nic.Headroom, len(buf))
		twin.Frames[i] = f
	}
	w, o := m.one.workers[index], m.other.workers[index]
	m.one.now += 1e6
	m.other.now = m.one.now
	for i := range frames {
		// As they are received, or a bit out of order; of some the time is not known.
		batch.Frames[i].Time = max(m.one.now+int64(i)*100-m.r.Int64N(500), 0) * int64(min(m.r.IntN(100), 1))
		twin.Frames[i].Time = batch.Frames[i].Time
	}
	w.Process(&batch, m.one.now)
	o.traces.last = m.other.now - 1e12 // all are told
	o.Process(&twin, m.other.now)
	m.recorded(w, o)
	for i := range frames {
		if w.Verdict(i) != o.Verdict(i) {
			m.fail("frame %d: %v %v, and by the general way %v %v", i, w.Verdict(i), w.Verdict(i).Reason, o.Verdict(i), o.Verdict(i).Reason)
		}
		if k := w.Verdict(i).Kind; (k == Forward || k == Reply) && w.Subject(i) != o.Subject(i) {
			m.fail("frame %d: %+v, and by the general way %+v", i, w.Subject(i), o.Subject(i))
		}
		if q := &w.plains[i]; q.ok {
			m.count(q)
		}
	}
	got, want := w.Out(), o.Out()
	if len(got) != len(want) {
		m.fail("%d frames, and by the general way %d", len(got), len(want))
	}
	for i := range got {
		g, x := got[i], want[i]
		if g.Port != x.Port || g.From != x.From || g.Kind != x.Kind || g.Second != x.Second ||
			g.Frame.VLANProto != x.Frame.VLANProto || !bytes.Equal(g.Frame.Buf, x.Frame.Buf) || !bytes.Equal(g.Frame.Tail, x.Frame.Tail) {
			m.fail("%+v\n%x, and by the general way %+v\n%x", g, g.Frame.Buf, x, x.Frame.Buf)
		}
		if of != nil && g.From >= 0 && g.Kind == Forward {
			m.learn(&m.flows[of[g.From]], g.Frame)
		}
	}
	w.Commit()
	o.Commit()
	if w.Ledger() != o.Ledger() {
		m.fail("%+v, and by the general way %+v", w.Ledger(), o.Ledger())
	}
}

// recorded holds what is recorded of the batch's oldest packet against what the other
// records of it, and what that tells who traces it.
func (m *expressTwins) recorded(w, o *Worker) {
	traced, lost := m.trace.Take()
	if lost > 0 {
		m.fail("%d decisions were not traced", lost)
	}
	i := w.Oldest()
	if i != o.Oldest() {
		m.fail("the oldest is frame %d, and by the general way %d", i, o.Oldest())
	}
	if i < 0 {
		return
	}
	got, want := recordOf(w), recordOf(o)
	if g, x := spelled(got), spelled(want); g != x {
		m.fail("frame %d is recorded as\n%s\nand by the general way as\n%s", i, g, x)
	}
	if !slices.ContainsFunc(traced, func(d *Decision) bool { return spelled(d) == spelled(got) }) {
		m.fail("frame %d is recorded as\n%s\nand not so traced", i, spelled(got))
	}
	if w.plains[i].ok {
		m.expressed["recorded"]++
	} else {
		m.expressed["recorded by the general way"]++
	}
}

// learn notes where a flow's server is.
func (m *expressTwins) learn(f *expressFlow, frame *nic.Frame) {
	var p wire.Packet
	if p.Parse(frame.Eth()) != wire.Parsed || p.Proto != f.proto {
		return // in a tunnel
	}
	f.server, f.back = AddrPort(p.Dst, p.DstPort), AddrPort(p.Src, p.SrcPort)
	f.answers = f.server != f.vip
}

func (m *expressTwins) count(q *plain) {
	s := m.one.e.table.Shard(q.hash)
	if q.home && !q.in {
		m.expressed["full out"]++
		return
	}
	s.Lock()
	defer s.Unlock()
	way := "out"
	c := s.Known(conntrack.Hint{}, q.hash, &q.key)
	if q.in {
		way = "in"
	} else {
		c = s.Out(conntrack.Hint{}, q.hash, &q.key)
	}
	m.expressed[fmt.Sprintf("%s %d %s", [2]string{"IPv4", "IPv6"}[map[bool]int{true: 1}[q.v6]], c.Method(), way)]++
}

// alike holds what is kept of the connections and servers against the other's.
func (m *expressTwins) alike() {
	shape := func(b *bed) string {
		x := explainModel{}
		return x.shape(b)
	}
	if one, other := shape(m.one), shape(m.other); one != other {
		m.fail("\n%s\nand by the general way\n%s", one, other)
	}
}

func (m *expressTwins) fail(format string, args ...any) {
	m.t.Helper()
	for _, l := range m.log[max(0, len(m.log)-10):] {
		m.t.Log(l)
	}
	m.t.Fatalf(format, args...)
}

// TestExpress gives two directors the same batches, plain and otherwise, of all methods
// and both families: that one of them has an express way makes no difference.
func TestExpress(t *testing.T) {
	expressed := map[string]int{}
	for seed := range uint64(4) {
		m := newExpressTwins(t, seed)
		for range 80 {
			m.begin()
		}
		for step := range 400 {
			m.log = append(m.log, fmt.Sprintf("seed %d, step %d", seed, step))
			in := m.r.IntN(2) == 0
			index := map[bool]int{true: clientNIC, false: serverNIC}[in]
			var frames []nic.Frame
			for range 1 + m.r.IntN(nic.MaxBatch) {
				f := &m.flows[m.r.IntN(len(m.flows))]
				if !in && !f.answers {
					continue
				}
				frame := m.frame(f, in, wire.ACK)
				if m.r.IntN(4) == 0 {
					m.spoil(&frame)
				}
				frames = append(frames, frame)
			}
			m.send(index, frames, nil)
			switch m.r.IntN(30) {
			case 0:
				m.begin()
			case 1: // a server has no weight, is gone, or is back
				line := fmt.Sprintf("-e -t %s -r 10.0.0.11:8000 -m -w %d", vip, m.r.IntN(2))
				m.one.command(line)
				m.other.command(line)
			case 2:
				m.one.now += 30e9
				m.other.now = m.one.now
				for m.one.e.Expire(m.one.now, 1000) >= 1000 || m.other.e.Expire(m.one.now, 1000) >= 1000 {
				}
			}
			if step%20 == 0 {
				m.alike()
			}
		}
		m.alike()
		for k, n := range m.expressed {
			expressed[k] += n
		}
	}
	t.Log(expressed)
	for _, k := range []string{"IPv4 0 in", "IPv4 0 out", "IPv6 0 in", "IPv6 0 out", "IPv4 2 in", "IPv6 2 in", "IPv4 3 in", "IPv6 3 in", "IPv4 5 in", "IPv6 5 in", "full out", "recorded", "recorded by the general way"} {
		if expressed[k] < 100 {
			t.Errorf("%s: %d packets went the express way", k, expressed[k])
		}
	}
}

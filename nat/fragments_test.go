package nat

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"vsnat/nat/wire"
	"vsnat/nic"
)

var (
	dnsVIP = netip.MustParseAddrPort("192.0.2.1:53")
	dnsRIP = netip.MustParseAddrPort("10.0.0.11:5353")

	dnsVIP6 = netip.MustParseAddrPort("[2001:db8:c::1]:53")
	dnsRIP6 = netip.MustParseAddrPort("[2001:db8:5::11]:5353")
)

func newFragmentBed(t testing.TB) *bed {
	b := newBed(t, Options{Guarded: true})
	b.command("-A -u 192.0.2.1:53 -s rr", "-a -u 192.0.2.1:53 -r 10.0.0.11:5353 -m",
		"-A -u [2001:db8:c::1]:53 -s rr", "-a -u [2001:db8:c::1]:53 -r [2001:db8:5::11]:5353 -m")
	return b
}

// cut cuts a frame's IP packet into fragments with at most size bytes of payload,
// a multiple of 8. id tells datagrams apart.
func cut(f nic.Frame, size int, id uint16) (frames []nic.Frame) {
	ip := wire.IP(f.Eth()[wire.EthernetLen:])
	payload := ip[ip.HeaderLen():ip.TotalLen()]
	for off := 0; off < len(payload); off += size {
		end := min(off+size, len(payload))
		frames = append(frames, piece(f, off, end, end < len(payload), id))
	}
	return frames
}

// piece makes a fragment of a frame's IP packet.
func piece(f nic.Frame, off, end int, more bool, id uint16) nic.Frame {
	const at = nic.VNetHdrLen + wire.EthernetLen
	ip := wire.IP(f.Buf[at:])
	buf := bytes.Clone(f.Buf[:at+ip.HeaderLen()])
	if ip.V6() {
		buf = append(buf, wire.IPv6(ip).NextHeader(), 0)
		buf = binary.BigEndian.AppendUint16(buf, uint16(off)|uint16(b2i(more)))
		buf = binary.BigEndian.AppendUint32(buf, uint32(id))
	}
	buf = append(buf, ip[ip.HeaderLen()+off:ip.HeaderLen()+end]...)
	if ip.V6() {
		h := wire.IPv6Fields{
			PayloadLen: len(buf) - at - wire.IPv6Len, NextHeader: 44, HopLimit: ip.TTL(), Src: ip.Src(), Dst: ip.Dst(),
		}
		wire.IPv6(buf[at:]).Encode(&h)
	} else {
		ip := wire.IPv4(ip)
		h := wire.IPv4Fields{
			TotalLen: len(buf) - at, ID: id, FragmentOffset: off, TTL: ip.TTL(), Protocol: ip.Protocol(), Src: ip.Src(), Dst: ip.Dst(),
		}
		if more {
			h.Flags = wire.IPv4MoreFragments
		}
		wire.IPv4(buf[at:]).Encode(&h)
	}
	return nic.Frame{Buf: buf, WireLen: len(buf) - nic.VNetHdrLen}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// together puts fragments together again and checks all checksums.
func together(t *testing.T, frames []*nic.Frame) nic.Frame {
	t.Helper()
	read := func(f *nic.Frame) (p wire.Packet) {
		if r := p.Parse(f.Eth()); r != wire.Parsed && r != wire.LaterFragment {
			t.Fatalf("a fragment is %v", r)
		}
		return p
	}
	slices.SortFunc(frames, func(a, b *nic.Frame) int { return int(read(a).FragOff) - int(read(b).FragOff) })
	first := read(frames[0])
	const at = nic.VNetHdrLen + wire.EthernetLen
	head := wire.IP(frames[0].Buf[at:]).HeaderLen()
	whole := nic.Frame{Buf: bytes.Clone(frames[0].Buf[:at+head])}
	for _, f := range frames {
		p := read(f)
		if ip := wire.IP(f.Buf[at:]); !ip.V6() && !wire.IPv4(ip).ChecksumOK() {
			t.Error("a fragment's header checksum is wrong")
		}
		if int(p.FragOff) != len(whole.Buf)-at-head {
			t.Fatalf("a gap before offset %d", p.FragOff)
		}
		whole.Buf = append(whole.Buf, f.Eth()[p.L4:p.End]...)
	}
	ip := wire.IP(whole.Buf[at:])
	if ip.V6() {
		wire.IPv6(ip).Encode(&wire.IPv6Fields{
			PayloadLen: len(ip) - wire.IPv6Len, NextHeader: first.Proto, HopLimit: ip.TTL(), Src: ip.Src(), Dst: ip.Dst(),
		})
	} else {
		ip := wire.IPv4(ip)
		ip.Encode(&wire.IPv4Fields{
			TotalLen: len(ip), TTL: ip.TTL(), Protocol: ip.Protocol(), Src: ip.Src(), Dst: ip.Dst(),
		})
	}
	s := sent{Frame: whole}
	if s.pkt.Parse(whole.Eth()) != wire.Parsed {
		t.Fatal("what was put together cannot be read")
	}
	s.checksums(t)
	return whole
}

// Datagrams of several clients, in pieces of several sizes, all mixed up, arrive
// whole at the server, and its answers at the clients.
func TestFragmentsInAnyOrder(t *testing.T) {
	t.Run("IPv4", func(t *testing.T) { fragmentsInAnyOrder(t, client, dnsVIP, dnsRIP) })
	t.Run("IPv6", func(t *testing.T) { fragmentsInAnyOrder(t, client6, dnsVIP6, dnsRIP6) })
}

func fragmentsInAnyOrder(t *testing.T, client, dnsVIP, dnsRIP netip.AddrPort) {
	sample := packet(ProtoUDP, client, dnsVIP, 0, nil)
	head := wire.IP(sample.Eth()[wire.EthernetLen:]).HeaderLen()
	rnd := rand.New(rand.NewPCG(7, 8))
	for round := range 30 {
		b := newFragmentBed(t)
		type datagram struct {
			client netip.AddrPort
			data   []byte
		}
		var all []datagram
		var pieces []int
		var toServer, toClients []nic.Frame
		for i := range 1 + rnd.IntN(8) {
			d := datagram{netip.AddrPortFrom(client.Addr(), uint16(5000+i)), make([]byte, 9+rnd.IntN(5000))}
			for k := range d.data {
				d.data[k] = byte(rnd.Uint32())
			}
			all = append(all, d)
			// No more pieces than gaps between them can be kept track of.
			size := 8 * (1 + len(d.data)/100 + rnd.IntN(120))
			f := cut(packet(ProtoUDP, d.client, dnsVIP, 0, d.data), size, uint16(i))
			pieces = append(pieces, len(f))
			toServer = append(toServer, f...)
			toClients = append(toClients, cut(packet(ProtoUDP, dnsRIP, d.client, 0, d.data), size, uint16(i))...)
		}
		for _, c := range []struct {
			in     int
			frames []nic.Frame
			port   int
		}{{clientNIC, toServer, serverNIC}, {serverNIC, toClients, clientNIC}} {
			// No more overtake their first than can wait.
			for part := range slices.Chunk(c.frames, fragSlots) {
				rnd.Shuffle(len(part), func(i, j int) { part[i], part[j] = part[j], part[i] })
			}
			arrived := map[string][]*nic.Frame{}
			for _, f := range c.frames {
				v, out := b.in(c.in, f)
				if v != forwarded && v != holding {
					t.Fatalf("round %d: a fragment is %v", round, v)
				}
				for i := range out {
					ip := wire.IP(out[i].Eth()[wire.EthernetLen:])
					if out[i].port != c.port || ip.TTL() != 63 {
						t.Fatalf("leaves by NIC %d with TTL %d", out[i].port, ip.TTL())
					}
					k := fmt.Sprint(out[i].pkt.FragID)
					arrived[k] = append(arrived[k], &out[i].Frame)
				}
			}
			if len(arrived) != len(all) {
				t.Fatalf("%d datagrams arrived, want %d", len(arrived), len(all))
			}
			for i, d := range all {
				whole := together(t, arrived[fmt.Sprint(i)])
				from, to := d.client, dnsRIP
				if c.in == serverNIC {
					from, to = dnsVIP, d.client
				}
				if want := packet(ProtoUDP, from, to, 0, d.data); !bytes.Equal(whole.Eth()[wire.EthernetLen+head:], want.Eth()[wire.EthernetLen+head:]) {
					t.Errorf("round %d: datagram %d arrived changed", round, i)
				}
			}
		}
		for _, w := range b.workers {
			if w.Held() != 0 || w.frags.table.Len() != 0 {
				t.Errorf("%d fragments and %d datagrams are left", w.Held(), w.frags.table.Len())
			}
		}
		// Each datagram counts as one packet, as long as the whole.
		var info ServiceInfo
		b.e.Update(func(tx *Tx) {
			info, _ = tx.Service(ServiceKey{Proto: ProtoUDP, Addr: dnsVIP.Addr().As16(), Port: 53})
		})
		bytes := uint64(0)
		for i, d := range all {
			bytes += uint64(len(d.data) + wire.UDPLen + head)
			if head == wire.IPv6Len && pieces[i] == 1 {
				bytes += wire.IPv6FragmentLen // a whole packet that has the header
			}
		}
		n := uint64(len(all))
		if want := (Counters{Conns: n, InPkts: n, OutPkts: n, InBytes: bytes, OutBytes: bytes}); info.Counters != want {
			t.Errorf("counters %+v, want %+v", info.Counters, want)
		}
	}
}

func TestFragmentsRefused(t *testing.T) {
	t.Run("IPv4", func(t *testing.T) { fragmentsRefused(t, client, dnsVIP, vip) })
	t.Run("IPv6", func(t *testing.T) { fragmentsRefused(t, client6, dnsVIP6, vip6) })
}

func fragmentsRefused(t *testing.T, client, dnsVIP, vip netip.AddrPort) {
	big := packet(ProtoUDP, client, dnsVIP, 0, make([]byte, 3000))
	again := func(f nic.Frame) nic.Frame { return nic.Frame{Buf: bytes.Clone(f.Buf), WireLen: f.WireLen} }
	t.Run("overlap", func(t *testing.T) {
		b := newFragmentBed(t)
		f := cut(big, 1000, 1)
		want := []Verdict{forwarded, drop(Fragment), drop(Fragment), drop(Fragment)}
		for i, f := range []nic.Frame{f[0], piece(big, 992, 1992, true, 1), f[1], f[2]} {
			if v, _ := b.in(clientNIC, f); v != want[i] {
				t.Errorf("fragment %d: %v, want %v", i, v, want[i])
			}
		}
	})
	t.Run("sent again", func(t *testing.T) {
		b := newFragmentBed(t)
		f := cut(big, 1000, 1)
		want := []Verdict{forwarded, forwarded, drop(Fragment), drop(Fragment), forwarded, forwarded}
		for i, f := range []nic.Frame{f[0], f[1], f[1], f[0], f[2], f[3]} {
			if v, _ := b.in(clientNIC, again(f)); v != want[i] {
				t.Errorf("fragment %d: %v, want %v", i, v, want[i])
			}
		}
	})
	t.Run("over the flags of TCP", func(t *testing.T) {
		b := newFragmentBed(t)
		b.command("-A -t [2001:db8:c::1]:80 -s rr", "-a -t [2001:db8:c::1]:80 -r [2001:db8:5::11]:80 -m")
		f := piece(packet(ProtoTCP, client, vip, wire.SYN, make([]byte, 100)), 8, 72, true, 1)
		if v, _ := b.in(clientNIC, f); v != drop(Fragment) {
			t.Errorf("%v", v)
		}
	})
}

// The rest of a datagram shares the fate of the first fragment.
func TestFragmentsShareTheFate(t *testing.T) {
	to := func(dst string) []nic.Frame {
		return cut(packet(ProtoUDP, client, netip.MustParseAddrPort(dst), 0, make([]byte, 3000)), 1480, 9)
	}
	t.Run("the host's", func(t *testing.T) {
		b := newFragmentBed(t)
		f := to("192.0.2.1:9999")
		for i, c := range []struct {
			f    nic.Frame
			want Verdict
		}{{f[2], holding}, {f[0], passed}, {f[1], passed}, {f[0], passed}} {
			if v, _ := b.in(clientNIC, c.f); v != c.want {
				t.Errorf("fragment %d: %v, want %v", i, v, c.want)
			}
		}
		if l := b.workers[clientNIC].Ledger(); l.Passed != 4 || l.Held != 0 {
			t.Errorf("%+v", l)
		}
	})
	t.Run("of others", func(t *testing.T) {
		b := newFragmentBed(t)
		for _, f := range to("198.51.100.1:53") {
			if v, _ := b.in(clientNIC, f); v != passed {
				t.Errorf("%v", v)
			}
		}
		if n := b.workers[clientNIC].frags.table.Len(); n != 0 {
			t.Errorf("%d datagrams of others are kept track of", n)
		}
	})
	t.Run("no server", func(t *testing.T) {
		b := newFragmentBed(t)
		b.command("-d -u 192.0.2.1:53 -r 10.0.0.11:5353")
		for i, f := range to("192.0.2.1:53") {
			want := drop(NoAnswer)
			if i == 0 {
				want = replied
			}
			if v, _ := b.in(clientNIC, f); v != want {
				t.Errorf("fragment %d: %v, want %v", i, v, want)
			}
		}
	})
	t.Run("the first never comes", func(t *testing.T) {
		b := newFragmentBed(t)
		w := b.workers[clientNIC]
		if v, _ := b.in(clientNIC, to("192.0.2.1:53")[1]); v != holding || w.Held() != 1 {
			t.Errorf("%v, %d held", v, w.Held())
		}
		b.now += fragWait
		w.Idle(b.now)
		w.Commit()
		if l := w.Ledger(); l.Dropped[FragmentOrphan] != 1 || l.Held != 0 || w.Held() != 0 || !l.Balanced() {
			t.Errorf("%+v", l)
		}
	})
	t.Run("too many without a first", func(t *testing.T) {
		b := newFragmentBed(t)
		for i := range fragSlots + 1 {
			f := cut(packet(ProtoUDP, client, dnsVIP, 0, make([]byte, 100)), 48, uint16(i))[1]
			want := holding
			if i == fragSlots {
				want = drop(HoldFull)
			}
			if v, _ := b.in(clientNIC, f); v != want {
				t.Errorf("fragment %d: %v, want %v", i, v, want)
			}
		}
		w := b.workers[clientNIC]
		w.Close()
		if l := w.Ledger(); l.Dropped[FragmentOrphan] != fragSlots || !l.Balanced() {
			t.Errorf("%+v", l)
		}
	})
	t.Run("an unresolved neighbour", func(t *testing.T) {
		b := newFragmentBed(t)
		server := &b.routes.routes[1].hop
		server.State = nic.HopUnresolved
		for _, i := range []int{1, 0, 2} {
			if v, _ := b.in(clientNIC, to("192.0.2.1:53")[i]); v != holding {
				t.Errorf("fragment %d: %v", i, v)
			}
		}
		if n := b.workers[clientNIC].Held(); n != 3 {
			t.Errorf("%d are held", n)
		}
	})
}

func TestFragmentsAllocateNothing(t *testing.T) {
	b := newFragmentBed(t)
	w := b.workers[clientNIC]
	frames := cut(packet(ProtoUDP, client, dnsVIP, 0, make([]byte, 4000)), 1480, 9)
	fresh := make([][]byte, len(frames))
	for i := range frames {
		fresh[i] = bytes.Clone(frames[i].Buf)
	}
	batch := nic.Batch{N: len(frames)}
	run := func() {
		for i, k := range []int{2, 0, 1} {
			copy(frames[k].Buf, fresh[k])
			batch.Frames[i] = frames[k]
		}
		w.Process(&batch, b.now)
		w.Commit()
	}
	run()
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if l := w.Ledger(); l.Forwarded != l.Received {
		t.Errorf("%+v", l)
	}
}

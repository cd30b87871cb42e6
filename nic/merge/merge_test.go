package merge_test

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"testing"

	"vsnat/nic"
	"vsnat/nic/merge"
)

// trust is why a frame's transport checksum is taken to be right.
type trust int

const (
	none    trust = iota // nobody says so
	partial              // it is still to be made
	valid                // it was verified
)

// spec is a frame of a test.
type spec struct {
	v6, udp, df bool
	port        uint16 // of the client
	seq, ack    uint32
	id          uint16
	flags       byte // besides ACK
	window      uint16
	size        int
	payload     byte
	options     []byte
	trust       trust
}

func (s spec) frame() *nic.Frame {
	p := make([]byte, 0, 2048)
	p = append(p, make([]byte, nic.VNetHdrLen)...)
	p = append(p, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2)
	l4, proto := 20+len(s.options), byte(6)
	if s.udp {
		l4, proto = 8, 17
	}
	l3 := 14
	if s.v6 {
		p = append(p, 0x86, 0xdd, 0x60, 1, 2, 3)
		p = binary.BigEndian.AppendUint16(p, uint16(l4+s.size))
		p = append(p, proto, 64, 0xfd, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xfd, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1)
		l3 += 40
	} else {
		p = append(p, 8, 0, 0x45, 0)
		p = binary.BigEndian.AppendUint16(p, uint16(20+l4+s.size))
		p = binary.BigEndian.AppendUint16(p, s.id)
		p = append(p, 0, 0, 64, proto, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2)
		if s.df {
			p[nic.VNetHdrLen+20] = 0x40
		}
		l3 += 20
	}
	p = binary.BigEndian.AppendUint16(p, s.port)
	p = binary.BigEndian.AppendUint16(p, 80)
	if s.udp {
		p = binary.BigEndian.AppendUint16(p, uint16(l4+s.size))
		p = append(p, 0, 0)
	} else {
		p = binary.BigEndian.AppendUint32(p, s.seq)
		p = binary.BigEndian.AppendUint32(p, s.ack)
		p = append(p, byte(l4/4)<<4, 0x10^s.flags)
		p = binary.BigEndian.AppendUint16(p, s.window)
		p = append(p, 0, 0, 0, 0)
		p = append(p, s.options...)
	}
	for i := range s.size {
		p = append(p, s.payload+byte(i))
	}
	f := &nic.Frame{Buf: p, WireLen: len(p) - nic.VNetHdrLen}
	eth := f.Eth()
	h := headersOf(eth)
	h.complete(eth)
	switch s.trust {
	case partial:
		v := f.VNet()
		v[0] = nic.VNetNeedsCsum
		binary.NativeEndian.PutUint16(v[6:], uint16(l3))
		binary.NativeEndian.PutUint16(v[8:], uint16(h.sum-h.l4))
		fold := h.pseudo(eth, l4+s.size)
		binary.BigEndian.PutUint16(eth[h.sum:], uint16(fold%0xffff))
	case valid:
		f.VNet()[0] = nic.VNetDataValid
	}
	return f
}

const (
	fin, syn, rst, psh, urg, ece, cwr = 0x01, 0x02, 0x04, 0x08, 0x20, 0x40, 0x80
	ack                               = 0x10 // the flags of a spec take it away
)

// flow returns n segments of 100 bytes that follow one another, with what change
// makes of each.
func flow(n int, change func(i int, s *spec)) (all []*nic.Frame) {
	for i := range n {
		s := spec{seq: 0xffffff00 + uint32(100*i), id: 0xfffe + uint16(i), window: 1000, size: 100, options: []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}}
		if change != nil {
			change(i, &s)
		}
		all = append(all, s.frame())
	}
	return all
}

// altered is a flow of four, of which f changes the frame of the third before its
// checksums are made again.
func altered(s spec, f func(*nic.Frame)) []*nic.Frame {
	all := flow(4, func(_ int, o *spec) { o.v6, o.udp = s.v6, s.udp })
	f(all[2])
	if h := headersOf(all[2].Eth()); h.ok {
		h.complete(all[2].Eth())
	}
	return all
}

// at has byte i of the Ethernet frame be another.
func at(i int) func(*nic.Frame) { return func(f *nic.Frame) { f.Eth()[i] ^= 4 } }

func TestMerge(t *testing.T) {
	last := func(change func(s *spec)) []*nic.Frame {
		return flow(4, func(i int, s *spec) {
			if i == 3 {
				change(s)
			}
		})
	}
	third := func(change func(s *spec)) []*nic.Frame {
		return flow(4, func(i int, s *spec) {
			if i == 2 {
				change(s)
			}
		})
	}
	every := func(change func(s *spec)) []*nic.Frame {
		return flow(4, func(_ int, s *spec) { change(s) })
	}
	v4, v6, udp := spec{}, spec{v6: true}, spec{udp: true}
	for _, c := range []struct {
		name   string
		frames []*nic.Frame
		want   []int // how many each that leaves is made of
	}{
		{"none", nil, nil},
		{"one", flow(1, nil), []int{1}},
		{"four", flow(4, nil), []int{4}},
		{"four of IPv6", every(func(s *spec) { s.v6 = true }), []int{4}},
		{"a batch", flow(64, nil), []int{64}},
		{"partial checksums", every(func(s *spec) { s.trust = partial }), []int{4}},
		{"verified checksums", every(func(s *spec) { s.trust = valid }), []int{4}},
		{"checksums of all kinds", flow(4, func(i int, s *spec) { s.trust = trust(i % 3) }), []int{4}},
		{"no options", every(func(s *spec) { s.options = nil }), []int{4}},
		{"too long together", flow(50, func(i int, s *spec) { s.size, s.seq = 1400, uint32(i*1400) }), []int{46, 4}},

		{"last shorter", last(func(s *spec) { s.size = 99 }), []int{4}},
		{"last longer", last(func(s *spec) { s.size = 101 }), []int{3, 1}},
		{"third shorter", third(func(s *spec) { s.size = 99 }), []int{3, 1}},
		{"first shorter", flow(3, func(i int, s *spec) {
			if i == 0 {
				s.size, s.seq = 10, s.seq+90
			}
		}), []int{1, 2}},
		{"last without payload", last(func(s *spec) { s.size = 0 }), []int{3, 1}},
		{"pure acknowledgements", every(func(s *spec) { s.size = 0 }), []int{1, 1, 1, 1}},
		{"a gap", third(func(s *spec) { s.seq++ }), []int{2, 1, 1}},
		{"sent again", third(func(s *spec) { s.seq -= 100 }), []int{2, 1, 1}},
		{"another acknowledgement", third(func(s *spec) { s.ack++ }), []int{2, 1, 1}},
		{"another window", third(func(s *spec) { s.window++ }), []int{2, 1, 1}},
		{"another time stamp", third(func(s *spec) { s.options = []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 3} }), []int{2, 1, 1}},
		{"fewer options", third(func(s *spec) { s.options = nil }), []int{2, 1, 1}},

		{"PSH at the end", last(func(s *spec) { s.flags = psh }), []int{4}},
		{"FIN at the end", last(func(s *spec) { s.flags = fin | psh }), []int{4}},
		{"PSH in between", third(func(s *spec) { s.flags = psh }), []int{3, 1}},
		{"FIN in between", third(func(s *spec) { s.flags = fin }), []int{3, 1}},
		{"PSH in all", every(func(s *spec) { s.flags = psh }), []int{1, 1, 1, 1}},
		{"ECE in all", every(func(s *spec) { s.flags = ece }), []int{4}},
		{"ECE in one", third(func(s *spec) { s.flags = ece }), []int{2, 1, 1}},
		{"CWR", third(func(s *spec) { s.flags = cwr }), []int{2, 1, 1}},
		{"CWR in all", every(func(s *spec) { s.flags = cwr }), []int{1, 1, 1, 1}},
		{"SYN", every(func(s *spec) { s.flags = syn }), []int{1, 1, 1, 1}},
		{"RST", third(func(s *spec) { s.flags = rst }), []int{2, 1, 1}},
		{"URG", every(func(s *spec) { s.flags = urg }), []int{1, 1, 1, 1}},
		{"no ACK", every(func(s *spec) { s.flags = ack }), []int{1, 1, 1, 1}},

		{"the same number", every(func(s *spec) { s.id = 7 }), []int{1, 1, 1, 1}},
		{"the same number, not to be fragmented", every(func(s *spec) { s.id, s.df = 7, true }), []int{4}},
		{"numbers, not to be fragmented", every(func(s *spec) { s.df = true }), []int{4}},
		{"a number left out", third(func(s *spec) { s.id++ }), []int{2, 1, 1}},
		{"a number that was the same", third(func(s *spec) { s.id--; s.df = true }), []int{2, 1, 1}},
		{"to be fragmented or not", third(func(s *spec) { s.df = true }), []int{2, 1, 1}},

		{"another destination address", altered(v4, at(5)), []int{2, 1, 1}},
		{"another source address", altered(v4, at(11)), []int{2, 1, 1}},
		{"another type of service", altered(v4, at(15)), []int{2, 1, 1}},
		{"another time to live", altered(v4, at(22)), []int{2, 1, 1}},
		{"another client", altered(v4, at(29)), []int{2, 1, 1}},
		{"another server", altered(v4, at(33)), []int{2, 1, 1}},
		{"another port", altered(v4, at(37)), []int{2, 1, 1}},
		{"reserved bits", altered(v4, func(f *nic.Frame) { f.Eth()[34+12] ^= 1 }), []int{2, 1, 1}},
		{"an urgent pointer without flag", altered(v4, at(34+19)), []int{2, 1, 1}},
		{"a fragment", altered(v4, func(f *nic.Frame) { f.Eth()[20] |= 0x20 }), []int{2, 1, 1}},
		{"the reserved flag of IPv4", altered(v4, func(f *nic.Frame) { f.Eth()[20] |= 0x80 }), []int{2, 1, 1}},
		{"another protocol in between", altered(v4, func(f *nic.Frame) { f.Eth()[23] = 132 }), []int{2, 1, 1}},
		{"ARP in between", altered(v4, func(f *nic.Frame) { f.Eth()[13] = 6 }), []int{2, 1, 1}},
		{"another traffic class", altered(v6, func(f *nic.Frame) { f.Eth()[14] ^= 1 }), []int{2, 1, 1}},
		{"another flow label", altered(v6, at(17)), []int{2, 1, 1}},
		{"another hop limit", altered(v6, at(21)), []int{2, 1, 1}},
		{"another IPv6 client", altered(v6, at(37)), []int{2, 1, 1}},
		{"another IPv6 server", altered(v6, at(53)), []int{2, 1, 1}},
		{"an extension header", altered(v6, func(f *nic.Frame) { f.Eth()[20] = 0 }), []int{2, 1, 1}},

		{"bytes behind the packet", altered(v4, func(f *nic.Frame) { f.Buf = append(f.Buf, 0) }), []int{2, 1, 1}},
		{"a cut packet", altered(v4, func(f *nic.Frame) { f.Buf = f.Buf[:len(f.Buf)-1] }), []int{2, 1, 1}},
		{"a tail", altered(v4, func(f *nic.Frame) { f.Tail = []byte{1} }), []int{2, 1, 1}},
		{"another tag", altered(v4, func(f *nic.Frame) { f.VLANProto, f.VLAN = 0x8100, 7 }), []int{2, 1, 1}},
		{"a super-frame", altered(v4, func(f *nic.Frame) { f.VNet().Segment(false, 66, 34, 50) }), []int{2, 1, 1}},
		{"another checksum to be made", altered(v4, func(f *nic.Frame) {
			f.VNet().Segment(false, 66, 38, 50)
			f.VNet().Whole()
		}), []int{2, 1, 1}},
		{"a flag that is not known", altered(v4, func(f *nic.Frame) { f.Buf[0] = 8 }), []int{2, 1, 1}},

		{"datagrams", every(func(s *spec) { s.udp = true }), []int{4}},
		{"datagrams of IPv6", every(func(s *spec) { s.udp, s.v6, s.trust = true, true, partial }), []int{4}},
		{"a datagram that is shorter", flow(4, func(i int, s *spec) {
			if s.udp = true; i == 2 {
				s.size = 1
			}
		}), []int{3, 1}},
		{"another type of service of a datagram", altered(udp, at(15)), []int{2, 1, 1}},
		{"a datagram without length", altered(udp, at(39)), []int{2, 1, 1}},
		{"empty datagrams", every(func(s *spec) { s.udp, s.size = true, 0 }), []int{1, 1, 1, 1}},
	} {
		m := merge.Merger{Datagrams: true}
		if _, err := check(&m, c.frames); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if got := sizes(&m, c.frames); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: frames are made of %d, want %d", c.name, got, c.want)
		}
	}
}

// sizes returns of how many each frame is made.
func sizes(m *merge.Merger, frames []*nic.Frame) (all []int) {
	for range m.Merge(frames) {
		all = append(all, 0)
	}
	for i := range frames {
		all[m.Of(i)]++
	}
	return all
}

// TestWrongChecksums has those stay wrong.
func TestWrongChecksums(t *testing.T) {
	for _, c := range []struct {
		what string
		spec spec
		at   int
	}{
		{"a payload", spec{}, 70},
		{"a payload of IPv6", spec{v6: true}, 90},
		{"a datagram", spec{udp: true}, 60},
		{"a checksum", spec{}, 50},
		{"a datagram's checksum", spec{udp: true}, 40},
		{"a pseudo-header's sum", spec{trust: partial}, 50},
		{"an IPv4 header's sum", spec{}, 24},
		{"an IPv4 header's sum, verified behind", spec{trust: valid}, 24},
	} {
		for which, want := range [][]int{{1, 3}, {1, 1, 2}, {2, 1, 1}, {3, 1}} {
			frames := flow(4, func(_ int, s *spec) { s.v6, s.udp, s.trust = c.spec.v6, c.spec.udp, c.spec.trust })
			frames[which].Eth()[c.at] ^= 0x10
			m := merge.Merger{Datagrams: true}
			if _, err := check(&m, frames); err != nil {
				t.Errorf("%s of frame %d: %v", c.what, which, err)
			}
			if got := sizes(&m, frames); !reflect.DeepEqual(got, want) {
				t.Errorf("%s of frame %d: frames are made of %d, want %d", c.what, which, got, want)
			}
		}
	}
}

func TestDatagramsWithoutChecksum(t *testing.T) {
	m := merge.Merger{Datagrams: true}
	for _, v6 := range []bool{false, true} {
		frames := flow(3, func(_ int, s *spec) { s.udp, s.v6 = true, v6 })
		for _, f := range frames {
			h := headersOf(f.Eth())
			f.Eth()[h.sum], f.Eth()[h.sum+1] = 0, 0
		}
		if got := sizes(&m, frames); !reflect.DeepEqual(got, []int{1, 1, 1}) {
			t.Errorf("frames are made of %d", got)
		}
	}
}

func TestDatagramsOnlyIfWanted(t *testing.T) {
	var m merge.Merger
	for _, udp := range []bool{false, true} {
		want := []int{3}
		if udp {
			want = []int{1, 1, 1}
		}
		if got := sizes(&m, flow(3, func(_ int, s *spec) { s.udp = udp })); !reflect.DeepEqual(got, want) {
			t.Errorf("UDP %t: frames are made of %d, want %d", udp, got, want)
		}
	}
}

// TestInterleaved has flows come in turn: each is merged by itself.
func TestInterleaved(t *testing.T) {
	for flows := 1; flows <= nic.MaxBatch; flows++ {
		var frames []*nic.Frame
		for i := range nic.MaxBatch {
			n := i / flows
			frames = append(frames, spec{port: uint16(i % flows), seq: uint32(100 * n), id: uint16(n), size: 100, trust: partial, v6: i%flows%2 == 1}.frame())
		}
		m := merge.Merger{}
		n, err := check(&m, frames)
		if err != nil || n != nic.MaxBatch-flows {
			t.Errorf("%d flows: %d of 64 frames went into others; %v", flows, n, err)
		}
	}
}

// TestTagged has the length of a tag count.
func TestTagged(t *testing.T) {
	for _, tagged := range []bool{false, true} {
		frames := flow(64, func(i int, s *spec) {
			s.size, s.options, s.seq = 1039, nil, uint32(1039*i)
			if i == 63 {
				s.size = 24 // with Ethernet's, IP's and TCP's headers just not too much
			}
		})
		if tagged {
			for _, f := range frames {
				f.VLANProto, f.VLAN = 0x88a8, 5
			}
		}
		m := merge.Merger{}
		out := m.Merge(frames)
		want := 14 + 40 + 63*1039 + 24
		if tagged {
			want += 4 - 24
		}
		if got := out[0].Len(); got != want || out[0].VLANProto != frames[0].VLANProto || out[0].VLAN != frames[0].VLAN {
			t.Errorf("tagged %t: %d bytes with tag %d of %#x, want %d", tagged, got, out[0].VLAN, out[0].VLANProto, want)
		}
	}
}

func TestNoAllocs(t *testing.T) {
	m := merge.Merger{Datagrams: true}
	for _, frames := range [][]*nic.Frame{flow(64, nil), flow(64, func(i int, s *spec) { s.udp, s.v6, s.trust = true, true, trust(i%3) })} {
		if n := testing.AllocsPerRun(100, func() { m.Merge(frames) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
}

// BenchmarkMerge is the cost of a frame, of 64 with 1448 bytes each.
func BenchmarkMerge(b *testing.B) {
	for _, c := range []struct {
		name   string
		flows  int
		change func(*spec)
	}{
		{"partial", 1, func(s *spec) { s.trust = partial }},
		{"partial/16 flows", 16, func(s *spec) { s.trust = partial }},
		{"verified before", 1, func(s *spec) { s.trust = valid }},
		{"verified here", 1, func(*spec) {}},
		{"datagrams", 1, func(s *spec) { s.trust, s.udp = partial, true }},
		{"look alike", 1, func(s *spec) { s.trust, s.seq = partial, 0 }},
		{"flows of one", 64, func(*spec) {}},
		{"IPv6", 1, func(s *spec) { s.trust, s.v6 = partial, true }},
	} {
		b.Run(c.name, func(b *testing.B) {
			var frames []*nic.Frame
			for i := range nic.MaxBatch {
				n := i / c.flows
				s := spec{port: uint16(i % c.flows), size: 1448, seq: uint32(1448 * n), id: uint16(n), options: make([]byte, 12)}
				c.change(&s)
				frames = append(frames, s.frame())
			}
			m := merge.Merger{Datagrams: true}
			for b.Loop() {
				m.Merge(frames)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/nic.MaxBatch, "ns/frame")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func ExampleMerger() {
	var m merge.Merger
	out := m.Merge(flow(3, nil))
	fmt.Println(len(out), len(out[0].Segments), out[0].VNet().GSOSize())
	// Output: 1 3 100
}

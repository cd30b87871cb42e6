package merge_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"vsnat/nat/wire"
	"vsnat/nic"
	"vsnat/nic/merge"
)

// script makes frames of bytes: of a few flows, with numbers that go on, with things
// changed here and there.
type script struct {
	in    []byte
	flows [6]struct {
		seq uint32
		id  uint16
	}
}

func (s *script) byte() byte {
	if len(s.in) == 0 {
		return 0
	}
	b := s.in[0]
	s.in = s.in[1:]
	return b
}

// frames returns up to a batch of frames.
func (s *script) frames() (all []*nic.Frame) {
	for len(s.in) > 0 && len(all) < nic.MaxBatch {
		all = append(all, s.frame())
	}
	return all
}

func (s *script) frame() *nic.Frame {
	which, odd := int(s.byte()), s.byte()
	n := which % len(s.flows)
	o := spec{v6: n%2 == 1, udp: n > 3, port: uint16(n), seq: s.flows[n].seq, id: s.flows[n].id, size: 40, df: n%3 == 0, payload: byte(len(s.in))}
	if which&64 != 0 {
		o.size = int(s.byte())
	}
	if which&128 != 0 {
		o.flags = s.byte()
	}
	o.trust = trust(odd & 3 % 3)
	f := o.frame()
	s.flows[n].seq += uint32(o.size)
	if odd&4 == 0 {
		s.flows[n].id++
	}
	switch odd >> 3 {
	case 1: // anything is changed, and the checksums are not
		f.Buf[int(s.byte())%len(f.Buf)] ^= s.byte()
	case 2: // what the checksums are right for all the same
		eth := f.Eth()
		eth[int(s.byte())%len(eth)] ^= s.byte()
		if h := headersOf(eth); h.ok && !f.VNet().Partial() {
			h.complete(eth)
		}
	case 3:
		f.VLANProto, f.VLAN = 0x8100, uint16(s.byte())
	case 4:
		f.Buf = f.Buf[:max(len(f.Buf)-int(s.byte()), nic.VNetHdrLen)]
	case 5:
		f.Buf = append(f.Buf, make([]byte, s.byte()&15)...)
	case 6:
		f.Tail = []byte("tail")
	case 7:
		s.flows[n].seq += uint32(s.byte())
	}
	return f
}

// check merges the frames and finds out whether what the receiver gets is what was
// given. It returns how many frames were merged into others.
func check(m *merge.Merger, frames []*nic.Frame) (merged int, err error) {
	before, flows := make([][]byte, len(frames)), make([]string, len(frames))
	for i, f := range frames {
		before[i], flows[i] = bytes.Clone(f.Buf), flowOf(f)
	}
	out := m.Merge(frames)
	members := make([][]int, len(out))
	for i, f := range frames {
		if !bytes.Equal(f.Buf, before[i]) {
			return 0, fmt.Errorf("frame %d was changed", i)
		}
		members[m.Of(i)] = append(members[m.Of(i)], i)
	}
	var order []int
	for k, f := range out {
		order = append(order, members[k]...)
		switch len(members[k]) {
		case 0:
			return 0, fmt.Errorf("frame %d is of none that was given", k)
		case 1:
			if f != frames[members[k][0]] {
				return 0, fmt.Errorf("frame %d, which was not merged, is another", k)
			}
		default:
			if err := restores(f, frames, members[k]); err != nil {
				return 0, fmt.Errorf("frame %d of %v: %w", k, members[k], err)
			}
		}
	}
	for at, i := range order {
		for _, j := range order[at+1:] {
			if j < i && (flows[i] == flows[j] || flows[i] == "" || flows[j] == "") {
				return 0, fmt.Errorf("frame %d goes before %d", i, j)
			}
		}
	}
	return len(frames) - len(out), nil
}

// restores finds out whether the segments of f are those frames.
func restores(f *nic.Frame, frames []*nic.Frame, members []int) error {
	segments, err := segmented(f)
	if err != nil {
		return err
	}
	if len(segments) != len(members) || len(f.Segments) != len(members) {
		return fmt.Errorf("%d segments", len(segments))
	}
	first := frames[members[0]].Eth()
	for i, s := range segments {
		given := frames[members[i]]
		if given.VLAN != f.VLAN || given.VLANProto != f.VLANProto {
			return fmt.Errorf("frame %d has another tag", members[i])
		}
		want := completed(given)
		h := headersOf(want)
		if !h.ok || h.udp && binary.BigEndian.Uint16(want[h.sum:]) == 0 {
			return fmt.Errorf("frame %d was merged", members[i])
		}
		if !h.v6 && want[20]&0x40 != 0 && [2]byte(want[18:]) == [2]byte(first[18:]) {
			// The kernel's segmentation numbers them.
			c, id := binary.BigEndian.Uint16(want[24:]), binary.BigEndian.Uint16(want[18:])
			binary.BigEndian.PutUint16(want[18:], id+uint16(i))
			binary.BigEndian.PutUint16(want[24:], wire.Update16(c, id, id+uint16(i)))
		}
		if given.VNet()[0]&(nic.VNetNeedsCsum|nic.VNetDataValid) == nic.VNetDataValid {
			copy(want[h.sum:], s[h.sum:h.sum+2]) // somebody has verified it
		}
		// There are two ways to write a checksum of zero.
		sums := []int{h.sum}
		if !h.v6 {
			sums = append(sums, 24)
		}
		for _, at := range sums {
			if binary.BigEndian.Uint16(s[at:])%0xffff == 0 && binary.BigEndian.Uint16(want[at:])%0xffff == 0 {
				copy(want[at:], s[at:at+2])
			}
		}
		if !bytes.Equal(s, want) {
			return fmt.Errorf("segment %d is\n%x, and frame %d was\n%x", i, s, members[i], want)
		}
	}
	return nil
}

// flowOf returns what flow a frame is of, "" if that cannot be told: then nothing may
// overtake it, nor it anything.
func flowOf(f *nic.Frame) string {
	h := headersOf(f.Eth())
	if !h.ok || len(f.Tail) > 0 {
		return ""
	}
	at := 26
	if h.v6 {
		at = 22
	}
	return fmt.Sprintf("%t %x", h.udp, f.Eth()[at:h.l4+4])
}

// TestRandom has random flows, with random mutations, be what they were after
// merging and segmentation.
func TestRandom(t *testing.T) {
	const turns = 5_000
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	m := merge.Merger{Datagrams: true}
	var merged, all int
	for range turns {
		in := make([]byte, r.IntN(300))
		for i := range in {
			// Mostly what can be merged.
			if in[i] = byte(r.Uint32()); r.IntN(3) > 0 {
				in[i] &= 0x07
			}
		}
		s := script{in: in}
		frames := s.frames()
		n, err := check(&m, frames)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		merged, all = merged+n, all+len(frames)
	}
	t.Logf("%d of %d frames went into others", merged, all)
	if merged < all/20 {
		t.Errorf("seed %d: of %d frames only %d went into others", seed, all, merged)
	}
}

func FuzzMerge(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x00\x00\x01\x00\x01\x00"))
	f.Add([]byte("\x02\x02\x02\x02\x02\x0a\x10\x20\x02\x12\x10\x20\x04\x00\x04\x00"))
	f.Add([]byte("\x80\x00\x08\x00\x00\x80\x00\x02\x40\x00\x20\x00\x00"))
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 1000 {
			return
		}
		m := merge.Merger{Datagrams: true}
		for s := (script{in: in}); len(s.in) > 0; {
			if _, err := check(&m, s.frames()); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// FuzzBytes has frames be of any bytes, twice each.
func FuzzBytes(f *testing.F) {
	for _, s := range []spec{{size: 20}, {size: 20, v6: true}, {size: 20, udp: true}, {size: 20, v6: true, udp: true, trust: partial}} {
		f.Add(s.frame().Buf)
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, in []byte) {
		m := merge.Merger{Datagrams: true}
		buf := append(make([]byte, max(0, nic.VNetHdrLen-len(in))), in...)
		next := bytes.Clone(buf)
		if h := headersOf(next[nic.VNetHdrLen:]); h.ok && !h.udp {
			eth := next[nic.VNetHdrLen:]
			at := eth[h.l4+4:]
			binary.BigEndian.PutUint32(at, binary.BigEndian.Uint32(at)+uint32(h.end-h.payload))
			h.complete(eth)
		}
		if _, err := check(&m, []*nic.Frame{{Buf: buf}, {Buf: next}}); err != nil {
			t.Fatal(err)
		}
	})
}

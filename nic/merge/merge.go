// Package merge joins consecutive segments of a flow into super-frames, as the
// kernel's receive offload does (tcp_gro_receive in net/ipv4/tcp_offload.c,
// udp_gro_receive in udp_offload.c, inet_gro_receive in af_inet.c). What it makes is
// one frame with a virtio-net header that has whoever sends or receives it cut it
// into the same segments again, so that what is done once a frame is done once for
// many.
//
// It is pure: frames in, frames out. It allocates nothing, and does not touch the
// frames that it is given.
package merge

import (
	"encoding/binary"

	"vsnat/nic"
)

// maxFrame bounds the bytes of a merged frame, its Ethernet header and tag included:
// the kernel has a driver segment what is shorter than GSO_LEGACY_MAX_SIZE (65536,
// include/linux/netdevice.h), and an IP packet has no more.
//
// There are never too many segments: the kernel takes 128 datagrams at once
// (UDP_MAX_SEGMENTS), and a batch has 64 frames.
const maxFrame = 1<<16 - 1

// tableSize is at least four times as many as there are groups, so that searches are
// short. A group's number and one fit in a byte.
const tableSize = 256

// Merger merges the frames of one batch after the other. Only one goroutine uses it.
type Merger struct {
	// Datagrams says that UDP is merged too. A kernel before Linux 6.2 does not take
	// merged datagrams.
	Datagrams bool

	segments [nic.MaxBatch]segment
	next     [nic.MaxBatch]uint8 // of the same group
	groups   [nic.MaxBatch]group
	of       [nic.MaxBatch]uint8
	table    [tableSize]uint8 // number and one of each flow's last group, found by the flow's hash

	out      [nic.MaxBatch]*nic.Frame
	frames   [nic.MaxBatch]nic.Frame
	heads    [nic.MaxBatch][maxHead]byte
	payloads [nic.MaxBatch][]byte
}

// group are frames that become one.
type group struct {
	first, last int // segments
	count       int
	open        bool // more may follow
	checked     bool // the first one's checksums are right
	fixed       bool // all have the same IPv4 identification
	seq         uint32
	length      int // of the frame in bytes
}

// Merge returns the frames to send in place of those given, which are to leave by
// one NIC in that order and are at most [nic.MaxBatch]. Frames of one flow keep their
// order, those of different flows may change places. A frame that was merged of
// several has their payloads in [nic.Frame.Segments]; frames that were not merged are
// the given ones. What is returned is valid until the next call, and as long as the
// given frames are.
func (m *Merger) Merge(frames []*nic.Frame) []*nic.Frame {
	clear(m.table[:])
	n, merged := 0, false
	for i, f := range frames {
		s := &m.segments[i]
		kind := s.read(f, m.Datagrams)
		if kind == foreign {
			// What flow it is of is not known, so that it may not be overtaken.
			clear(m.table[:])
		} else {
			at := m.find(s)
			if *at != 0 && kind == joinable && m.join(int(*at-1), i) {
				merged = true
				continue
			}
			*at = uint8(n + 1)
		}
		m.begin(n, i, f)
		m.groups[n].open = kind == joinable && !s.ends
		n++
	}
	if merged {
		m.build(n)
	}
	return m.out[:n]
}

// Of returns which of the frames that Merge returned last the given frame i is in.
func (m *Merger) Of(i int) int { return int(m.of[i]) }

// begin has the frame f, segment i, begin group n.
func (m *Merger) begin(n, i int, f *nic.Frame) {
	s, g := &m.segments[i], &m.groups[n]
	g.first, g.last, g.count, g.checked, g.fixed = i, i, 1, false, false
	g.seq, g.length = s.seq+uint32(s.size), f.Len()
	m.of[i], m.out[n] = uint8(n), f
}

// find returns the table's place for the flow of s. It is 0 if the flow has no group.
func (m *Merger) find(s *segment) *uint8 {
	for h := uint8(s.hash >> 56); ; h++ {
		at := &m.table[h]
		if *at == 0 {
			return at
		}
		if of := &m.segments[m.groups[*at-1].first]; of.hash == s.hash && of.sameFlow(s) {
			return at
		}
	}
}

// join makes segment i part of a group, if it may be. If it may not, it begins one
// of its own, and none that comes later may be.
func (m *Merger) join(to, i int) bool {
	g := &m.groups[to]
	first, s := &m.segments[g.first], &m.segments[i]
	if !g.open || !first.goesOn(s) || s.size > first.size || g.length+s.size > maxFrame || !s.udp && s.seq != g.seq || !g.numbered(first, s) {
		return false
	}
	if !g.checked {
		if !first.right() {
			return false
		}
		g.checked = true
	}
	if !s.right() {
		return false
	}
	m.of[i], m.next[g.last] = uint8(to), uint8(i)
	g.last = i
	g.count++
	g.seq += uint32(s.size)
	g.length += s.size
	g.open = s.size == first.size && !s.ends
	return true
}

// numbered reports whether the segment's IPv4 identification is that of the next one
// in the group: one more, or the same in all if they are not to be fragmented, as it
// means nothing then (RFC 6864). Segments get it one more each.
func (g *group) numbered(first, s *segment) bool {
	if s.v6 {
		return true
	}
	const mayBeFixed = flagDF
	if g.count == 1 {
		g.fixed = s.id == first.id && be16(s.eth[offFrag:])&mayBeFixed != 0
	}
	if g.fixed {
		return s.id == first.id
	}
	return s.id == first.id+uint16(g.count)
}

// build makes the frames of the first n groups that have several.
func (m *Merger) build(n int) {
	used := 0
	for i := range m.groups[:n] {
		g := &m.groups[i]
		if g.count == 1 {
			continue
		}
		first, last := &m.segments[g.first], &m.segments[g.last]
		payloads := m.payloads[used : used : used+g.count]
		used += g.count
		for j := g.first; ; j = int(m.next[j]) {
			s := &m.segments[j]
			payloads = append(payloads, s.eth[s.head:s.head+s.size])
			if j == g.last {
				break
			}
		}
		old, f := m.out[i], &m.frames[i]
		f.Buf = m.heads[i][:nic.VNetHdrLen+copy(m.heads[i][nic.VNetHdrLen:], first.eth[:first.head])]
		f.Segments = payloads
		f.Time, f.Type, f.VLAN, f.VLANProto = old.Time, old.Type, old.VLAN, old.VLANProto
		f.WireLen = first.head + int(g.seq-first.seq) // of UDP, seq is 0 at its first byte
		first.finish(f, last, f.WireLen)
		m.out[i] = f
	}
}

func be16(b []byte) uint16 { return binary.BigEndian.Uint16(b) }

package nat

import (
	"encoding/binary"

	"vsnat/nat/forward"
	"vsnat/nat/wire"
	"vsnat/nic"
)

const (
	// segmentSlots is how many segments of tunnelled super-frames leave in one
	// round: those of a batch of 64 KB each with segments of 1 KB, or more of them.
	segmentSlots = 4096
	// segmentRoom is the memory for their headers in bytes.
	segmentRoom = segmentSlots * 192
)

// segmentPool is the memory for segments' headers. Payload stays in the
// super-frame.
type segmentPool struct {
	frames []nic.Frame
	used   int
	memory []byte
	taken  int // bytes of memory
}

func (p *segmentPool) init() {
	p.frames = make([]nic.Frame, segmentSlots)
	p.memory = make([]byte, segmentRoom)
}

func (p *segmentPool) reclaim() { p.used, p.taken = 0, 0 }

// has reports whether there is room for so many frames, each of n bytes and its
// payload.
func (p *segmentPool) has(frames, n int) bool {
	return p.used+frames <= len(p.frames) && p.taken+frames*n <= len(p.memory)
}

// next returns a frame of n bytes, which there is room for.
func (p *segmentPool) next(n int) *nic.Frame {
	f := &p.frames[p.used]
	f.Buf = p.memory[p.taken : p.taken+n : p.taken+n]
	p.used++
	p.taken += n
	f.VNet().Clear()
	return f
}

// segmented reports whether the frame is a super-frame that is to be cut into
// segments with transport headers of their own.
func (w *Worker) segmented(j *job) bool {
	if !j.flow || w.pkt.Frag {
		return false
	}
	switch j.f.VNet().GSOType() {
	case nic.VNetGSOTCPv4, nic.VNetGSOTCPv6:
		return j.proto == ProtoTCP
	case nic.VNetGSOUDPL4:
		return j.proto == ProtoUDP
	}
	return false
}

// sendSegments sends the super-frame's segments, each behind a header o of n bytes.
// The hop's link-layer address is known.
func (w *Worker) sendSegments(j *job, hop *nic.Hop, o *forward.Outer, n int) Verdict {
	h := j.f.VNet()
	s, ok := forward.NewSegments(j.ip, len(j.ip)-len(j.l4), j.proto == ProtoTCP, int(h.GSOSize()), h.Partial())
	if !ok {
		return drop(Truncated)
	}
	l3 := cap(j.eth) - cap(j.ip)
	head := nic.VNetHdrLen + l3 + n + s.HeadLen()
	count := s.Len()
	if !w.tunnels.has(count, head) {
		return drop(TooBig)
	}
	for i := range count {
		f := w.tunnels.next(head)
		eth := wire.Ethernet(f.Eth())
		copy(eth[:l3], j.eth)
		eth.SetAddrs(&hop.DstMAC, &hop.SrcMAC)
		f.Tail = s.Next(eth[l3+n:])
		if !o.DF {
			o.ID = uint16(w.nextID())
		}
		o.Put(eth[l3:], f.Tail)
		binary.BigEndian.PutUint16(eth[l3-2:], wire.IP(eth[l3:]).EtherType())
		w.tagAnswer(f, j.f, hop.Index)
		w.out = append(w.out, Out{Frame: f, Port: hop.Index, From: j.i, Kind: Forward, Second: i > 0})
	}
	j.wrapped = n
	return forwarded
}

// sendPieces6 is [Worker.sendPieces] for a packet of ours, a tunnel's over IPv6:
// only who sends a packet may fragment it (RFC 8200, section 4.5). The frame has
// no extension headers.
func (w *Worker) sendPieces6(f *nic.Frame, hop *nic.Hop, from int) bool {
	eth := wire.Ethernet(f.Eth())
	ip := wire.IPv6(eth[wire.EthernetLen:])
	payload := ip.Payload()
	const head = wire.IPv6Len + wire.IPv6FragmentLen
	size := (hop.MTU - head) &^ 7
	if size <= 0 {
		return false
	}
	id := w.nextID()
	pieces, sent, first := w.pieces.used, len(w.out), w.pieces.taken
	for done := 0; done < len(payload); done += size {
		n := min(size, len(payload)-done)
		p := w.pieces.next(head + n)
		if p == nil {
			w.pieces.used, w.pieces.taken, w.out = pieces, first, w.out[:sent]
			return false
		}
		copy(p.Eth(), eth[:wire.EthernetLen+wire.IPv6Len])
		piece := wire.IPv6(p.Eth()[wire.EthernetLen:])
		piece.SetFragment(done, done+n < len(payload), id)
		copy(piece[head:], payload[done:done+n])
		w.tagAnswer(p, f, hop.Index)
		w.out = append(w.out, Out{Frame: p, Port: hop.Index, From: from, Kind: Forward, Second: done > 0})
	}
	return true
}

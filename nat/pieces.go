package nat

import (
	"encoding/binary"

	"vsnat/nat/wire"
	"vsnat/nic"
)

// Fragmentation: a packet that is too long for its next link and may be
// fragmented leaves in pieces (ip_fragment in net/ipv4/ip_output.c).

const (
	// pieceSlots and pieceRoom bound the pieces that a worker makes in one round,
	// and their bytes.
	pieceSlots = 128
	pieceRoom  = 256 << 10
)

// pieces is where a worker makes them.
type pieces struct {
	frames [pieceSlots]nic.Frame
	used   int
	memory []byte
	taken  int // bytes of memory
}

func (p *pieces) init() { p.memory = make([]byte, pieceRoom) }

func (p *pieces) reclaim() { p.used, p.taken = 0, 0 }

// next returns a frame for an IP packet of n bytes, or nil when there is no room.
func (p *pieces) next(n int) *nic.Frame {
	n += nic.VNetHdrLen + wire.EthernetLen
	if p.used == pieceSlots || p.taken+n > len(p.memory) {
		return nil
	}
	f := &p.frames[p.used]
	f.Buf = p.memory[p.taken : p.taken+n : p.taken+n]
	f.VNet().Clear()
	f.VLANProto = 0
	p.used++
	p.taken += n
	return f
}

// divisible reports whether the packet may be fragmented, as none of IPv6 may, and
// can be here: the segments of a super-frame are made elsewhere.
func (j *job) divisible() bool {
	return !j.ip.DontFragment() && j.f.VNet().GSOType() == nic.VNetGSONone
}

// sendPieces sends the frame's IPv4 packet, ready but for its length, in
// fragments that fit the hop's MTU. from is as in [Out]. It reports false, and
// sends nothing, when there is no room for them.
func (w *Worker) sendPieces(f *nic.Frame, hop *nic.Hop, from int) bool {
	eth := wire.Ethernet(f.Eth())
	if wire.IP(eth[wire.EthernetLen:]).V6() {
		return w.sendPieces6(f, hop, from)
	}
	ip := wire.IPv4(eth[wire.EthernetLen:])
	ip = ip[:ip.TotalLen()]
	head := ip.HeaderLen()
	size := (hop.MTU - head) &^ 7
	if size <= 0 {
		return false
	}
	if h := f.VNet(); h.Partial() {
		completeChecksum(eth[:wire.EthernetLen+len(ip)], h)
	}
	offset, more := ip.FragmentOffset(), ip.MoreFragments()
	payload := ip[head:]
	pieces, sent, first := w.pieces.used, len(w.out), w.pieces.taken
	for done := 0; done < len(payload); {
		n := size
		if left := len(payload) - done; left <= hop.MTU-head {
			n = left
		}
		p := w.pieces.next(head + n)
		if p == nil {
			w.pieces.used, w.pieces.taken, w.out = pieces, first, w.out[:sent]
			return false
		}
		copy(p.Eth(), eth[:wire.EthernetLen+head])
		piece := wire.IPv4(p.Eth()[wire.EthernetLen:])
		copy(piece[head:], payload[done:done+n])
		if done > 0 {
			piece.ClearFirstOptions()
		}
		piece.SetFragment(head+n, offset+done, more || done+n < len(payload))
		w.tagAnswer(p, f, hop.Index)
		w.out = append(w.out, Out{Frame: p, Port: hop.Index, From: from, Kind: Forward, Second: done > 0})
		done += n
	}
	return true
}

// completeChecksum does what the frame's virtio-net header leaves to the sender.
func completeChecksum(eth []byte, h nic.VNet) {
	start := int(h.CsumStart())
	at := start + int(h.CsumOffset())
	if at+2 > len(eth) {
		return
	}
	binary.BigEndian.PutUint16(eth[at:], wire.SumToChecksum(wire.Sum(eth[start:], 0)))
	h.Clear()
}

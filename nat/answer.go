package nat

import (
	"vsnat/nat/wire"
	"vsnat/nic"
)

const (
	// answerSlots is how many answers one round may make: two for every frame of
	// the batch, a reset to each side, and one for every held one.
	answerSlots = 2*nic.MaxBatch + holdSlots
	// answerLen is the length of the longest: an ICMP error of 576 bytes (RFC
	// 1812, section 4.3.2.3).
	answerLen = nic.VNetHdrLen + wire.EthernetLen + 576
)

// answers are the frames the worker makes itself. Their memory is used again
// in the next round.
type answers struct {
	frames [answerSlots]nic.Frame
	used   int
	ipID   uint16
}

func (a *answers) init() {
	mem := make([]byte, answerSlots*answerLen)
	for i := range a.frames {
		a.frames[i].Buf = mem[i*answerLen : i*answerLen : (i+1)*answerLen]
	}
}

func (a *answers) reclaim() { a.used = 0 }

// next returns a free frame and the room for its IPv4 packet.
func (a *answers) next() (*nic.Frame, []byte) {
	f := &a.frames[a.used]
	a.used++
	f.Buf = f.Buf[:answerLen]
	f.VNet().Clear()
	return f, f.Buf[nic.VNetHdrLen+wire.EthernetLen:]
}

// hostAnswer deals with a packet that IPVS leaves to the host. Where the guard
// has kept it from the host, we answer as the host's stack would that has no
// socket for it: a reset, or port unreachable.
func (w *Worker) hostAnswer(j *job) Verdict {
	p := w.pkt
	if !w.e.opt.Guarded || !w.snap.owns(p, w.index) {
		return passed
	}
	switch {
	case p.Frag && p.Proto == ProtoTCP:
		return drop(Fragment) // what it acknowledges is not known
	case !p.Frag && !w.checksumOK(j):
		return drop(BadChecksum)
	}
	if w.pkt.Proto == ProtoUDP {
		return w.answerError(j, w.pkt.Dst, wire.ICMPv4DstUnreachable, wire.ICMPv4PortUnreachable, 0)
	}
	tcp := wire.TCP(j.l4)
	if !tcp.IsValid() {
		return drop(Truncated)
	}
	if tcp.Flags()&wire.RST != 0 || !unicast(w.pkt.Src) {
		return drop(NoAnswer)
	}
	f, room := w.answers.next()
	n := wire.BuildTCPReset4(room, j.ip)
	return w.answer(f, n, w.pkt.Src, j.eth, j.i)
}

// checksumOK verifies the transport checksum of a packet we are to answer. One
// that is still to be completed comes from a host next to us and is right.
func (w *Worker) checksumOK(j *job) bool {
	if j.partial() || j.f.VNet()[0]&nic.VNetDataValid != 0 {
		return true
	}
	if w.pkt.Proto == ProtoUDP && wire.UDP(j.l4).Checksum() == 0 {
		return true
	}
	return wire.Fold(wire.Sum(j.l4, wire.PseudoSum4(j.ip.Src(), j.ip.Dst(), w.pkt.Proto, len(j.l4)))) == 0xffff
}

// answerError answers the packet with an ICMP error from the address src.
func (w *Worker) answerError(j *job, src Addr, typ, code uint8, rest uint32) Verdict {
	if !unicast(w.pkt.Src) || w.pkt.Proto == wire.ProtoICMP && wire.ICMPv4(j.l4).IsError() {
		return drop(NoAnswer)
	}
	needFrag := typ == wire.ICMPv4DstUnreachable && code == wire.ICMPv4FragNeeded
	if w.e.opt.ICMPRate && !needFrag && !w.limit.allow(w.pkt.Src, w.now) {
		return drop(ICMPLimited)
	}
	f, room := w.answers.next()
	w.answers.ipID++
	n := wire.BuildICMPv4Error(room, [4]byte(src[12:]), w.answers.ipID, typ, code, rest, j.ip)
	return w.answer(f, n, w.pkt.Src, j.eth, j.i)
}

// answerFromHost is answerError from the address that the host itself has
// towards the packet's sender.
func (w *Worker) answerFromHost(j *job, typ, code uint8, rest uint32) Verdict {
	hop := w.hop(w.pkt.Src)
	if hop.Src == (Addr{}) {
		return drop(NoRouteOut)
	}
	return w.answerError(j, hop.Src, typ, code, rest)
}

// answer sends the n bytes of IPv4 packet in f to the host that sent the frame
// back: by the routes, or where the link-layer address of its next hop is not
// known, to the station that the frame came from.
func (w *Worker) answer(f *nic.Frame, n int, to Addr, back wire.Ethernet, from int) Verdict {
	if n == 0 {
		w.answers.used--
		return drop(NoAnswer)
	}
	f.Buf = f.Buf[:nic.VNetHdrLen+wire.EthernetLen+n]
	eth := wire.Ethernet(f.Eth())
	eth.SetType(wire.TypeIPv4)
	port := w.index
	if hop := w.hop(to); hop.State == nic.HopResolved {
		eth.SetDst(hop.DstMAC)
		eth.SetSrc(hop.SrcMAC)
		port = hop.Index
	} else if back != nil {
		eth.SetDst(back.Src())
		eth.SetSrc(back.Dst())
	} else {
		w.answers.used--
		return drop(NoRouteOut)
	}
	w.out = append(w.out, Out{Frame: f, Port: port, From: from, Kind: Reply})
	return replied
}

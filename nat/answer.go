package nat

import (
	"vsnat/conntrack"
	"vsnat/nat/wire"
	"vsnat/nic"
)

const (
	// answerSlots is how many answers one round may make: two for every frame of
	// the batch, a reset to each side, and one for every held one.
	answerSlots = 2*nic.MaxBatch + holdSlots
	// answerLen is the length of the longest: an ICMPv6 error.
	answerLen = nic.VNetHdrLen + wire.EthernetLen + wire.ICMPv6ErrorMax
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

// next returns a free frame and the room for its IP packet.
func (a *answers) next() (*nic.Frame, []byte) {
	f := &a.frames[a.used]
	a.used++
	f.Buf = f.Buf[:answerLen]
	f.VNet().Clear()
	return f, f.Buf[nic.VNetHdrLen+wire.EthernetLen:]
}

// hostAnswer deals with a packet that IPVS leaves to the host. Where the guard
// has kept it from the host, we answer as the host's stack would that has no
// socket for it: a reset, an ABORT, or port unreachable.
func (w *Worker) hostAnswer(j *job) Verdict {
	p := w.pkt
	if j.aboutError || !w.e.opt.Guarded || !w.snap.owns(p, w.index) {
		return passed
	}
	switch {
	case p.Frag && p.Proto != ProtoUDP:
		return drop(Fragment) // what it acknowledges is not known
	case !p.Frag && !w.checksumOK(j):
		return drop(BadChecksum)
	}
	if w.pkt.Proto == ProtoUDP {
		return w.answerError(j, w.pkt.Dst, portUnreachable, 0)
	}
	if w.pkt.Proto == ProtoTCP && !wire.TCP(j.l4).IsValid() {
		return drop(Truncated)
	}
	if w.ends(j) || !unicast(&w.pkt.Src) {
		return drop(NoAnswer)
	}
	f, room := w.answers.next()
	return w.answer(f, w.refusal(room, j), w.pkt.Src, j.eth, j.i)
}

// checksumOK verifies the transport checksum of a packet we are to answer. One
// that is still to be completed comes from a host next to us and is right.
func (w *Worker) checksumOK(j *job) bool {
	if j.partial() || j.f.VNet()[0]&nic.VNetDataValid != 0 {
		return true
	}
	switch j.proto {
	case wire.ProtoESP, wire.ProtoAH:
		return true // they have none
	case ProtoUDP:
		if !w.pkt.V6 && wire.UDP(j.l4).Checksum() == 0 {
			return true
		}
	case ProtoSCTP:
		s := wire.SCTP(j.l4)
		return s.IsValid() && s.Checksum() == s.CalculateChecksum()
	}
	return wire.Fold(wire.Sum(j.l4, j.ip.PseudoSum(j.proto, len(j.l4)))) == 0xffff
}

// trouble is what an ICMP error of ours says.
type trouble uint8

const (
	portUnreachable trouble = iota
	hostUnreachable
	netUnreachable
	hopsExceeded
	packetTooBig
)

// troubleWords are the types and codes for it in ICMP and in ICMPv6.
var troubleWords = [...]struct{ type4, code4, type6, code6 uint8 }{
	portUnreachable: {wire.ICMPv4DstUnreachable, wire.ICMPv4PortUnreachable, wire.ICMPv6DstUnreachable, wire.ICMPv6PortUnreachable},
	hostUnreachable: {wire.ICMPv4DstUnreachable, wire.ICMPv4HostUnreachable, wire.ICMPv6DstUnreachable, wire.ICMPv6AddressUnreachable},
	netUnreachable:  {wire.ICMPv4DstUnreachable, wire.ICMPv4NetUnreachable, wire.ICMPv6DstUnreachable, wire.ICMPv6NoRoute},
	hopsExceeded:    {wire.ICMPv4TimeExceeded, wire.ICMPv4HopsExceeded, wire.ICMPv6TimeExceeded, wire.ICMPv6HopsExceeded},
	packetTooBig:    {wire.ICMPv4DstUnreachable, wire.ICMPv4FragNeeded, wire.ICMPv6PacketTooBig, 0},
}

// leastMTU6 is the smallest MTU that an IPv6 host may be told (RFC 8200, section
// 5).
const leastMTU6 = 1280

// answerError answers the packet with an ICMP error from the address src; mtu is
// that of the next link, if the packet is too big.
func (w *Worker) answerError(j *job, src Addr, t trouble, mtu int) Verdict {
	to := w.pkt.Src
	if !unicast(&to) || j.isICMPError() {
		return drop(NoAnswer)
	}
	if t != packetTooBig && !w.mayAnswer(to) {
		return drop(ICMPLimited)
	}
	if w.pkt.V6 && !w.routes.own.has(&src) {
		// What comes to the host by its mark alone goes to no address of the host,
		// even if a route makes it local (icmp6_send in net/ipv6/icmp.c).
		if hop := w.hop(&to); hop.Src != (Addr{}) {
			src = hop.Src
		}
	}
	f, room := w.answers.next()
	return w.answer(f, w.writeError(room, &src, t, mtu, j.ip), to, j.eth, j.i)
}

// answerFor is answerError about a packet that the client of a connection sent.
// Where the server's packets need no translation, the kernel takes its own error for
// one of theirs and counts it (ip_vs_out_icmp, which sees it leave).
func (w *Worker) answerFor(j *job, c *conntrack.Conn, t trouble, mtu int) Verdict {
	v := w.answerError(j, w.pkt.Dst, t, mtu)
	switch c.Method() {
	case conntrack.Direct, conntrack.Tunnel:
		if v == replied && c.Flags&conntrack.OnePacket == 0 {
			n := w.counts.of(c.Server)
			n.OutPkts++
			n.OutBytes += uint64(len(w.out[len(w.out)-1].Frame.Eth()) - wire.EthernetLen)
		}
	}
	return v
}

// mayAnswer reports whether the limits let another ICMP error go to a host.
func (w *Worker) mayAnswer(to Addr) bool {
	return !w.e.opt.ICMPRate || w.limit.allow(to, w.errorGap(to), w.now)
}

// writeError writes an ICMP error from src about the packet orig to the start of
// room, and returns its length in bytes.
func (w *Worker) writeError(room []byte, src *Addr, t trouble, mtu int, orig wire.IP) int {
	words := &troubleWords[t]
	if orig.V6() {
		if t == packetTooBig {
			mtu = max(mtu, leastMTU6)
		}
		return wire.BuildICMPv6Error(room, *src, words.type6, words.code6, uint32(mtu), wire.IPv6(orig))
	}
	w.answers.ipID++
	return wire.BuildICMPv4Error(room, [4]byte(src[12:]), w.answers.ipID, words.type4, words.code4, uint32(mtu), wire.IPv4(orig))
}

// answerFromHost is answerError from the address that the host itself has
// towards the packet's sender.
func (w *Worker) answerFromHost(j *job, t trouble, mtu int) Verdict {
	if w.fromHost() {
		// The host itself takes no packet from its own address.
		return w.answerError(j, w.pkt.Dst, t, mtu)
	}
	hop := w.hop(&w.pkt.Src)
	if hop.Src == (Addr{}) {
		return drop(NoRouteOut)
	}
	return w.answerError(j, hop.Src, t, mtu)
}

// answer sends the n bytes of IP packet in f to the host that sent the frame
// back: by the routes, or where the link-layer address of its next hop is not
// known, to the station that the frame came from.
func (w *Worker) answer(f *nic.Frame, n int, to Addr, back wire.Ethernet, from int) Verdict {
	if n == 0 {
		w.answers.used--
		return drop(NoAnswer)
	}
	f.Buf = f.Buf[:nic.VNetHdrLen+wire.EthernetLen+n]
	eth := wire.Ethernet(f.Eth())
	eth.SetType(wire.IP(eth.Payload()).EtherType())
	port := w.index
	if hop := w.hop(&to); hop.State == nic.HopResolved && !linkLocal(&to) {
		eth.SetAddrs(&hop.DstMAC, &hop.SrcMAC)
		port = hop.Index
	} else if back != nil {
		eth.SetDst(back.Src())
		eth.SetSrc(back.Dst())
	} else {
		w.answers.used--
		return drop(NoRouteOut)
	}
	w.tagAnswer(f, w.frame, port)
	w.out = append(w.out, Out{Frame: f, Port: port, From: from, Kind: Reply})
	return replied
}

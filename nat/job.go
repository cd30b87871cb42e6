package nat

import (
	"vsnat/nat/wire"
	"vsnat/nic"
)

// job is one frame on its way through the engine.
type job struct {
	f   *nic.Frame
	i   int // its index in the batch
	eth wire.Ethernet
	ip  wire.IP // from the IP header to the end of the IP packet
	l4  []byte  // transport header and payload

	in    bool // to a VIP
	home  bool // to an address that ports of pools are on
	proto uint8
	flow  bool   // of a protocol that services have, and with ports
	later bool   // a fragment without ports
	hash  uint64 // if flow, of its client: the source if in, else the destination
	port  uint64 // if flow and home, its hash in the book of ports

	next Addr // whose next hop is the frame's; set by whoever sends it
	long bool // for the link to that; leaves in pieces

	// Of a packet for a tunnel: the port that its datagrams come from, and once it
	// is wrapped the length of what is before it.
	srcPort uint16
	wrapped int

	// Of the connection that it was found to belong to.
	server   uint32 // the engine's number; 0 is none
	toServer bool

	mark       uint32 // see [Worker.mark]
	classified bool

	aboutError bool // it is an ICMP error, and judged as the answer to what it quotes
}

// read parses the frame into j and the packet of that index. It returns
// undecided, unless the frame is none that judgement is passed on.
func (w *Worker) read(j *job, f *nic.Frame, i int) Verdict {
	if f.Type != nic.ToHost {
		return passed
	}
	eth := wire.Ethernet(f.Eth())
	if !eth.IsValid() {
		return drop(Truncated)
	}
	if t := eth.Type(); f.VLANProto != 0 || t != wire.TypeIPv4 && t != wire.TypeIPv6 {
		if !w.untag(f) {
			return passed
		}
		eth = f.Eth()
	}
	p := &w.pkts[i]
	j.later = false
	switch p.Parse(eth) {
	case wire.Parsed:
	case wire.LaterFragment:
		if j.later = w.followed(p); !j.later && !isIPsec(p) {
			return passed
		}
	case wire.OtherProtocol:
		if !isIPsec(p) {
			return passed
		}
	case wire.Truncated:
		if f.Cut() {
			return drop(CutByRing)
		}
		return drop(Truncated)
	default:
		return drop(BadIPHeader)
	}
	// Field by field: a literal is made elsewhere and copied.
	j.f, j.i = f, i
	j.eth, j.ip, j.l4 = eth, wire.IP(eth[p.L3:p.End]), eth[p.L4:p.End]
	j.proto = p.Proto
	j.flow, j.long, j.server, j.toServer, j.mark, j.classified = false, false, 0, false, 0, false
	j.wrapped = 0
	if !p.V6 && !wire.IPv4(j.ip).ChecksumOK() {
		return drop(BadIPChecksum)
	}
	j.in = w.snap.vips.has(&p.Dst)
	j.home = w.snap.locals.has(&p.Dst)
	switch {
	case j.later, p.Proto == wire.ProtoICMP, p.Proto == wire.ProtoICMPv6, isIPsec(p):
		return undecided
	case p.Proto != ProtoTCP && p.Proto != ProtoUDP && p.Proto != ProtoSCTP:
		return passed
	case j.in:
		j.hash = w.e.table.Hash(p.Proto, p.Src, p.SrcPort)
	default:
		j.hash = w.e.table.Hash(p.Proto, p.Dst, p.DstPort)
	}
	if j.home {
		k := portOf(p)
		j.port = w.e.table.Book().Hash(&k)
	}
	j.flow = true
	return undecided
}

// partial reports whether the frame's transport checksum is still to be
// completed by whoever sends it.
func (j *job) partial() bool { return j.f.VNet().Partial() }

// length returns the length in bytes of the packet that must fit the MTU: of
// a super-frame, that of one of its segments.
func (j *job) length() int {
	h := j.f.VNet()
	if h.GSOType() == nic.VNetGSONone || !j.flow {
		return len(j.ip)
	}
	head := len(j.ip) - len(j.l4)
	if j.proto == ProtoTCP {
		head += wire.TCP(j.l4).HeaderLen()
	} else {
		head += wire.UDPLen
	}
	return head + int(h.GSOSize())
}

// bytes returns how many bytes the packet counts for. A first fragment counts
// for itself and the headers of the whole, in which there is no fragment header.
func (w *Worker) bytes(j *job) uint32 {
	if w.pkt.Frag && w.pkt.V6 {
		return uint32(len(j.ip) - wire.IPv6FragmentLen)
	}
	return uint32(len(j.ip))
}

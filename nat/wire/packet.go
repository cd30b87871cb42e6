package wire

// Result is what a parser found.
type Result uint8

// The results. With Parsed, LaterFragment and OtherProtocol the addresses,
// L3, L4, End, Proto and the fragment fields are set.
const (
	_             Result = iota
	Parsed               // everything, ports or ICMP type included
	LaterFragment        // a fragment without its layer-4 header
	OtherProtocol        // IP, but neither TCP, UDP, SCTP, ICMP nor ICMPv6
	NotIP                // the EtherType is neither IPv4 nor IPv6
	Truncated            // the bytes end before the header they announce
	BadHeader            // a version or length field contradicts itself, or IPv6 has an IPv4-mapped address
	resultEnd
)

var resultNames = [resultEnd]string{
	Parsed:        "parsed",
	LaterFragment: "later fragment",
	OtherProtocol: "other protocol",
	NotIP:         "not IP",
	Truncated:     "truncated",
	BadHeader:     "bad header",
}

// String returns the result's name.
func (r Result) String() string {
	if r == 0 || r >= resultEnd {
		return "invalid"
	}
	return resultNames[r]
}

// maxTags is how many VLAN tags may stand between the Ethernet header and the
// IP header: a service tag and a customer tag.
const maxTags = 2

// Packet is where a packet's headers lie and what a connection table asks of
// them. It is reused: each parse overwrites it whole.
type Packet struct {
	L3  int // offset of the IP header, in bytes from the start of what was parsed
	L4  int // offset of what follows the IP header and its extensions
	End int // offset of the first byte behind the IP packet

	Src, Dst         [16]byte // IPv4 as IPv4-mapped
	SrcPort, DstPort uint16   // TCP, UDP, SCTP

	Proto    uint8 // protocol at L4, IPv6 extension headers stepped over
	TCPFlags uint8
	ICMPType uint8 // ICMP and ICMPv6
	ICMPCode uint8

	V6        bool
	Frag      bool   // a fragment: more follow, or its offset is not 0
	FirstFrag bool   // the fragment with offset 0
	MoreFrags bool   // a fragment that is not the last one
	FragOff   uint16 // where the fragment belongs, in bytes
	FragID    uint32
}

// Parse reads an Ethernet frame, over at most two VLAN tags, down to the ports.
// Bytes behind the IP packet are ignored. As in IPVS, only the fixed part of
// the layer-4 header must be there, and the length fields in TCP's and UDP's
// headers are not looked at.
func (p *Packet) Parse(eth []byte) Result {
	*p = Packet{}
	if len(eth) < EthernetLen {
		return Truncated
	}
	off := EthernetLen
	typ := Ethernet(eth).Type()
	for range maxTags {
		if typ != TypeVLAN && typ != TypeQinQ {
			break
		}
		tag := VLAN(eth[off:])
		if !tag.IsValid() {
			return Truncated
		}
		typ = tag.Type()
		off += VLANLen
	}
	switch typ {
	case TypeIPv4:
		return p.ipv4(eth, off, false)
	case TypeIPv6:
		return p.ipv6(eth, off, false)
	}
	return NotIP
}

// ParseQuoted reads the packet that an ICMP (v6 false) or ICMPv6 error quotes
// at offset off of b. Such a packet is cut short: its length field is not held
// against len(b), End is at most len(b), and of TCP, UDP and SCTP the four
// bytes of ports suffice.
func (p *Packet) ParseQuoted(b []byte, off int, v6 bool) Result {
	*p = Packet{}
	if off > len(b) {
		return Truncated
	}
	if v6 {
		return p.ipv6(b, off, true)
	}
	return p.ipv4(b, off, true)
}

// ipv4 reads the IPv4 packet at offset off of b.
func (p *Packet) ipv4(b []byte, off int, quoted bool) Result {
	ip := IPv4(b[off:])
	if len(ip) < IPv4MinLen {
		return Truncated
	}
	switch {
	case ip[ip4VerIHL]>>4 != 4, ip.HeaderLen() < IPv4MinLen, ip.TotalLen() < ip.HeaderLen():
		return BadHeader
	case ip.HeaderLen() > len(ip), !quoted && ip.TotalLen() > len(ip):
		return Truncated
	}
	p.L3, p.L4, p.End = off, off+ip.HeaderLen(), off+min(ip.TotalLen(), len(ip))
	p.Proto = ip.Protocol()
	p.Src[10], p.Src[11] = 0xff, 0xff
	copy(p.Src[12:], ip[ip4Src:ip4Src+4])
	p.Dst[10], p.Dst[11] = 0xff, 0xff
	copy(p.Dst[12:], ip[ip4Dst:ip4Dst+4])
	p.Frag = ip.Fragment()
	p.FirstFrag = p.Frag && ip.FragmentOffset() == 0
	p.MoreFrags, p.FragOff = ip.MoreFragments(), uint16(ip.FragmentOffset())
	p.FragID = uint32(ip.ID())
	return p.layer4(b[p.L4:p.End], ProtoICMP, quoted)
}

// ipv6 reads the IPv6 packet at offset off of b.
func (p *Packet) ipv6(b []byte, off int, quoted bool) Result {
	ip := IPv6(b[off:])
	if len(ip) < IPv6Len {
		return Truncated
	}
	if !ip.IsHeader() {
		return BadHeader
	}
	if !quoted && ip.TotalLen() > len(ip) {
		return Truncated
	}
	p.Src, p.Dst = ip.Src(), ip.Dst()
	if Is4(&p.Src) || Is4(&p.Dst) {
		// Would be taken for IPv4. Linux drops packets from such addresses, too
		// (ip6_rcv_core in net/ipv6/ip6_input.c).
		return BadHeader
	}
	end := min(ip.TotalLen(), len(ip))
	u, r := ip[:end].upper()
	if r != Parsed {
		return r
	}
	p.V6 = true
	p.L3, p.L4, p.End = off, off+u.Offset, off+end
	p.Proto = u.Proto
	p.Frag = u.MoreFragments || u.FragmentOffset != 0
	p.FirstFrag = p.Frag && u.FragmentOffset == 0
	p.MoreFrags, p.FragOff = u.MoreFragments, uint16(u.FragmentOffset)
	p.FragID = u.FragmentID
	return p.layer4(b[p.L4:p.End], ProtoICMPv6, quoted)
}

// layer4 reads the ports, or the ICMP type and code, from the payload l4. icmp
// is the number of the ICMP that belongs to the IP version.
func (p *Packet) layer4(l4 []byte, icmp uint8, quoted bool) Result {
	if p.Frag && !p.FirstFrag {
		return LaterFragment
	}
	var need int
	switch p.Proto {
	case ProtoTCP:
		need = TCPMinLen
	case ProtoUDP:
		need = UDPLen
	case ProtoSCTP:
		need = SCTPLen
	case icmp:
		if len(l4) < ICMPLen {
			return Truncated
		}
		p.ICMPType, p.ICMPCode = l4[icmpType], l4[icmpCode]
		return Parsed
	default:
		return OtherProtocol
	}
	if quoted {
		need = portsLen
	}
	if len(l4) < need {
		return Truncated
	}
	// The ports stand at the same place in all three headers.
	p.SrcPort, p.DstPort = UDP(l4).SrcPort(), UDP(l4).DstPort()
	if p.Proto == ProtoTCP && len(l4) > tcpFlags {
		p.TCPFlags = l4[tcpFlags]
	}
	return Parsed
}

package nat

import (
	"encoding/binary"

	"vsnat/conntrack"
	"vsnat/nat/wire"
	"vsnat/nic"
)

// plain is a packet as nearly all are, and what is to be known of it: TCP or UDP
// right behind an IP header without options or extensions, whole, untagged, and of
// TCP a segment that neither begins nor ends anything. See express.go.
type plain struct {
	// key is what its connection is found by: its source as Client and its destination
	// as Virtual, or the other way round if it is to no VIP.
	key   conntrack.Key
	hash  uint64 // of the key's client
	port  uint64 // if home, its hash in the book of ports
	found int    // and where among the batch's ports that is; else the same of its hash

	ok     bool // it is one; else nothing of this is set
	in     bool // to a VIP
	home   bool // to an address that ports of pools are on
	v6     bool
	flags  uint8  // TCP's
	length int    // of the IP packet in bytes
	ports  uint32 // as they stand in the packet
	server uint32
}

// Where a plain packet's fields are in a frame's memory.
const (
	plainEthType = nic.VNetHdrLen + 12
	plainIP      = nic.VNetHdrLen + wire.EthernetLen
	plainLeast   = plainIP + wire.Plain4UDP

	etherIPv4 = 0x08 // as read little endian
	etherIPv6 = 0xdd86
)

// readPlain reads the frame if it is a plain packet, and reports whether it is.
func (w *Worker) readPlain(q *plain, f *nic.Frame) bool {
	q.ok = false
	if f.Type != nic.ToHost || f.VLANProto != 0 || len(f.Buf) < plainLeast {
		return false
	}
	b := (*[plainLeast]byte)(f.Buf)
	// Addresses stay in words until their places are known: what is written in words
	// is not read sooner as a whole, which would be waited for.
	var src, dst words
	switch binary.LittleEndian.Uint16(b[plainEthType:]) {
	case etherIPv4:
		if !q.read4(f.Buf, b, &src, &dst) {
			return false
		}
	case etherIPv6:
		if !q.read6(f.Buf, &src, &dst) {
			return false
		}
	default:
		return false
	}
	k, t := &q.key, w.e.table
	sport, dport := uint16(q.ports>>16), uint16(q.ports)
	q.in, q.home = w.snap.vips.hasWords(dst.first, dst.second), w.snap.locals.hasWords(dst.first, dst.second)
	if q.home {
		q.port = t.Book().HashWords(k.Proto, [2]uint64{dst.first, dst.second}, dport, [2]uint64{src.first, src.second}, sport)
	}
	if !q.in {
		src, dst, sport, dport = dst, src, dport, sport
	}
	if sport == 0 {
		return false
	}
	src.put(&k.Client)
	dst.put(&k.Virtual)
	k.ClientPort, k.VirtualPort = sport, dport
	q.hash = t.HashWords(k.Proto, src.first, src.second, sport)
	q.ok = true
	return true
}

// words is an address's two halves, read little endian.
type words struct{ first, second uint64 }

func (w words) put(a *Addr) {
	binary.LittleEndian.PutUint64(a[:8], w.first)
	binary.LittleEndian.PutUint64(a[8:], w.second)
}

// mappedWords are the words of the IPv4 address at the start of b.
func mappedWords(b []byte) words {
	return words{0, 0xffff0000 | uint64(binary.LittleEndian.Uint32(b))<<32}
}

// read4 reads an IPv4 packet; b is the start of buf.
func (q *plain) read4(buf []byte, b *[plainLeast]byte, from, to *words) bool {
	const (
		versionAndLength = 0x45
		fragment         = 0x3fff // more fragments, or an offset
	)
	be := binary.BigEndian
	w0, w1, w2 := be.Uint32(b[plainIP:]), be.Uint32(b[plainIP+4:]), be.Uint32(b[plainIP+8:])
	src, dst := be.Uint32(b[plainIP+12:]), be.Uint32(b[plainIP+16:])
	total := int(w0 & 0xffff)
	if w0>>24 != versionAndLength || w1&fragment != 0 || w2>>24 <= 1 || total < wire.IPv4MinLen || total > len(buf)-plainIP ||
		wire.Fold(uint64(w0)+uint64(w1)+uint64(w2)+uint64(src)+uint64(dst)) != 0xffff {
		return false
	}
	q.v6, q.length = false, total
	*from, *to = mappedWords(b[plainIP+12:]), mappedWords(b[plainIP+16:])
	return q.layer4(buf[plainIP+wire.IPv4MinLen:plainIP+total], uint8(w2>>16), buf[0])
}

// read6 reads an IPv6 packet.
func (q *plain) read6(buf []byte, from, to *words) bool {
	ip := wire.IPv6(buf[plainIP:])
	if len(ip) < wire.Plain6UDP || ip[0]>>4 != 6 || ip.HopLimit() <= 1 {
		return false
	}
	q.v6, q.length = true, ip.TotalLen()
	if q.length > len(ip) || q.length < wire.IPv6Len || !q.layer4(ip[wire.IPv6Len:q.length], ip.NextHeader(), buf[0]) {
		return false
	}
	le := binary.LittleEndian
	*from, *to = words{le.Uint64(ip[8:]), le.Uint64(ip[16:])}, words{le.Uint64(ip[24:]), le.Uint64(ip[32:])}
	return !from.is4() && !to.is4()
}

// is4 reports whether it is an IPv4-mapped address.
func (w words) is4() bool { return w.first == 0 && uint32(w.second) == 0xffff0000 }

// layer4 reads the transport header, which t begins with; vnet is the flags of the
// frame's virtio-net header.
func (q *plain) layer4(t []byte, proto, vnet uint8) bool {
	const special = wire.SYN | wire.FIN | wire.RST
	switch proto {
	case ProtoTCP:
		if len(t) < wire.TCPMinLen {
			return false
		}
		if q.flags = wire.TCP(t).Flags(); q.flags&(special|wire.ACK) != wire.ACK || !wire.TCP(t).IsValid() {
			return false
		}
	case ProtoUDP:
		// Without a checksum it gets one, over all of it.
		if len(t) < wire.UDPLen || wire.UDP(t).Checksum() == 0 && vnet&nic.VNetNeedsCsum == 0 {
			return false
		}
		q.flags = 0
	default:
		return false
	}
	q.key.Proto, q.ports = proto, binary.BigEndian.Uint32(t)
	return true
}

// portKey is the port that the packet goes to, in the book of ports.
func (q *plain) portKey() (p conntrack.PortKey) {
	k := &q.key
	p.Local, p.LocalPort, p.Proto = k.Virtual, k.VirtualPort, k.Proto
	p.Remote, p.RemotePort = k.Client, k.ClientPort
	if !q.in {
		p.Local, p.LocalPort, p.Remote, p.RemotePort = p.Remote, p.RemotePort, p.Local, p.LocalPort
	}
	return p
}

// fits reports whether the packet in f, or of a super-frame each of its segments, is
// no longer than that.
func (q *plain) fits(f *nic.Frame, mtu int) bool {
	h := f.VNet()
	if h.GSOType() == nic.VNetGSONone {
		return q.length <= mtu
	}
	head := wire.IPv4MinLen
	if q.v6 {
		head = wire.IPv6Len
	}
	if q.key.Proto == ProtoTCP {
		head += wire.TCP(f.Buf[plainIP+head:]).HeaderLen()
	} else {
		head += wire.UDPLen
	}
	return head+int(h.GSOSize()) <= mtu
}

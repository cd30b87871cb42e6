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
	key  conntrack.Key
	hash uint64 // of the key's client
	port uint64 // if home, its hash in the book of ports

	ok     bool // it is one; else nothing of this is set
	in     bool // to a VIP
	home   bool // to an address that ports of pools are on
	v6     bool
	flags  uint8 // TCP's
	length int   // of the IP packet in bytes
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
	switch binary.LittleEndian.Uint16(b[plainEthType:]) {
	case etherIPv4:
		if !q.read4(f.Buf, b) {
			return false
		}
	case etherIPv6:
		if !q.read6(f.Buf) {
			return false
		}
	default:
		return false
	}
	k := &q.key
	q.in = w.snap.vips.has(&k.Virtual)
	if q.home = w.snap.locals.has(&k.Virtual); q.home {
		p := conntrack.PortKey{Local: k.Virtual, LocalPort: k.VirtualPort, Remote: k.Client, RemotePort: k.ClientPort, Proto: k.Proto}
		q.port = w.e.table.Book().Hash(&p)
	}
	if !q.in {
		k.Client, k.Virtual = k.Virtual, k.Client
		k.ClientPort, k.VirtualPort = k.VirtualPort, k.ClientPort
	}
	if k.ClientPort == 0 {
		return false
	}
	q.hash = w.e.table.Hash(k.Proto, k.Client, k.ClientPort)
	q.ok = true
	return true
}

// read4 reads an IPv4 packet; b is the start of buf.
func (q *plain) read4(buf []byte, b *[plainLeast]byte) bool {
	const (
		versionAndLength = 0x45
		fragment         = 0x3fff // more fragments, or an offset
	)
	be := binary.BigEndian
	w0, w1, w2 := be.Uint32(b[plainIP:]), be.Uint32(b[plainIP+4:]), be.Uint32(b[plainIP+8:])
	src, dst := be.Uint32(b[plainIP+12:]), be.Uint32(b[plainIP+16:])
	total := int(w0 & 0xffff)
	if w0>>24 != versionAndLength || w1&fragment != 0 || w2>>24 <= 1 || total > len(buf)-plainIP ||
		wire.Fold(uint64(w0)+uint64(w1)+uint64(w2)+uint64(src)+uint64(dst)) != 0xffff {
		return false
	}
	q.v6, q.length = false, total
	if !q.layer4(buf[plainIP+wire.IPv4MinLen:plainIP+total], uint8(w2>>16), buf[0]) {
		return false
	}
	putMapped(&q.key.Client, b[plainIP+12:])
	putMapped(&q.key.Virtual, b[plainIP+16:])
	return true
}

// putMapped makes a the IPv4 address at the start of b, in two words as it is read.
func putMapped(a *Addr, b []byte) {
	binary.LittleEndian.PutUint64(a[:8], 0)
	binary.LittleEndian.PutUint64(a[8:], 0xffff0000|uint64(binary.LittleEndian.Uint32(b))<<32)
}

// read6 reads an IPv6 packet.
func (q *plain) read6(buf []byte) bool {
	ip := wire.IPv6(buf[plainIP:])
	if len(ip) < wire.Plain6UDP || ip[0]>>4 != 6 || ip.HopLimit() <= 1 {
		return false
	}
	q.v6, q.length = true, ip.TotalLen()
	if q.length > len(ip) || q.length < wire.IPv6Len || !q.layer4(ip[wire.IPv6Len:q.length], ip.NextHeader(), buf[0]) {
		return false
	}
	q.key.Client, q.key.Virtual = ip.Src(), ip.Dst()
	return !wire.Is4(&q.key.Client) && !wire.Is4(&q.key.Virtual)
}

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
	ports := binary.BigEndian.Uint32(t)
	q.key.Proto, q.key.ClientPort, q.key.VirtualPort = proto, uint16(ports>>16), uint16(ports)
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

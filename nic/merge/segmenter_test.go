package merge_test

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"vsnat/nat/wire"
	"vsnat/nic"
)

// headers are where a plain TCP or UDP packet has what; ok is false of all others.
type headers struct {
	v6, udp      bool
	l4, sum, end int // offsets in the Ethernet frame
	payload      int
	ok           bool
}

func headersOf(eth []byte) (h headers) {
	proto := uint8(0)
	switch {
	case len(eth) >= 34 && eth[12] == 8 && eth[13] == 0 && eth[14] == 0x45:
		h.l4, h.end, proto = 34, 14+int(binary.BigEndian.Uint16(eth[16:])), eth[23]
		h.ok = binary.BigEndian.Uint16(eth[20:])&0xbfff == 0
	case len(eth) >= 54 && eth[12] == 0x86 && eth[13] == 0xdd && eth[14]>>4 == 6:
		h.v6, h.ok = true, true
		h.l4, h.end, proto = 54, 54+int(binary.BigEndian.Uint16(eth[18:])), eth[20]
	}
	h.ok = h.ok && h.end <= len(eth)
	switch proto {
	case 6:
		h.sum = h.l4 + 16
		if h.ok = h.ok && h.end >= h.l4+20; h.ok {
			h.payload = h.l4 + int(eth[h.l4+12]>>4)*4
			h.ok = h.payload >= h.l4+20 && h.payload <= h.end
		}
	case 17:
		h.sum, h.payload, h.udp = h.l4+6, h.l4+8, true
		h.ok = h.ok && h.end >= h.payload
	default:
		h.ok = false
	}
	return h
}

// pseudo returns the sum of the pseudo-header, with that length.
func (h headers) pseudo(eth []byte, length int) uint64 {
	proto := uint8(6)
	if h.udp {
		proto = 17
	}
	if h.v6 {
		return wire.PseudoSum6([16]byte(eth[22:]), [16]byte(eth[38:]), proto, length)
	}
	return wire.PseudoSum4([4]byte(eth[26:]), [4]byte(eth[30:]), proto, length)
}

// complete puts in the checksums, all of which are to be right.
func (h headers) complete(eth []byte) {
	if !h.v6 {
		binary.BigEndian.PutUint16(eth[24:], 0)
		binary.BigEndian.PutUint16(eth[24:], wire.Checksum(eth[14:34]))
	}
	binary.BigEndian.PutUint16(eth[h.sum:], 0)
	binary.BigEndian.PutUint16(eth[h.sum:], wire.SumToChecksum(wire.Sum(eth[h.l4:h.end], h.pseudo(eth, h.end-h.l4))))
}

// whole returns the bytes of a frame that is to be sent, without virtio-net header.
func whole(f *nic.Frame) []byte {
	all := append(bytes.Clone(f.Eth()), f.Tail...)
	for _, s := range f.Segments {
		all = append(all, s...)
	}
	return all
}

// segmented returns the segments that the kernel makes of a super-frame
// (tcp_gso_segment, __udp_gso_segment, inet_gso_segment), with complete checksums, or
// what is wrong with it.
func segmented(f *nic.Frame) (all [][]byte, err error) {
	eth, vnet := whole(f), f.VNet()
	h := headersOf(eth)
	want := uint8(nic.VNetGSOTCPv4)
	switch {
	case h.udp:
		want = nic.VNetGSOUDPL4
	case h.v6:
		want = nic.VNetGSOTCPv6
	}
	size := int(vnet.GSOSize())
	switch {
	case !h.ok || h.end != len(eth) || len(eth) != f.WireLen:
		return nil, fmt.Errorf("the headers are wrong: %+v of %d", h, len(eth))
	case vnet[0] != nic.VNetNeedsCsum || vnet[1] != want || int(vnet.HdrLen()) != h.payload:
		return nil, fmt.Errorf("virtio-net header %x of headers %+v", vnet, h)
	case int(vnet.CsumStart()) != h.l4 || int(vnet.CsumStart()+vnet.CsumOffset()) != h.sum:
		return nil, fmt.Errorf("virtio-net header %x of headers %+v", vnet, h)
	case size == 0 || size >= len(eth)-h.payload:
		return nil, fmt.Errorf("segments of %d bytes of %d", size, len(eth)-h.payload)
	case len(eth) > 65535:
		return nil, fmt.Errorf("%d bytes", len(eth))
	case h.udp && int(binary.BigEndian.Uint16(eth[h.l4+4:])) != len(eth)-h.l4:
		return nil, fmt.Errorf("datagram of %d bytes", binary.BigEndian.Uint16(eth[h.l4+4:]))
	case !h.v6 && wire.Checksum(eth[14:34]) != 0:
		return nil, fmt.Errorf("the IPv4 checksum is wrong")
	case binary.BigEndian.Uint16(eth[h.sum:]) != wire.Fold(h.pseudo(eth, len(eth)-h.l4)):
		return nil, fmt.Errorf("the pseudo-header's sum is wrong")
	}
	for at := h.payload; at < len(eth); at += size {
		end := min(at+size, len(eth))
		s := append(bytes.Clone(eth[:h.payload]), eth[at:end]...)
		if h.v6 {
			binary.BigEndian.PutUint16(s[18:], uint16(len(s)-54))
		} else {
			binary.BigEndian.PutUint16(s[16:], uint16(len(s)-14))
			binary.BigEndian.PutUint16(s[18:], binary.BigEndian.Uint16(eth[18:])+uint16(len(all)))
		}
		if h.udp {
			binary.BigEndian.PutUint16(s[h.l4+4:], uint16(len(s)-h.l4))
		} else {
			binary.BigEndian.PutUint32(s[h.l4+4:], binary.BigEndian.Uint32(eth[h.l4+4:])+uint32(at-h.payload))
			if end < len(eth) {
				s[h.l4+13] &^= 0x09
			}
		}
		headersOf(s).complete(s)
		all = append(all, s)
	}
	return all, nil
}

// completed returns the bytes of a frame as they would be on a wire: a checksum that
// was left to the hardware is there.
func completed(f *nic.Frame) []byte {
	eth := whole(f)
	if v := f.VNet(); v.Partial() {
		start, at := int(v.CsumStart()), int(v.CsumStart()+v.CsumOffset())
		if at+2 <= len(eth) {
			binary.BigEndian.PutUint16(eth[at:], wire.SumToChecksum(wire.Sum(eth[start:], 0)))
		}
	}
	return eth
}

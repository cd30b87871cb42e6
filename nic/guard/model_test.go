package guard

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// model judges a frame that the interface received, is addressed to the host and
// has no tag, slowly and obviously. It returns a drop kind or -1.
func model(s State, kind string, ifindex int, frame []byte) int {
	outer, ok := modelIP(binary.BigEndian.Uint16(frame[12:]), frame[14:])
	if !ok || kind == NFT && outer.authenticated {
		return -1
	}
	isLocal := slices.Contains(s.Local, outer.dst.Addr)
	if hasPorts(outer.proto) || isIPsec(outer.proto) {
		if !outer.setPorts() {
			return -1
		}
		if modelHas(s.Services, outer.dst) {
			return dropService
		}
		if hasPorts(outer.proto) && modelWide(s.Wide, ifindex, outer.src.Addr, outer.dst, nil) {
			return dropService
		}
		if (modelHas(s.Servers, outer.src) || hasPorts(outer.proto) && modelNetwork(s.Networks, outer.src.Addr)) && !isLocal {
			return dropServer
		}
		return -1
	}

	types := []byte{3, 4, 11, 12}
	icmp := uint8(unix.IPPROTO_ICMP)
	if outer.v6 {
		types, icmp = []byte{1, 2, 3, 4}, unix.IPPROTO_ICMPV6
	}
	echo := byte(8)
	if outer.v6 {
		echo = 128
	}
	if outer.proto == icmp && len(outer.rest) > 0 && outer.rest[0] == echo {
		if modelNetwork(s.Networks, outer.src.Addr) && !isLocal {
			return dropServer
		}
		return -1
	}
	if outer.proto != icmp || len(outer.rest) < 8 || !slices.Contains(types, outer.rest[0]) {
		return -1
	}
	inner, ok := modelIP(binary.BigEndian.Uint16(frame[12:]), outer.rest[8:])
	if !ok || kind == NFT && inner.extended || !inner.setPorts() {
		return -1
	}
	toVIP := Key{Addr: outer.dst.Addr, Port: inner.src.Port, Proto: inner.proto}
	if modelHas(s.Services, inner.src) && modelHas(s.Services, toVIP) {
		return dropError
	}
	if hasPorts(inner.proto) && modelWide(s.Wide, ifindex, inner.dst.Addr, inner.src, &outer.dst.Addr) {
		return dropError
	}
	if (modelHas(s.Servers, inner.dst) || hasPorts(inner.proto) && modelNetwork(s.Networks, inner.dst.Addr)) && !isLocal {
		return dropError
	}
	return -1
}

// modelHas looks for the key or for the same one without port.
func modelHas(keys []Key, k Key) bool {
	anyPort := k
	anyPort.Port = 0
	return slices.Contains(keys, k) || slices.Contains(keys, anyPort)
}

// modelNetwork reports whether the address is in one of the networks.
func modelNetwork(list []netip.Prefix, a [16]byte) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(netip.AddrFrom16(a).Unmap()) })
}

// modelWide reports whether the first selector that takes the packet is a
// service's. With also, that address must be in its Dst, too.
func modelWide(list []Wide, ifindex int, src [16]byte, dst Key, also *[16]byte) bool {
	in := func(p netip.Prefix, a [16]byte) bool { return !p.IsValid() || p.Contains(netip.AddrFrom16(a).Unmap()) }
	for _, w := range list {
		allPorts := w.FirstPort == 0 && w.LastPort == 0
		if (w.Proto == 0 || w.Proto == dst.Proto) && (w.Ifindex == 0 || w.Ifindex == ifindex) &&
			(allPorts || w.FirstPort <= dst.Port && dst.Port <= w.LastPort) &&
			in(w.Src, src) && in(w.Dst, dst.Addr) && (also == nil || in(w.Dst, *also)) {
			return !w.Host
		}
	}
	return false
}

// modelPacket is an IP packet, but no later fragment.
type modelPacket struct {
	src, dst Key
	proto    uint8
	v6       bool
	extended bool // by options or extension headers
	rest     []byte

	authenticated bool // IPv6: has an authentication header
}

func (p *modelPacket) setPorts() bool {
	if !hasPorts(p.proto) && !isIPsec(p.proto) || len(p.rest) < 4 {
		return false
	}
	p.src.Proto, p.dst.Proto = p.proto, p.proto
	p.src.Port, p.dst.Port = binary.BigEndian.Uint16(p.rest), binary.BigEndian.Uint16(p.rest[2:])
	return true
}

func modelIP(etherType uint16, b []byte) (p modelPacket, ok bool) {
	switch {
	case etherType == unix.ETH_P_IP && len(b) >= 20 && b[0]>>4 == 4:
		ihl := int(b[0]&15) * 4
		if ihl < 20 || ihl > len(b) || binary.BigEndian.Uint16(b[6:])&0x1fff != 0 {
			return p, false
		}
		p.src.Addr, p.dst.Addr = mapped(b[12:16]), mapped(b[16:20])
		p.proto, p.rest, p.extended = b[9], b[ihl:], ihl > 20
		return p, true
	case etherType == unix.ETH_P_IPV6 && len(b) >= 40 && b[0]>>4 == 6:
		p.v6 = true
		p.src.Addr, p.dst.Addr = [16]byte(b[8:24]), [16]byte(b[24:40])
		if mappedPrefix := [12]byte{10: 0xff, 11: 0xff}; [12]byte(b[8:]) == mappedPrefix || [12]byte(b[24:]) == mappedPrefix {
			return p, false
		}
		p.proto, p.rest = b[6], b[40:]
		for {
			size := 0
			switch p.proto {
			case unix.IPPROTO_HOPOPTS, unix.IPPROTO_ROUTING, unix.IPPROTO_DSTOPTS, unix.IPPROTO_AH, unix.IPPROTO_FRAGMENT:
				if len(p.rest) < 8 {
					return p, false
				}
				size = (int(p.rest[1]) + 1) * 8
			default:
				return p, true
			}
			if p.proto == unix.IPPROTO_AH {
				size = (int(p.rest[1]) + 2) * 4
				p.authenticated = true
			}
			if p.proto == unix.IPPROTO_FRAGMENT {
				size = 8
				if binary.BigEndian.Uint16(p.rest[2:])&0xfff8 != 0 {
					return p, false
				}
			}
			if size > len(p.rest) {
				return p, false
			}
			p.proto, p.rest, p.extended = p.rest[0], p.rest[size:], true
		}
	}
	return p, false
}

func mapped(b []byte) (a [16]byte) {
	a[10], a[11] = 0xff, 0xff
	copy(a[12:], b)
	return a
}

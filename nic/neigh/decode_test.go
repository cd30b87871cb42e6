package neigh

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestDecode reads one message of each kind, whole and cut short at each byte.
func TestDecode(t *testing.T) {
	cut := func(b []byte, ok func([]byte) bool) {
		t.Helper()
		for n := range b {
			ok(b[:n:n]) // must not panic, whatever it answers
		}
		if !ok(b) {
			t.Errorf("a whole message is refused: %x", b)
		}
	}
	attr := func(kind uint16, v ...byte) []byte {
		b := native.AppendUint16(nil, uint16(4+len(v)))
		b = native.AppendUint16(b, kind)
		b = append(b, v...)
		return append(b, make([]byte, -len(v)&3)...)
	}
	head := func(size int, set map[int]byte, attrs ...[]byte) []byte {
		b := make([]byte, size)
		for i, v := range set {
			b[i] = v
		}
		for _, a := range attrs {
			b = append(b, a...)
		}
		return b
	}
	num := func(n uint32) []byte { return native.AppendUint32(nil, n) }

	cut(head(16, map[int]byte{4: 7}, attr(unix.IFLA_IFNAME, 'e', 0), attr(unix.IFLA_LINKINFO, attr(unix.IFLA_INFO_KIND, 'v', 0)...)),
		func(b []byte) bool {
			r, ok := decodeLink(b)
			return ok && r.name == "e" && r.kind == "v" && r.index == 7
		})
	vlan := append(attr(unix.IFLA_INFO_KIND, []byte("vlan\x00")...), attr(unix.IFLA_INFO_DATA, attr(ifVLANID, native.AppendUint16(nil, 10)...)...)...)
	cut(head(16, map[int]byte{4: 7}, attr(unix.IFLA_LINK, num(3)...), attr(unix.IFLA_LINKINFO, vlan...)),
		func(b []byte) bool { r, ok := decodeLink(b); return ok && r.link == 3 && r.vlan == 10 })
	cut(head(16, map[int]byte{4: 7}, attr(unix.IFLA_LINK, num(3)...), attr(unix.IFLA_LINKINFO, attr(unix.IFLA_INFO_KIND, []byte("veth\x00")...)...)),
		func(b []byte) bool { r, ok := decodeLink(b); return ok && r.link == 0 && r.kind == "veth" })
	cut(head(8, map[int]byte{0: unix.AF_INET, 1: 24, 4: 7}, attr(unix.IFA_ADDRESS, 10, 0, 0, 2), attr(unix.IFA_LOCAL, 10, 0, 0, 1)),
		func(b []byte) bool { r, ok := decodeAddr(b); return ok && r.ip == mustIP("10.0.0.1") && r.bits == 120 })
	cut(head(4, map[int]byte{0: unix.AF_INET}, attr(netconfIfindex, num(7)...), attr(netconfForward, num(1)...)),
		func(b []byte) bool { r, ok := decodeConf(b); return ok && r.index == 7 && r.forward })
	cut(head(12, map[int]byte{0: unix.AF_INET, 4: 7, 8: unix.NUD_STALE}, attr(unix.NDA_DST, 10, 0, 0, 1), attr(unix.NDA_LLADDR, 2, 0, 0, 0, 0, 1)),
		func(b []byte) bool {
			r, ok := decodeNeigh(b)
			return ok && r.key == neighKey{mustIP("10.0.0.1"), 7} && r.mac == [6]byte{2, 0, 0, 0, 0, 1}
		})
	cut(head(12, map[int]byte{0: unix.AF_INET, 1: 8, 7: unix.FR_ACT_TO_TBL}, attr(unix.FRA_DST, 10, 0, 0, 0), attr(unix.FRA_TABLE, num(1000)...)),
		func(b []byte) bool {
			r, ok := decodeRule(b)
			return ok && r.bits == 104 && r.table == 1000 && r.suppress == -1
		})
	nexthop := append(append(native.AppendUint16(nil, 16), 0, 4), append(num(7), attr(unix.RTA_GATEWAY, 10, 0, 0, 1)...)...)
	cut(head(12, map[int]byte{0: unix.AF_INET, 1: 8, 7: unix.RTN_UNICAST}, attr(unix.RTA_DST, 11, 0, 0, 0),
		attr(unix.RTA_METRICS, attr(unix.RTAX_MTU, num(1400)...)...), attr(unix.RTA_MULTIPATH, nexthop...)),
		func(b []byte) bool {
			r, ok := decodeRoute(b)
			return ok && r.mtu == 1400 && len(r.paths) == 1 && r.paths[0] == pathRecord{index: 7, gw: mustIP("10.0.0.1"), weight: 5}
		})
	cut(head(12, map[int]byte{0: unix.AF_INET, 7: unix.RTN_UNICAST}, attr(unix.RTA_VIA, append([]byte{unix.AF_INET6, 0}, mustIP("fe80::1").bytes()...)...)),
		func(b []byte) bool {
			r, ok := decodeRoute(b)
			return ok && r.path.gw == mustIP("fe80::1") && r.bits == 96
		})
	cut(head(8, nil, attr(unix.NHA_ID, num(3)...), attr(unix.NHA_GROUP, 1, 0, 0, 0, 1, 0, 0, 0)),
		func(b []byte) bool {
			r, ok := decodeNexthop(b)
			return ok && r.id == 3 && len(r.group) == 1 && r.group[0] == member{1, 2}
		})

	for _, b := range [][]byte{
		head(12, map[int]byte{0: unix.AF_INET, 1: 33, 7: unix.RTN_UNICAST}),                                   // a prefix too long
		head(12, map[int]byte{0: unix.AF_INET6, 1: 129, 7: unix.RTN_UNICAST}),                                 // the same
		head(12, map[int]byte{0: unix.AF_INET6, 1: 96, 7: unix.RTN_UNICAST}, attr(unix.RTA_DST, 10, 0, 0, 0)), // the other family
		head(12, map[int]byte{0: unix.AF_INET, 1: 8, 7: unix.RTN_UNICAST}, attr(unix.RTA_DST, 10, 0, 0)),      // half an address
		head(12, map[int]byte{0: unix.AF_BRIDGE, 7: unix.RTN_UNICAST}),                                        // no IP
	} {
		if r, ok := decodeRoute(b); ok {
			t.Errorf("%x was read as %+v", b, r)
		}
	}
}

// FuzzMessages has no bytes bring down the reader, and no route come out whose
// destination has bits beyond its prefix.
func FuzzMessages(f *testing.F) {
	f.Add([]byte("\x24\x00\x00\x00\x18\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x08\x00\x00\xfe\x03\x00\x01\x00\x00\x00\x00\x08\x00\x01\x00\x0a\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for h, body := range messages(b) {
			_ = stale(h.kind)
			decodeLink(body)
			decodeConf(body)
			decodeRule(body)
			decodeNexthop(body)
			if r, ok := decodeNeigh(body); ok {
				var e neighEditor
				e.set(r.key, r.neighbour())
				if got := e.snapshot().get(r.key); got != r.neighbour() {
					t.Errorf("%+v became %+v", r, got)
				}
			}
			s := twoLinks()
			if r, ok := decodeAddr(body); ok {
				s.addrs = append(s.addrs, r)
			}
			if r, ok := decodeRoute(body); ok {
				if r.bits > 128 || r.dst != r.dst.mask(r.bits) || r.dst.is4() == r.v6 {
					t.Errorf("unsound route %+v", r)
				}
				s.routes = append(s.routes, r)
				routesOf(&s).Lookup(r.dst.addr())
			}
		}
	})
}

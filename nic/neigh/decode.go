package neigh

import (
	"bytes"
	"encoding/binary"
	"iter"

	"golang.org/x/sys/unix"

	"vsnat/nic"
)

// This file reads the payloads of rtnetlink messages (rtnetlink(7),
// include/uapi/linux/{rtnetlink,if_link,if_addr,neighbour,fib_rules,nexthop,
// netconf}.h). Each function takes what follows struct nlmsghdr and answers
// false if the message is malformed or of no interest. Nothing it returns
// shares memory with the message.

// Attributes that x/sys has not.
const (
	fraDSCP        = 25     // FRA_DSCP, the first of the selectors that came after Linux 6.6
	rtaNHID        = 30     // RTA_NH_ID, since Linux 5.3
	netconfIfindex = 1      // NETCONFA_IFINDEX
	netconfForward = 2      // NETCONFA_FORWARDING
	netconfIgnore  = 6      // NETCONFA_IGNORE_ROUTES_WITH_LINKDOWN
	netconfAll     = -1     // NETCONFA_IFINDEX_ALL
	attrTypeMask   = 0x3fff // the two highest bits are flags
	prefMask       = 3      // RTA_PREF holds the two bits of RFC 4191 section 2.1
)

var native = binary.NativeEndian

// attrs yields the attributes (struct rtattr) that b begins with, and stops at
// the first malformed one.
func attrs(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.SizeofRtAttr {
			n := int(native.Uint16(b))
			if n < unix.SizeofRtAttr || n > len(b) {
				return
			}
			if !yield(native.Uint16(b[2:])&attrTypeMask, b[unix.SizeofRtAttr:n]) {
				return
			}
			b = b[min((n+3)&^3, len(b)):]
		}
	}
}

// num32 reads a 32-bit attribute; one that is too short is 0.
func num32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return native.Uint32(b)
}

// text reads an attribute that is a string ended by a zero byte.
func text(b []byte) string {
	s, _, _ := bytes.Cut(b, []byte{0})
	return string(s)
}

// ifVLANID is IFLA_VLAN_ID (include/uapi/linux/if_link.h).
const ifVLANID = 1

// linkRecord is struct ifinfomsg with its attributes.
type linkRecord struct {
	index, mtu, master int
	link               int    // that a VLAN interface is on
	vlan               uint16 // and the VLAN's number
	name, kind         string
	hwType             uint16 // ARPHRD_
	flags              uint32 // IFF_
	mac                [6]byte
}

func decodeLink(b []byte) (r linkRecord, ok bool) {
	if len(b) < unix.SizeofIfInfomsg || b[0] != unix.AF_UNSPEC {
		return r, false // AF_BRIDGE describes a bridge's port, not the link
	}
	r.hwType = native.Uint16(b[2:])
	r.index = int(int32(native.Uint32(b[4:])))
	r.flags = native.Uint32(b[8:])
	var data []byte
	elsewhere := false // its link is in another namespace
	for t, v := range attrs(b[unix.SizeofIfInfomsg:]) {
		switch t {
		case unix.IFLA_IFNAME:
			r.name = text(v)
		case unix.IFLA_MTU:
			r.mtu = int(num32(v))
		case unix.IFLA_MASTER:
			r.master = int(num32(v))
		case unix.IFLA_ADDRESS:
			if len(v) == len(r.mac) {
				r.mac = [6]byte(v)
			}
		case unix.IFLA_LINKINFO:
			for t, v := range attrs(v) {
				switch t {
				case unix.IFLA_INFO_KIND:
					r.kind = text(v)
				case unix.IFLA_INFO_DATA:
					data = v
				}
			}
		case unix.IFLA_LINK:
			r.link = int(num32(v))
		case unix.IFLA_LINK_NETNSID:
			elsewhere = true
		}
	}
	if r.kind != "vlan" || elsewhere {
		r.link = 0 // such as the other end of a pair
		return r, r.index > 0
	}
	for t, v := range attrs(data) {
		if t == ifVLANID && len(v) == 2 {
			r.vlan = native.Uint16(v)
		}
	}
	return r, r.index > 0
}

// addrRecord is struct ifaddrmsg with its attributes.
type addrRecord struct {
	index int
	ip    ip
	bits  uint8 // length of the prefix, mapped: 96 more for IPv4
	scope uint8 // RT_SCOPE_
	flags uint32
}

func decodeAddr(b []byte) (r addrRecord, ok bool) {
	if len(b) < unix.SizeofIfAddrmsg {
		return r, false
	}
	r.scope = b[3]
	r.flags = uint32(b[2])
	r.index = int(native.Uint32(b[4:]))
	local := false
	for t, v := range attrs(b[unix.SizeofIfAddrmsg:]) {
		switch t {
		case unix.IFA_LOCAL: // on a point-to-point link IFA_ADDRESS is the peer
			r.ip, local = fromBytes(v)
			ok = local
		case unix.IFA_ADDRESS:
			if !local {
				r.ip, ok = fromBytes(v)
			}
		case unix.IFA_FLAGS:
			r.flags = num32(v)
		}
	}
	r.bits, ok = mapBits(b[1], r.ip, ok)
	return r, ok
}

// mapBits turns a prefix length of the family of a into one of mapped
// addresses, if it is sound.
func mapBits(bits uint8, a ip, ok bool) (uint8, bool) {
	if a.is4() {
		return bits + v4Bits, ok && bits <= 32
	}
	return bits, ok && bits <= 128
}

// confRecord is what a netconf message tells of one interface and family. A
// message need not tell everything.
type confRecord struct {
	v6              bool
	index           int // netconfAll: of the whole namespace
	forward, ignore bool
}

func decodeConf(b []byte) (r confRecord, ok bool) {
	const size = 4 // struct netconfmsg, padded
	if len(b) < size || b[0] != unix.AF_INET && b[0] != unix.AF_INET6 {
		return r, false
	}
	r.v6 = b[0] == unix.AF_INET6
	for t, v := range attrs(b[size:]) {
		switch t {
		case netconfIfindex:
			r.index = int(int32(num32(v)))
		case netconfForward:
			r.forward = num32(v) != 0
		case netconfIgnore:
			r.ignore = num32(v) != 0
		}
	}
	return r, r.index > 0 || r.index == netconfAll
}

// neighRecord is struct ndmsg with its attributes.
type neighRecord struct {
	key   neighKey
	state uint16 // NUD_
	mac   [6]byte
}

func decodeNeigh(b []byte) (r neighRecord, ok bool) {
	if len(b) < unix.SizeofNdMsg || b[0] != unix.AF_INET && b[0] != unix.AF_INET6 || b[10]&unix.NTF_PROXY != 0 {
		return r, false
	}
	r.key.index = int32(native.Uint32(b[4:]))
	r.state = native.Uint16(b[8:])
	for t, v := range attrs(b[unix.SizeofNdMsg:]) {
		switch t {
		case unix.NDA_DST:
			r.key.ip, ok = fromBytes(v)
		case unix.NDA_LLADDR:
			if len(v) == len(r.mac) {
				r.mac = [6]byte(v)
			}
		}
	}
	return r, ok
}

// ruleRecord is struct fib_rule_hdr with its attributes (ip-rule(8)).
type ruleRecord struct {
	v6       bool
	priority uint32
	action   uint8 // FR_ACT_
	table    uint32
	dst      ip
	bits     uint8 // mapped; 0 without a destination
	hasDst   bool
	invert   bool
	suppress int // skip routes whose prefix is not longer, in the family's own bits; -1: none
	mark     uint32
	markMask uint32
	oif      bool // selects by outgoing interface
	l3mdev   bool // selects traffic of VRFs
	iif      string
	ours     bool   // one of vsnat's, which concern the host's own packets
	other    string // a selector or an action that cannot be followed; "" if there is none
}

func decodeRule(b []byte) (r ruleRecord, ok bool) {
	const size = 12 // struct fib_rule_hdr
	if len(b) < size || b[0] != unix.AF_INET && b[0] != unix.AF_INET6 {
		return r, false
	}
	r.v6 = b[0] == unix.AF_INET6
	r.table, r.action = uint32(b[4]), b[7]
	r.invert = native.Uint32(b[8:])&unix.FIB_RULE_INVERT != 0
	r.suppress = -1
	if b[2] != 0 {
		r.other = "from"
	}
	if b[3] != 0 {
		r.other = "tos"
	}
	sound := true
	for t, v := range attrs(b[size:]) {
		switch t {
		case unix.FRA_DST:
			if r.dst, sound = fromBytes(v); sound {
				r.bits, sound = mapBits(b[1], r.dst, true)
				r.hasDst = true
			}
		case unix.FRA_TABLE:
			r.table = num32(v)
		case unix.FRA_PRIORITY:
			r.priority = num32(v)
		case unix.FRA_FWMARK:
			r.mark = num32(v)
		case unix.FRA_FWMASK:
			r.markMask = num32(v)
		case unix.FRA_SUPPRESS_PREFIXLEN:
			r.suppress = int(int32(num32(v)))
		case unix.FRA_SUPPRESS_IFGROUP:
			if int32(num32(v)) >= 0 {
				r.other = "suppress_ifgroup"
			}
		case unix.FRA_OIFNAME:
			r.oif = true
		case unix.FRA_IIFNAME:
			r.iif = text(v)
		case unix.FRA_PROTOCOL:
			r.ours = len(v) > 0 && v[0] == nic.RuleProtocol
		case unix.FRA_L3MDEV:
			r.l3mdev = len(v) > 0 && v[0] != 0
		case unix.FRA_TUN_ID:
			r.other = "tun_id"
		case unix.FRA_UID_RANGE:
			r.other = "uidrange"
		case unix.FRA_IP_PROTO:
			r.other = "ipproto"
		case unix.FRA_SPORT_RANGE:
			r.other = "sport"
		case unix.FRA_DPORT_RANGE:
			r.other = "dport"
		default:
			if t >= fraDSCP {
				r.other = "dscp or flow label"
			}
		}
	}
	return r, sound
}

// pathRecord is one way of a route.
type pathRecord struct {
	index  int
	gw     ip // zero if on-link
	flags  uint8
	weight uint32 // at least 1
	encap  bool   // the kernel would encapsulate (lwtunnel)
}

// routeRecord is struct rtmsg with its attributes.
type routeRecord struct {
	v6      bool
	dst     ip
	bits    uint8 // mapped
	table   uint32
	kind    uint8 // RTN_
	scope   uint8 // RT_SCOPE_
	metric  uint32
	pref    uint8 // router preference, RFC 4191 section 2.1
	mtu     int   // 0 if the route has none
	src     ip    // preferred source; zero if it has none
	nexthop uint32
	path    pathRecord   // of a route with a single one
	paths   []pathRecord // of a multipath route
	special bool         // for one TOS or source prefix only, or a clone from the cache
}

func decodeRoute(b []byte) (r routeRecord, ok bool) {
	if len(b) < unix.SizeofRtMsg || b[0] != unix.AF_INET && b[0] != unix.AF_INET6 {
		return r, false
	}
	flags := native.Uint32(b[8:])
	r.v6 = b[0] == unix.AF_INET6
	r.special = b[2] != 0 || b[3] != 0 || flags&unix.RTM_F_CLONED != 0
	r.table, r.scope, r.kind = uint32(b[4]), b[6], b[7]
	r.path = pathRecord{flags: uint8(flags), weight: 1}
	if !r.v6 {
		r.dst.lo = v4Prefix
	}
	sound := true
	for t, v := range attrs(b[unix.SizeofRtMsg:]) {
		switch t {
		case unix.RTA_DST:
			r.dst, sound = fromBytes(v)
		case unix.RTA_TABLE:
			r.table = num32(v)
		case unix.RTA_PRIORITY:
			r.metric = num32(v)
		case unix.RTA_PREFSRC:
			r.src, _ = fromBytes(v)
		case rtaNHID:
			r.nexthop = num32(v)
		case unix.RTA_PREF:
			if len(v) > 0 {
				r.pref = v[0] & prefMask
			}
		case unix.RTA_METRICS:
			for t, v := range attrs(v) {
				if t == unix.RTAX_MTU {
					r.mtu = int(num32(v))
				}
			}
		case unix.RTA_OIF:
			r.path.index = int(num32(v))
		case unix.RTA_MULTIPATH:
			r.paths = decodePaths(v)
		default:
			r.path.gateway(t, v)
		}
		if !sound {
			return r, false
		}
	}
	if r.dst.is4() == r.v6 {
		return r, false
	}
	r.bits, ok = mapBits(b[1], r.dst, true)
	r.dst = r.dst.mask(r.bits)
	return r, ok
}

// gateway reads those attributes that a route and a path of a multipath route
// have in common.
func (p *pathRecord) gateway(t uint16, v []byte) {
	switch t {
	case unix.RTA_GATEWAY:
		p.gw, _ = fromBytes(v)
	case unix.RTA_VIA: // struct rtvia: a gateway of the other family, RFC 5549
		if len(v) > 2 {
			p.gw, _ = fromBytes(v[2:])
		}
	case unix.RTA_ENCAP_TYPE:
		p.encap = true
	}
}

// decodePaths reads the list of struct rtnexthop of a multipath route.
func decodePaths(b []byte) (paths []pathRecord) {
	for len(b) >= unix.SizeofRtNexthop {
		n := int(native.Uint16(b))
		if n < unix.SizeofRtNexthop || n > len(b) {
			return paths
		}
		p := pathRecord{flags: b[2], weight: uint32(b[3]) + 1, index: int(int32(native.Uint32(b[4:])))}
		for t, v := range attrs(b[unix.SizeofRtNexthop:n]) {
			p.gateway(t, v)
		}
		paths = append(paths, p)
		b = b[min((n+3)&^3, len(b)):]
	}
	return paths
}

// member is one nexthop of a nexthop group.
type member struct {
	id     uint32
	weight uint32
}

// nexthopRecord is struct nhmsg with its attributes (ip-nexthop(8)).
type nexthopRecord struct {
	id        uint32
	path      pathRecord
	group     []member // of a group; else path is it
	blackhole bool
}

func decodeNexthop(b []byte) (r nexthopRecord, ok bool) {
	const size, memberSize = 8, 8 // struct nhmsg, struct nexthop_grp
	if len(b) < size {
		return r, false
	}
	r.path = pathRecord{flags: uint8(native.Uint32(b[4:])), weight: 1}
	for t, v := range attrs(b[size:]) {
		switch t {
		case unix.NHA_ID:
			r.id = num32(v)
		case unix.NHA_BLACKHOLE:
			r.blackhole = true
		case unix.NHA_OIF:
			r.path.index = int(num32(v))
		case unix.NHA_GATEWAY:
			r.path.gw, _ = fromBytes(v)
		case unix.NHA_ENCAP_TYPE:
			r.path.encap = true
		case unix.NHA_GROUP:
			for ; len(v) >= memberSize; v = v[memberSize:] {
				// The byte after weight extends it to 16 bits since Linux 6.12.
				r.group = append(r.group, member{id: num32(v), weight: uint32(v[4]) + uint32(v[5])<<8 + 1})
			}
		}
	}
	return r, r.id != 0
}

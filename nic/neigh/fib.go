package neigh

import (
	"cmp"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"vsnat/nic"
)

// state is what the kernel told, but for the neighbours: one dump of each kind
// of object, in the kernel's order.
type state struct {
	links    []linkRecord
	addrs    []addrRecord
	confs    []confRecord
	rules    []ruleRecord
	nexthops []nexthopRecord
	routes   []routeRecord
}

// fib is everything that a lookup needs but for the neighbours. It is
// immutable once made.
type fib struct {
	links    []nic.Link // by ifindex
	traits   []traits   // of the link in the same place
	steps    [2][]step  // the policy rules
	local    [2]*table  // table local alone
	gateways []neighKey // of all usable paths, at most maxGateways
	ignored  []string   // policy rules that are not followed
}

// traits is what is known of a link besides [nic.Link].
type traits struct {
	forward [2]bool // IPv4, IPv6
	bare    bool    // needs no link-layer addresses
}

// maxGateways bounds how many gateways are kept confirmed.
const maxGateways = 1024

// family is the place of an address's family in arrays: IPv4, IPv6.
func family(v6 bool) int {
	if v6 {
		return 1
	}
	return 0
}

// newFIB digests what the kernel told.
func newFIB(s *state) *fib {
	f := &fib{}
	b := builder{
		links:    make(map[int]*linkRecord, len(s.links)),
		confs:    make(map[confKey]confRecord, len(s.confs)),
		nexthops: make(map[uint32]*nexthopRecord, len(s.nexthops)),
		sources:  newSources(s.addrs),
		gateways: map[neighKey]struct{}{},
	}
	for i := range s.links {
		b.links[s.links[i].index] = &s.links[i]
	}
	for _, c := range s.confs {
		b.confs[confKey{c.v6, c.index}] = c
	}
	for i := range s.nexthops {
		b.nexthops[s.nexthops[i].id] = &s.nexthops[i]
	}
	f.addLinks(&b)

	// Only tables that a rule names are needed, and local for [fib.isLocal].
	byTable := map[tableKey][]candidate{}
	for i := range s.routes {
		r := &s.routes[i]
		if c, ok := b.candidate(r); ok {
			k := tableKey{r.v6, r.table}
			byTable[k] = append(byTable[k], c)
		}
	}
	tables := map[tableKey]*table{}
	get := func(k tableKey) *table {
		t := tables[k]
		if t == nil {
			t = newTable(byTable[k])
			tables[k] = t
		}
		return t
	}
	for _, v6 := range []bool{false, true} {
		n := family(v6)
		f.local[n] = get(tableKey{v6, unix.RT_TABLE_LOCAL})
		rules := rulesOf(s.rules, v6)
		if merged(rules) {
			both := slices.Clone(byTable[tableKey{v6, unix.RT_TABLE_LOCAL}])
			for i := range both {
				both[i].local = true
			}
			both = append(both, byTable[tableKey{v6, unix.RT_TABLE_MAIN}]...)
			tables[tableKey{v6, unix.RT_TABLE_MAIN}] = newTable(both)
			rules = rules[1:]
		}
		for _, r := range rules {
			step, ok, ignored := r.follow()
			if ok {
				step.table = get(tableKey{v6, r.table})
				f.steps[n] = append(f.steps[n], step)
			} else if ignored != "" {
				f.ignored = append(f.ignored, ignored)
			}
		}
	}
	f.gateways = slices.Collect(maps.Keys(b.gateways))
	return f
}

// addLinks fills in the interfaces and which of them forward.
func (f *fib) addLinks(b *builder) {
	for _, l := range b.links {
		f.links = append(f.links, nic.Link{
			Index: l.index, Name: l.name, Kind: l.kind, MAC: l.mac, MTU: l.mtu, Master: l.master,
			Parent: l.link, VLAN: l.vlan,
			Up:    l.flags&unix.IFF_UP != 0,
			Ether: l.hwType == unix.ARPHRD_ETHER,
			Loop:  l.flags&unix.IFF_LOOPBACK != 0,
		})
	}
	slices.SortFunc(f.links, func(x, y nic.Link) int { return cmp.Compare(x.Index, y.Index) })
	// IPv4 asks the interface alone (IN_DEV_FORWARD), IPv6 the whole namespace
	// alone (ip6_forward).
	all6 := b.confs[confKey{true, netconfAll}].forward
	f.traits = make([]traits, len(f.links))
	for i := range f.links {
		index := f.links[i].Index
		f.traits[i] = traits{
			forward: [2]bool{b.confs[confKey{false, index}].forward, all6},
			bare:    b.links[index].bare(),
		}
	}
}

// rulesOf returns the rules of one family, or the default ones if the kernel
// has none because it was built without policy routing.
func rulesOf(rules []ruleRecord, v6 bool) (out []ruleRecord) {
	for _, r := range rules {
		if r.v6 == v6 {
			out = append(out, r)
		}
	}
	if out == nil {
		return defaultRules(v6)
	}
	return out
}

// bare reports whether frames on the link need no link-layer address that the
// kernel would resolve.
func (l *linkRecord) bare() bool { return l.flags&(unix.IFF_NOARP|unix.IFF_LOOPBACK) != 0 }

// place returns where in links the interface is.
func (f *fib) place(index int) (int, bool) {
	return slices.BinarySearchFunc(f.links, index, func(l nic.Link, index int) int { return cmp.Compare(l.Index, index) })
}

// isLocal reports whether table local has the address as the host's own.
func (f *fib) isLocal(a ip) bool {
	r := f.local[family(!a.is4())].lookup(a)
	return r != nil && r.verdict == local
}

type tableKey struct {
	v6 bool
	id uint32
}

type confKey struct {
	v6    bool
	index int
}

// builder holds what is needed to judge a route, ordered for access.
type builder struct {
	links    map[int]*linkRecord
	confs    map[confKey]confRecord
	nexthops map[uint32]*nexthopRecord
	sources  *sources
	gateways map[neighKey]struct{}
}

// candidate turns a route of the kernel into one of a table; it answers false
// for one that the kernel would not use for a forwarded packet now.
func (b *builder) candidate(r *routeRecord) (candidate, bool) {
	c := candidate{dst: r.dst, metric: r.metric, route: route{bits: r.bits}}
	switch r.pref {
	case 1:
		c.pref = 1
	case 3:
		c.pref = -1
	}
	if r.special {
		return c, false
	}
	switch r.kind {
	case unix.RTN_UNICAST:
		return b.unicast(c, r)
	case unix.RTN_LOCAL, unix.RTN_ANYCAST:
		c.route.verdict = local
		return c, r.path.flags&unix.RTNH_F_DEAD == 0
	case unix.RTN_BROADCAST, unix.RTN_MULTICAST, unix.RTN_BLACKHOLE, unix.RTN_UNREACHABLE, unix.RTN_PROHIBIT:
		c.route.verdict = refuse
	case unix.RTN_THROW:
		c.route.verdict = throw
	default:
		return c, false
	}
	return c, true
}

// unicast finds the usable paths of a unicast route.
func (b *builder) unicast(c candidate, r *routeRecord) (candidate, bool) {
	paths, blackhole := b.paths(r)
	if blackhole {
		c.route.verdict = refuse
		return c, true
	}
	total := uint64(0)
	c.route.paths = make([]path, 0, len(paths))
	for i := range paths {
		p := &paths[i]
		l := b.links[p.index]
		if l == nil || l.flags&unix.IFF_UP == 0 || p.flags&unix.RTNH_F_DEAD != 0 ||
			p.flags&unix.RTNH_F_LINKDOWN != 0 && b.confs[confKey{r.v6, p.index}].ignore {
			continue
		}
		if p.encap {
			// Frames would leave without the encapsulation they need.
			c.route.verdict, c.route.paths = refuse, nil
			return c, true
		}
		total += uint64(p.weight)
		out := path{
			index: p.index, mtu: l.mtu, gw: p.gw, srcMAC: l.mac, below: total,
			src:  b.sources.choose(r, p),
			bare: l.bare(),
		}
		if r.mtu > 0 {
			out.mtu = min(r.mtu, l.mtu)
		}
		if !p.gw.isZero() && !out.bare && len(b.gateways) < maxGateways {
			b.gateways[neighKey{p.gw, int32(p.index)}] = struct{}{}
		}
		c.route.paths = append(c.route.paths, out)
	}
	return c, len(c.route.paths) > 0
}

// paths returns all paths of a route. With the sysctl nexthop_compat_mode off
// the kernel gives but the number of a nexthop object instead.
func (b *builder) paths(r *routeRecord) (paths []pathRecord, blackhole bool) {
	switch {
	case len(r.paths) > 0:
		return r.paths, false
	case r.path.index != 0 || r.nexthop == 0:
		return []pathRecord{r.path}, false
	}
	n := b.nexthops[r.nexthop]
	switch {
	case n == nil:
		return nil, false
	case len(n.group) == 0:
		return []pathRecord{n.path}, n.blackhole
	}
	for _, m := range n.group {
		if one := b.nexthops[m.id]; one != nil && len(one.group) == 0 { // groups do not nest
			p := one.path
			p.weight = m.weight
			paths = append(paths, p)
		}
	}
	return paths, false
}

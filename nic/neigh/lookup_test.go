package neigh

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"vsnat/nic"
)

// mustIP reads an address for a test.
func mustIP(s string) ip { return fromAddr(netip.MustParseAddr(s).As16()) }

// prefix reads a prefix into the destination fields of a route.
func (r routeRecord) to(s string) routeRecord {
	p := netip.MustParsePrefix(s)
	r.dst, r.bits, r.v6 = fromAddr(p.Addr().As16()), uint8(p.Bits()), p.Addr().Is6()
	if !r.v6 {
		r.bits += v4Bits
	}
	r.dst = r.dst.mask(r.bits)
	return r
}

// via makes an on-link path, or with gw one by that gateway.
func via(index int, gw string) pathRecord {
	p := pathRecord{index: index, weight: 1}
	if gw != "" {
		p.gw = mustIP(gw)
	}
	return p
}

func unicast(prefix string, p pathRecord) routeRecord {
	return routeRecord{table: unix.RT_TABLE_MAIN, kind: unix.RTN_UNICAST, path: p}.to(prefix)
}

func special(prefix string, table uint32, kind uint8) routeRecord {
	return routeRecord{table: table, kind: kind}.to(prefix)
}

// twoLinks is a host with eth0 (1) and eth1 (2), both up.
func twoLinks() state {
	link := func(index int) linkRecord {
		return linkRecord{
			index: index, mtu: 1500, name: "eth" + strconv.Itoa(index-1), hwType: unix.ARPHRD_ETHER,
			flags: unix.IFF_UP, mac: [6]byte{2, 0, 0, 0, 0, byte(index)},
		}
	}
	return state{links: []linkRecord{link(1), link(2)}}
}

// routesOf makes a snapshot.
func routesOf(s *state, neighbours ...neighRecord) *snapshot {
	var e neighEditor
	e.reset(neighbours)
	return &snapshot{newFIB(s), e.snapshot()}
}

func TestLookup(t *testing.T) {
	s := twoLinks()
	s.links = append(s.links,
		linkRecord{index: 3, mtu: 1420, name: "wg0", hwType: unix.ARPHRD_NONE, flags: unix.IFF_UP | unix.IFF_NOARP},
		linkRecord{index: 4, mtu: 1500, name: "eth3", hwType: unix.ARPHRD_ETHER})
	s.addrs = []addrRecord{
		{index: 1, ip: mustIP("10.0.0.1"), bits: 96 + 24},
		{index: 1, ip: mustIP("10.0.1.1"), bits: 96 + 24},
		{index: 1, ip: mustIP("2001:db8::1"), bits: 64},
		{index: 1, ip: mustIP("fe80::1"), bits: 64, scope: unix.RT_SCOPE_LINK},
		{index: 2, ip: mustIP("192.0.2.1"), bits: 96 + 24},
	}
	mtu := unicast("10.9.0.0/16", via(1, "10.0.0.254"))
	mtu.mtu = 1280
	source := unicast("10.8.0.0/16", via(1, "10.0.0.254"))
	source.src = mustIP("192.0.2.1")
	low := unicast("10.7.0.0/16", via(1, "10.0.0.254"))
	low.metric = 100
	high := unicast("10.7.0.0/16", via(2, "192.0.2.254"))
	high.metric = 200
	dead := unicast("10.6.0.0/16", via(2, ""))
	dead.path.flags = unix.RTNH_F_DEAD
	encap := unicast("10.4.0.0/16", via(2, ""))
	encap.path.encap = true
	s.routes = []routeRecord{
		special("127.0.0.0/8", unix.RT_TABLE_LOCAL, unix.RTN_LOCAL),
		special("10.0.0.1/32", unix.RT_TABLE_LOCAL, unix.RTN_LOCAL),
		special("10.0.0.255/32", unix.RT_TABLE_LOCAL, unix.RTN_BROADCAST),
		special("2001:db8::1/128", unix.RT_TABLE_LOCAL, unix.RTN_LOCAL),
		special("2001:db8::/128", unix.RT_TABLE_LOCAL, unix.RTN_ANYCAST),
		unicast("10.0.0.0/24", via(1, "")),
		unicast("0.0.0.0/0", via(1, "10.0.1.254")),
		mtu, source, high, low, dead, encap,
		unicast("10.5.0.0/16", via(4, "")), // a link that is down
		unicast("10.3.0.0/16", via(3, "")),
		unicast("10.2.0.0/16", via(1, "fe80::2")), // RFC 5549
		special("10.1.0.0/16", unix.RT_TABLE_MAIN, unix.RTN_UNREACHABLE),
		special("10.1.1.0/24", unix.RT_TABLE_MAIN, unix.RTN_THROW),
		unicast("2001:db8::/64", via(1, "")),
		unicast("2001:db8:1::/48", via(1, "fe80::2")),
	}
	r := routesOf(&s,
		neighRecord{neighKey{mustIP("10.0.1.254"), 1}, unix.NUD_STALE, [6]byte{2, 1}},
		neighRecord{neighKey{mustIP("10.0.0.254"), 1}, unix.NUD_PERMANENT, [6]byte{2, 2}},
		neighRecord{neighKey{mustIP("10.0.0.9"), 1}, unix.NUD_FAILED, [6]byte{}},
		neighRecord{neighKey{mustIP("10.0.0.8"), 1}, unix.NUD_INCOMPLETE, [6]byte{}},
		neighRecord{neighKey{mustIP("10.0.0.7"), 1}, unix.NUD_REACHABLE, [6]byte{2, 7}},
		neighRecord{neighKey{mustIP("10.0.0.6"), 2}, unix.NUD_REACHABLE, [6]byte{2, 6}}, // another link
		neighRecord{neighKey{mustIP("fe80::2"), 1}, unix.NUD_DELAY, [6]byte{2, 3}},
	)
	locals := r.Locals()
	slices.SortFunc(locals, func(a, b nic.Addr) int { return bytes.Compare(a[:], b[:]) })
	if want := []nic.Addr{mustIP("10.0.0.1").addr(), mustIP("2001:db8::").addr(), mustIP("2001:db8::1").addr()}; !slices.Equal(locals, want) {
		t.Errorf("Locals are %v, want %v", locals, want)
	}
	tests := []struct {
		dst, next, src string
		state          nic.HopState
		index, mtu     int
		mac            [6]byte
		prefix         uint8
	}{
		{"10.0.0.1", "10.0.0.1", "", nic.HopLocal, 0, 0, [6]byte{}, 0},
		{"10.0.0.255", "10.0.0.255", "", nic.HopNoRoute, 0, 0, [6]byte{}, 0},
		{"255.255.255.255", "255.255.255.255", "", nic.HopNoRoute, 0, 0, [6]byte{}, 0},
		{"224.0.0.1", "224.0.0.1", "", nic.HopNoRoute, 0, 0, [6]byte{}, 0},
		{"0.0.0.0", "0.0.0.0", "", nic.HopNoRoute, 0, 0, [6]byte{}, 0},
		{"ff02::1", "ff02::1", "", nic.HopNoRoute, 0, 0, [6]byte{}, 0},
		{"10.0.0.7", "10.0.0.7", "10.0.0.1", nic.HopResolved, 1, 1500, [6]byte{2, 7}, 24},
		{"10.0.0.6", "10.0.0.6", "10.0.0.1", nic.HopUnresolved, 1, 1500, [6]byte{}, 24},
		{"10.0.0.8", "10.0.0.8", "10.0.0.1", nic.HopUnresolved, 1, 1500, [6]byte{}, 24},
		{"10.0.0.9", "10.0.0.9", "10.0.0.1", nic.HopFailed, 1, 1500, [6]byte{}, 24},
		{"198.51.100.1", "10.0.1.254", "10.0.1.1", nic.HopResolved, 1, 1500, [6]byte{2, 1}, 0},
		{"10.9.1.1", "10.0.0.254", "10.0.0.1", nic.HopResolved, 1, 1280, [6]byte{2, 2}, 16},
		{"10.8.1.1", "10.0.0.254", "192.0.2.1", nic.HopResolved, 1, 1500, [6]byte{2, 2}, 16},
		{"10.7.1.1", "10.0.0.254", "10.0.0.1", nic.HopResolved, 1, 1500, [6]byte{2, 2}, 16},
		{"10.6.1.1", "10.0.1.254", "10.0.1.1", nic.HopResolved, 1, 1500, [6]byte{2, 1}, 0},
		{"10.5.1.1", "10.0.1.254", "10.0.1.1", nic.HopResolved, 1, 1500, [6]byte{2, 1}, 0},
		{"10.4.1.1", "10.4.1.1", "", nic.HopNoRoute, 0, 0, [6]byte{}, 0},
		{"10.3.1.1", "10.3.1.1", "10.0.0.1", nic.HopResolved, 3, 1420, [6]byte{}, 16},
		{"10.2.1.1", "fe80::2", "10.0.0.1", nic.HopResolved, 1, 1500, [6]byte{2, 3}, 16},
		{"10.1.2.1", "10.1.2.1", "", nic.HopNoRoute, 0, 0, [6]byte{}, 0},
		{"10.1.1.1", "10.1.1.1", "", nic.HopNoRoute, 0, 0, [6]byte{}, 0}, // thrown into the empty table default
		{"2001:db8::1", "2001:db8::1", "", nic.HopLocal, 0, 0, [6]byte{}, 0},
		{"2001:db8::", "2001:db8::", "", nic.HopLocal, 0, 0, [6]byte{}, 0},
		{"2001:db8::2", "2001:db8::2", "2001:db8::1", nic.HopUnresolved, 1, 1500, [6]byte{}, 64},
		{"2001:db8:1::2", "fe80::2", "2001:db8::1", nic.HopResolved, 1, 1500, [6]byte{2, 3}, 48},
		{"2001:db8:2::2", "2001:db8:2::2", "", nic.HopNoRoute, 0, 0, [6]byte{}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.dst, func(t *testing.T) {
			want := nic.Hop{State: tt.state, Index: tt.index, MTU: tt.mtu, NextHop: mustIP(tt.next).addr(), DstMAC: tt.mac, Prefix: tt.prefix}
			if tt.src != "" {
				want.Src = mustIP(tt.src).addr()
			}
			if tt.index == 1 || tt.index == 2 {
				want.SrcMAC = [6]byte{2, 0, 0, 0, 0, byte(tt.index)}
			}
			if got := r.Lookup(mustIP(tt.dst).addr()); got != want {
				t.Errorf("\n got %+v\nwant %+v", got, want)
			}
			if got := r.Local(mustIP(tt.dst).addr()); got != (tt.state == nic.HopLocal) {
				t.Errorf("Local is %t", got)
			}
		})
	}
}

func TestLinks(t *testing.T) {
	s := twoLinks()
	slices.Reverse(s.links)
	s.links[1].flags, s.links[1].hwType = unix.IFF_LOOPBACK, unix.ARPHRD_LOOPBACK
	s.links[0].master, s.links[0].kind = 9, "veth"
	s.confs = []confRecord{{index: 2, forward: true}, {v6: true, index: 2, forward: true}}
	r := routesOf(&s)
	want := []nic.Link{
		{Index: 1, Name: "eth0", MAC: [6]byte{2, 0, 0, 0, 0, 1}, MTU: 1500, Loop: true},
		{Index: 2, Name: "eth1", MAC: [6]byte{2, 0, 0, 0, 0, 2}, MTU: 1500, Ether: true, Up: true, Kind: "veth", Master: 9},
	}
	if got := r.Links(); !slices.Equal(got, want) {
		t.Errorf("Links are\n%+v\nwant\n%+v", got, want)
	}
	for _, l := range want {
		if got, ok := r.Link(l.Index); !ok || got != l {
			t.Errorf("Link(%d) is %+v, %t", l.Index, got, ok)
		}
	}
	if l, ok := r.Link(3); ok {
		t.Errorf("Link(3) is %+v", l)
	}
	// IPv4 counts by link, IPv6 by namespace.
	for _, tt := range []struct {
		index      int
		ipv6, want bool
	}{{1, false, false}, {2, false, true}, {1, true, false}, {2, true, false}, {3, false, false}} {
		if got := r.Forwarding(tt.index, tt.ipv6); got != tt.want {
			t.Errorf("Forwarding(%d, %t) is %t", tt.index, tt.ipv6, got)
		}
	}
	s.confs = append(s.confs, confRecord{v6: true, index: netconfAll, forward: true})
	if !routesOf(&s).Forwarding(2, true) {
		t.Error("IPv6 forwarding of the namespace does not count for the link")
	}
}

func TestRules(t *testing.T) {
	s := twoLinks()
	const other = 100
	inOther := unicast("10.0.0.0/8", via(2, ""))
	inOther.table = other
	s.routes = []routeRecord{
		unicast("0.0.0.0/0", via(1, "192.0.2.254")),
		unicast("10.1.0.0/16", via(1, "")),
		inOther,
		special("10.0.0.0/8", unix.RT_TABLE_LOCAL, unix.RTN_LOCAL),
	}
	rule := func(table uint32) ruleRecord {
		return ruleRecord{priority: 5, action: unix.FR_ACT_TO_TBL, table: table, suppress: -1}
	}
	base := rule(unix.RT_TABLE_LOCAL)
	main := rule(unix.RT_TABLE_MAIN)
	tests := []struct {
		name    string
		rules   []ruleRecord
		dst     string
		state   nic.HopState
		index   int
		ignored int
	}{
		{"default rules merge local and main", nil, "10.1.0.1", nic.HopUnresolved, 1, 0},
		{"default rules, local", nil, "10.2.0.1", nic.HopLocal, 0, 0},
		{"else local comes first", []ruleRecord{base, main}, "10.1.0.1", nic.HopLocal, 0, 0},
		{"another table", []ruleRecord{rule(other), main}, "10.1.0.1", nic.HopUnresolved, 2, 0},
		{"falls through", []ruleRecord{rule(other), main}, "11.1.0.1", nic.HopUnresolved, 1, 0},
		{"nothing left", []ruleRecord{rule(other)}, "11.1.0.1", nic.HopNoRoute, 0, 0},
		{"to", []ruleRecord{{action: unix.FR_ACT_TO_TBL, table: other, suppress: -1, dst: mustIP("10.1.0.0"), bits: 112, hasDst: true}, main}, "10.1.0.1", nic.HopUnresolved, 2, 0},
		{"not to, matching", []ruleRecord{{action: unix.FR_ACT_TO_TBL, table: other, suppress: -1, dst: mustIP("10.1.0.0"), bits: 112, hasDst: true, invert: true}, main}, "10.1.0.1", nic.HopUnresolved, 1, 0},
		{"not to, other", []ruleRecord{{action: unix.FR_ACT_TO_TBL, table: other, suppress: -1, dst: mustIP("10.1.0.0"), bits: 112, hasDst: true, invert: true}, main}, "10.2.0.1", nic.HopUnresolved, 2, 0},
		{"mark", []ruleRecord{{action: unix.FR_ACT_TO_TBL, table: other, suppress: -1, mark: 1, markMask: 1}, main}, "10.1.0.1", nic.HopUnresolved, 1, 0},
		{"not mark", []ruleRecord{{action: unix.FR_ACT_TO_TBL, table: other, suppress: -1, mark: 1, markMask: 1, invert: true}, main}, "10.1.0.1", nic.HopUnresolved, 2, 0},
		{"mark 0", []ruleRecord{{action: unix.FR_ACT_TO_TBL, table: other, suppress: -1, mark: 2, markMask: 1}, main}, "10.1.0.1", nic.HopUnresolved, 2, 0},
		{"not all", []ruleRecord{{action: unix.FR_ACT_TO_TBL, table: other, suppress: -1, invert: true}, main}, "10.1.0.1", nic.HopUnresolved, 1, 0},
		{"suppress", []ruleRecord{{action: unix.FR_ACT_TO_TBL, table: unix.RT_TABLE_MAIN, suppress: 0}, rule(other)}, "11.1.0.1", nic.HopNoRoute, 0, 0},
		{"suppress lets the longer pass", []ruleRecord{{action: unix.FR_ACT_TO_TBL, table: unix.RT_TABLE_MAIN, suppress: 15}}, "10.1.0.1", nic.HopUnresolved, 1, 0},
		{"suppress not the longer", []ruleRecord{{action: unix.FR_ACT_TO_TBL, table: unix.RT_TABLE_MAIN, suppress: 16}}, "10.1.0.1", nic.HopNoRoute, 0, 0},
		{"prohibit", []ruleRecord{{action: unix.FR_ACT_PROHIBIT, suppress: -1}, main}, "10.1.0.1", nic.HopNoRoute, 0, 0},
		{"oif and l3mdev", []ruleRecord{{action: unix.FR_ACT_PROHIBIT, oif: true}, {action: unix.FR_ACT_PROHIBIT, l3mdev: true}, main}, "10.1.0.1", nic.HopUnresolved, 1, 0},
		{"iif lo", []ruleRecord{{action: unix.FR_ACT_PROHIBIT, iif: "lo"}, main}, "10.1.0.1", nic.HopUnresolved, 1, 0},
		{"nop", []ruleRecord{{action: unix.FR_ACT_NOP}, main}, "10.1.0.1", nic.HopUnresolved, 1, 0},
		{"not followed", []ruleRecord{{action: unix.FR_ACT_PROHIBIT, other: "from"}, {action: unix.FR_ACT_PROHIBIT, iif: "eth0"}, {action: unix.FR_ACT_GOTO}, main}, "10.1.0.1", nic.HopUnresolved, 1, 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s.rules = tt.rules
			r := routesOf(&s)
			hop := r.Lookup(mustIP(tt.dst).addr())
			if hop.State != tt.state || hop.Index != tt.index {
				t.Errorf("state %d on link %d, want %d on %d", hop.State, hop.Index, tt.state, tt.index)
			}
			if len(r.fib.ignored) != tt.ignored {
				t.Errorf("ignored are %q", r.fib.ignored)
			}
		})
	}
}

func TestMultipath(t *testing.T) {
	s := twoLinks()
	s.links = append(s.links, linkRecord{index: 3, mtu: 1500, flags: unix.IFF_UP})
	r := unicast("0.0.0.0/0", pathRecord{})
	r.paths = []pathRecord{via(1, "10.0.0.1"), via(2, "10.0.0.2"), via(3, "10.0.0.3")}
	r.paths[1].weight = 3
	s.routes = []routeRecord{r}
	snap := routesOf(&s)
	const n = 4000
	var count [4]int
	for i := range n {
		hop := snap.Lookup(ip{0, v4Prefix | uint64(0x01000000+i)}.addr())
		count[hop.Index]++
		want := ip{0, v4Prefix | uint64(0x0a000000+hop.Index)}
		if hop.NextHop != want.addr() {
			t.Fatalf("link %d with gateway %v", hop.Index, hop.NextHop)
		}
	}
	// One in five, three in five, one in five, within 15 %.
	for i, want := range []int{0, n / 5, 3 * n / 5, n / 5} {
		if d := count[i] - want; d > want*15/100 || d < -want*15/100 {
			t.Errorf("path %d was chosen %d times of %d, want about %d", i, count[i], n, want)
		}
	}
	if again := routesOf(&s); again.Lookup(mustIP("1.2.3.4").addr()) != snap.Lookup(mustIP("1.2.3.4").addr()) {
		t.Error("another snapshot chooses another path")
	}
	// A path whose link goes down is left out, the others share its part.
	s.links[1].flags = 0
	snap = routesOf(&s)
	for i := range n {
		dst := ip{0, v4Prefix | uint64(0x01000000+i)}
		if hop := snap.Lookup(dst.addr()); hop.Index != 1 && hop.Index != 3 {
			t.Fatalf("link %d is chosen, though it is down", hop.Index)
		}
	}
	// A path without carrier counts, unless the link is told to ignore it.
	s.links[1].flags = unix.IFF_UP
	s.routes[0].paths[1].flags = unix.RTNH_F_LINKDOWN
	if got := len(routesOf(&s).fib.steps[0][0].table.lookup(mustIP("1.2.3.4")).paths); got != 3 {
		t.Errorf("%d paths, want 3", got)
	}
	s.confs = []confRecord{{index: 2, ignore: true}}
	if got := len(routesOf(&s).fib.steps[0][0].table.lookup(mustIP("1.2.3.4")).paths); got != 2 {
		t.Errorf("%d paths, want 2", got)
	}
}

// With nexthop_compat_mode off a route has but the number of its nexthop.
func TestNexthopObjects(t *testing.T) {
	s := twoLinks()
	s.nexthops = []nexthopRecord{
		{id: 1, path: via(1, "10.0.0.1")},
		{id: 2, path: via(2, "10.0.0.2")},
		{id: 3, group: []member{{1, 1}, {2, 1}}},
		{id: 4, blackhole: true},
	}
	for i, prefix := range []string{"1.0.0.0/8", "2.0.0.0/8", "3.0.0.0/8", "4.0.0.0/8", "5.0.0.0/8"} {
		r := unicast(prefix, pathRecord{})
		r.nexthop = uint32(i + 1)
		s.routes = append(s.routes, r)
	}
	f := newFIB(&s)
	for i, want := range []int{1, 1, 2, 0, -1} {
		r := find(f.steps[0], ip{0, v4Prefix | uint64(i+1)<<24 | 1})
		got := -1
		if r != nil {
			got = len(r.paths)
		}
		if got != want {
			t.Errorf("nexthop %d has %d paths, want %d", i+1, got, want)
		}
	}
}

// seed is that of a random test: from the environment, or else a new one; it
// is logged so that a failure can be repeated.
func seed(t testing.TB) *rand.Rand {
	t.Helper()
	n := rand.Uint64()
	if s := os.Getenv("VSNAT_SEED"); s != "" {
		var err error
		if n, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("VSNAT_SEED=%d", n)
	return rand.New(rand.NewPCG(n, n))
}

// slowLookup is what a lookup means, said as plainly as possible: the rules in
// order; in a table the usable route with the longest prefix, then of table
// local if merged, then the lowest metric, then the first.
func slowLookup(s *state, v6 bool, dst netip.Addr) (verdict, int) {
	prefixOf := func(r *routeRecord) netip.Prefix {
		n := int(r.bits)
		if !r.v6 {
			n -= v4Bits
		}
		return netip.PrefixFrom(netip.AddrFrom16(r.dst.addr()).Unmap(), n)
	}
	usable := func(r *routeRecord) bool {
		return r.kind != unix.RTN_UNICAST || slices.ContainsFunc(s.links, func(l linkRecord) bool {
			return l.index == r.path.index && l.flags&unix.IFF_UP != 0
		})
	}
	rules := slices.DeleteFunc(slices.Clone(s.rules), func(r ruleRecord) bool { return r.v6 != v6 })
	tablesOf := func(r ruleRecord) []uint32 { return []uint32{r.table} }
	if len(rules) == 0 {
		rules = defaultRules(v6)
		if !v6 {
			rules = rules[1:]
			tablesOf = func(r ruleRecord) []uint32 {
				if r.table == unix.RT_TABLE_MAIN {
					return []uint32{unix.RT_TABLE_LOCAL, unix.RT_TABLE_MAIN}
				}
				return []uint32{r.table}
			}
		}
	}
	for _, rule := range rules {
		var best *routeRecord
		for _, id := range tablesOf(rule) {
			for i := range s.routes {
				r := &s.routes[i]
				if r.v6 != v6 || r.table != id || !usable(r) || !prefixOf(r).Contains(dst) {
					continue
				}
				if best == nil || r.bits > best.bits || r.bits == best.bits && r.table == best.table && r.metric < best.metric {
					best = r
				}
			}
		}
		if best == nil || best.kind == unix.RTN_THROW {
			continue
		}
		switch best.kind {
		case unix.RTN_UNICAST:
			return forward, best.path.index
		case unix.RTN_LOCAL:
			return local, 0
		}
		return refuse, 0
	}
	return refuse, 0
}

// randomState is a host with random links, some down, and routes close to each
// other in three tables.
func randomState(rng *rand.Rand) *state {
	s := &state{}
	for i := range 4 {
		l := linkRecord{index: i + 1, mtu: 1500, flags: unix.IFF_UP, hwType: unix.ARPHRD_ETHER}
		if rng.IntN(4) == 0 {
			l.flags = 0
		}
		s.links = append(s.links, l)
	}
	tables := []uint32{unix.RT_TABLE_LOCAL, unix.RT_TABLE_MAIN, unix.RT_TABLE_DEFAULT, 77}
	for range rng.IntN(60) {
		r := routeRecord{
			v6: rng.IntN(2) == 0, table: tables[rng.IntN(len(tables))], metric: rng.Uint32N(3),
			kind: unix.RTN_UNICAST, path: pathRecord{index: 1 + rng.IntN(4), weight: 1},
		}
		if rng.IntN(4) == 0 {
			r.kind = []uint8{unix.RTN_LOCAL, unix.RTN_BLACKHOLE, unix.RTN_THROW, unix.RTN_BROADCAST}[rng.IntN(4)]
		}
		r.dst = randomIP(rng, r.v6)
		if r.bits = uint8(rng.IntN(129)); !r.v6 {
			r.bits = v4Bits + uint8(rng.IntN(33))
		}
		r.dst = r.dst.mask(r.bits)
		s.routes = append(s.routes, r)
	}
	if rng.IntN(2) == 0 {
		for _, v6 := range []bool{false, true} {
			for range 1 + rng.IntN(3) {
				s.rules = append(s.rules, ruleRecord{v6: v6, action: unix.FR_ACT_TO_TBL, table: tables[rng.IntN(len(tables))], suppress: -1})
			}
		}
	}
	return s
}

// randomIP draws from addresses that have few different bits, so that prefixes
// nest.
func randomIP(rng *rand.Rand, v6 bool) ip {
	if v6 {
		return ip{0x2001 << 48, rng.Uint64() & 0x8000_8000_8000_8003}
	}
	return ip{0, v4Prefix | uint64(rng.Uint32()&0x80808083|0x0a000000)&^0xf0000000 | 0x10000000}
}

func TestLookupAgainstModel(t *testing.T) {
	rng := seed(t)
	found := map[verdict]int{}
	for range 400 {
		s := randomState(rng)
		f := newFIB(s)
		for range 60 {
			v6 := rng.IntN(2) == 0
			a := randomIP(rng, v6)
			dst := netip.AddrFrom16(a.addr()).Unmap()
			want, wantIndex := slowLookup(s, v6, dst)
			found[want]++
			got, gotIndex := refuse, 0
			if r := find(f.steps[family(v6)], a); r != nil {
				if got = r.verdict; got == forward {
					gotIndex = r.pick(a).index
				}
			}
			if got != want || gotIndex != wantIndex {
				t.Fatalf("%v: verdict %d on link %d, want %d on %d\nstate %+v", dst, got, gotIndex, want, wantIndex, s)
			}
		}
	}
	for _, v := range []verdict{forward, local, refuse} {
		if found[v] < 100 {
			t.Errorf("the model found verdict %d only %d times: %v", v, found[v], found)
		}
	}
}

func TestNeighEditorAgainstModel(t *testing.T) {
	rng := seed(t)
	var e neighEditor
	model := map[neighKey]neighbour{}
	var old *neighTable
	var oldModel map[neighKey]neighbour
	states := []uint16{unix.NUD_REACHABLE, unix.NUD_STALE, unix.NUD_FAILED, unix.NUD_INCOMPLETE, unix.NUD_PERMANENT}
	check := func(table *neighTable, model map[neighKey]neighbour) {
		t.Helper()
		for i := range 2000 {
			k := neighKey{ip{0, v4Prefix | uint64(i)}, 1}
			want, ok := model[k]
			if !ok {
				want = neighbour{state: nic.HopUnresolved}
			}
			if got := table.get(k); got != want {
				t.Fatalf("neighbour %d is %+v, want %+v", i, got, want)
			}
		}
	}
	for round := range 200 {
		before := e.changed
		if before {
			t.Fatal("a new snapshot differs from itself")
		}
		for range rng.IntN(50) {
			r := neighRecord{
				key:   neighKey{ip{0, v4Prefix | uint64(rng.IntN(2000))}, 1},
				state: states[rng.IntN(len(states))], mac: [6]byte{byte(rng.IntN(2))},
			}
			if rng.IntN(4) == 0 {
				e.remove(r.key)
				delete(model, r.key)
				continue
			}
			e.set(r.key, r.neighbour())
			model[r.key] = r.neighbour()
		}
		table := e.snapshot()
		check(table, model)
		if round%10 == 0 {
			if old != nil {
				check(old, oldModel) // snapshots never change
			}
			old, oldModel = table, map[neighKey]neighbour{}
			for k, n := range model {
				oldModel[k] = n
			}
		}
	}
	k := neighKey{ip{0, v4Prefix | 1}, 1}
	e.set(k, neighbour{nic.HopResolved, false, [6]byte{9}})
	e.snapshot()
	e.set(k, neighbour{nic.HopResolved, false, [6]byte{9}})
	if e.changed {
		t.Error("a message that tells nothing new counts as a change")
	}
}

// tenThousand is a host with as many routes and neighbours.
func tenThousand() (*state, []neighRecord) {
	s := twoLinks()
	var neighbours []neighRecord
	s.routes = append(s.routes, unicast("0.0.0.0/0", via(1, "10.0.0.1")), unicast("172.16.0.0/16", via(2, "")))
	for i := range 10000 {
		gw := fmt.Sprintf("172.16.%d.%d", i>>8&0xff, i&0xff)
		s.routes = append(s.routes, unicast(fmt.Sprintf("20.%d.%d.0/%d", i>>8&0xff, i&0xff, 24-i%3), via(2, gw)))
		neighbours = append(neighbours, neighRecord{neighKey{mustIP(gw), 2}, unix.NUD_REACHABLE, [6]byte{2, byte(i)}})
	}
	return &s, neighbours
}

func TestLookupAllocatesNothing(t *testing.T) {
	s, neighbours := tenThousand()
	var r nic.Routes = routesOf(s, neighbours...)
	w := &Watcher{solicitor: solicitor{asked: make(chan neighKey, 1)}}
	dst := mustIP("20.1.2.3").addr()
	if hop := r.Lookup(dst); hop.State != nic.HopResolved {
		t.Fatalf("hop is %+v", hop)
	}
	n := testing.AllocsPerRun(100, func() {
		r.Lookup(dst)
		r.Lookup(mustIP6)
		r.Local(dst)
		r.Link(2)
		r.Links()
		r.Forwarding(2, true)
		w.Solicit(2, dst)
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

var mustIP6 = nic.Addr{0x20, 1, 15: 1}

func BenchmarkLookup(b *testing.B) {
	s, neighbours := tenThousand()
	r := routesOf(s, neighbours...)
	a := mustIP("20.1.2.3")
	for i := 0; b.Loop(); i++ {
		a.lo = a.lo&^0xffff00 | uint64(i*7919&0xffff)<<8
		r.Lookup(a.addr())
	}
}

// BenchmarkNewFIB is the cost of one change of 10,000 routes.
func BenchmarkNewFIB(b *testing.B) {
	s, _ := tenThousand()
	for b.Loop() {
		newFIB(s)
	}
}

// BenchmarkNeighbourChange is the cost of one change among 10,000 neighbours.
func BenchmarkNeighbourChange(b *testing.B) {
	_, neighbours := tenThousand()
	var e neighEditor
	e.reset(neighbours)
	e.snapshot()
	for i := 0; b.Loop(); i++ {
		e.set(neighbours[i%len(neighbours)].key, neighbour{nic.HopResolved, false, [6]byte{byte(i), byte(i >> 8), 9}})
		e.snapshot()
	}
}

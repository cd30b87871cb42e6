package neigh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vsnat/nic"
	"vsnat/nic/netns"
)

// host is a namespace and a handle for setting it up.
type host struct {
	t  *testing.T
	ns *netns.Handle
	nl *netlink.Handle
}

func newHost(t *testing.T) *host {
	t.Helper()
	ns, err := netns.New()
	if errors.Is(err, unix.EPERM) {
		t.Skip("needs CAP_SYS_ADMIN to make a network namespace")
	}
	if err != nil {
		t.Fatal(err)
	}
	h := &host{t: t, ns: ns}
	t.Cleanup(func() { _ = ns.Close() })
	h.must(netns.Do(ns, func() (err error) {
		h.nl, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	}))
	t.Cleanup(h.nl.Close)
	return h
}

func (h *host) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// sysctl writes a value below /proc/sys/net of the host.
func (h *host) sysctl(name, value string) {
	h.t.Helper()
	h.must(netns.Do(h.ns, func() error { return os.WriteFile("/proc/sys/net/"+name, []byte(value), 0) }))
}

// wire connects two hosts by a veth pair without addresses, up at both ends,
// and returns the link at h.
func (h *host) wire(name string, peer *host, peerName string) netlink.Link {
	h.t.Helper()
	h.must(h.nl.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: peerName, PeerNamespace: netlink.NsFd(peer.ns.Fd()),
	}))
	for _, end := range []struct {
		h    *host
		name string
	}{{h, name}, {peer, peerName}} {
		end.h.must(end.h.nl.LinkSetUp(end.h.link(end.name)))
	}
	return h.link(name)
}

func (h *host) link(name string) netlink.Link {
	h.t.Helper()
	l, err := h.nl.LinkByName(name)
	h.must(err)
	return l
}

func (h *host) addr(link netlink.Link, cidr string) {
	h.t.Helper()
	a, err := netlink.ParseAddr(cidr)
	h.must(err)
	a.Flags = unix.IFA_F_NODAD // usable at once
	h.must(h.nl.AddrAdd(link, a))
}

func (h *host) route(cidr, gw string, link netlink.Link) netlink.Route {
	h.t.Helper()
	_, dst, err := net.ParseCIDR(cidr)
	h.must(err)
	r := netlink.Route{Dst: dst, Gw: net.ParseIP(gw), LinkIndex: link.Attrs().Index}
	h.must(h.nl.RouteAdd(&r))
	return r
}

// watch starts a watcher that ends with the test.
func (h *host) watch(options Options) *Watcher {
	h.t.Helper()
	options.NS = h.ns
	options.OnError = func(err error) { h.t.Errorf("the watcher failed: %v", err) }
	ctx, cancel := context.WithCancel(context.Background())
	w, err := Start(ctx, options)
	if err != nil {
		cancel()
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		cancel()
		<-w.Done()
	})
	return w
}

func addrOf(s string) nic.Addr { return netip.MustParseAddr(s).As16() }

// await waits until cond holds for the snapshot. The limit is only there to
// end a test that fails.
func await(t *testing.T, w *Watcher, what string, cond func(nic.Routes) bool) {
	t.Helper()
	limit := time.After(30 * time.Second)
	for !cond(w.Routes()) {
		select {
		case <-w.Changed():
		case <-limit:
			t.Fatalf("in vain waited until %s; links %+v, stats %+v", what, w.Routes().Links(), w.Stats())
		}
	}
}

// hop awaits a hop to dst that is as wanted, but for those fields that are
// zero in want.
func hop(t *testing.T, w *Watcher, dst string, want nic.Hop) nic.Hop {
	t.Helper()
	var got nic.Hop
	defer func() {
		if t.Failed() {
			t.Logf("the hop to %s is %+v", dst, got)
		}
	}()
	await(t, w, fmt.Sprintf("the hop to %s is %+v", dst, want), func(r nic.Routes) bool {
		got = r.Lookup(addrOf(dst))
		return got.State == want.State &&
			(want.Index == 0 || got.Index == want.Index) &&
			(want.NextHop == nic.Addr{} || got.NextHop == want.NextHop) &&
			(want.Src == nic.Addr{} || got.Src == want.Src) &&
			(want.MTU == 0 || got.MTU == want.MTU) &&
			(want.DstMAC == [6]byte{} || got.DstMAC == want.DstMAC)
	})
	return got
}

func mac(l netlink.Link) [6]byte { return [6]byte(l.Attrs().HardwareAddr) }

func TestResolution(t *testing.T) {
	h, peer := newHost(t), newHost(t)
	w := h.watch(Options{}) // nothing is there yet: all below is followed
	eth0 := h.wire("eth0", peer, "peer0")
	peer0 := peer.link("peer0")
	index := eth0.Attrs().Index
	for _, family := range []struct{ own, gateway, missing, far, prefix string }{
		{"10.9.0.1", "10.9.0.2", "10.9.0.3", "198.51.100.7", "/24"},
		{"2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:77::7", "/64"},
	} {
		h.addr(eth0, family.own+family.prefix)
		peer.addr(peer0, family.gateway+family.prefix)
		any := "0.0.0.0/0"
		if family.prefix == "/64" {
			any = "::/0"
		}
		hop(t, w, family.far, nic.Hop{State: nic.HopNoRoute})
		h.route(any, family.gateway, eth0)
		want := nic.Hop{State: nic.HopUnresolved, Index: index, NextHop: addrOf(family.gateway), Src: addrOf(family.own), MTU: 1500}
		if got := hop(t, w, family.far, want); got.SrcMAC != mac(eth0) {
			t.Errorf("SrcMAC is %x, want %x", got.SrcMAC, mac(eth0))
		}
		hop(t, w, family.own, nic.Hop{State: nic.HopLocal})
		if !w.Routes().Local(addrOf(family.own)) || w.Routes().Local(addrOf(family.gateway)) {
			t.Error("Local is wrong")
		}

		w.Solicit(index, addrOf(family.gateway))
		want.State, want.DstMAC = nic.HopResolved, mac(peer0)
		hop(t, w, family.far, want)
		want.NextHop = addrOf(family.gateway)
		hop(t, w, family.gateway, want)

		hop(t, w, family.missing, nic.Hop{State: nic.HopUnresolved})
		w.Solicit(index, addrOf(family.missing))
		hop(t, w, family.missing, nic.Hop{State: nic.HopFailed, Index: index, NextHop: addrOf(family.missing)})
	}
}

func TestLinkComesAndGoes(t *testing.T) {
	h, peer := newHost(t), newHost(t)
	eth0 := h.wire("eth0", peer, "peer0")
	h.addr(eth0, "10.9.0.1/24")
	peer.addr(peer.link("peer0"), "10.9.0.2/24")
	h.route("0.0.0.0/0", "10.9.0.2", eth0)
	w := h.watch(Options{})
	w.Keep([]nic.Addr{addrOf("198.51.100.7")})
	hop(t, w, "198.51.100.7", nic.Hop{State: nic.HopResolved, DstMAC: mac(peer.link("peer0"))})
	l, ok := w.Routes().Link(eth0.Attrs().Index)
	want := nic.Link{Index: eth0.Attrs().Index, Name: "eth0", Kind: "veth", MAC: mac(eth0), MTU: 1500, Up: true, Ether: true}
	if !ok || l != want {
		t.Errorf("link is %+v, want %+v", l, want)
	}

	h.must(h.nl.LinkSetMTU(eth0, 1400))
	hop(t, w, "198.51.100.7", nic.Hop{State: nic.HopResolved, MTU: 1400})

	h.must(h.nl.LinkSetDown(eth0)) // IPv4 drops the routes without a word
	hop(t, w, "198.51.100.7", nic.Hop{State: nic.HopNoRoute})
	hop(t, w, "10.9.0.2", nic.Hop{State: nic.HopNoRoute})
	h.must(h.nl.LinkSetUp(eth0))
	hop(t, w, "10.9.0.2", nic.Hop{State: nic.HopUnresolved, Index: eth0.Attrs().Index})

	h.must(h.nl.LinkDel(eth0))
	await(t, w, "the link is gone", func(r nic.Routes) bool {
		_, ok := r.Link(eth0.Attrs().Index)
		return !ok && r.Lookup(addrOf("10.9.0.2")).State == nic.HopNoRoute && !r.Local(addrOf("10.9.0.1"))
	})
	w.Solicit(eth0.Attrs().Index, addrOf("10.9.0.2")) // must do no harm

	again := h.wire("eth0", peer, "peer0")
	h.addr(again, "10.9.0.1/24")
	peer.addr(peer.link("peer0"), "10.9.0.2/24")
	hop(t, w, "10.9.0.2", nic.Hop{State: nic.HopUnresolved, Index: again.Attrs().Index})
	w.Solicit(again.Attrs().Index, addrOf("10.9.0.2"))
	hop(t, w, "10.9.0.2", nic.Hop{State: nic.HopResolved, Index: again.Attrs().Index, DstMAC: mac(peer.link("peer0"))})
}

func TestAddressMoves(t *testing.T) {
	h, peer := newHost(t), newHost(t)
	eth0, eth1 := h.wire("eth0", peer, "peer0"), h.wire("eth1", peer, "peer1")
	h.addr(eth0, "10.9.0.1/24")
	w := h.watch(Options{})
	want := nic.Hop{State: nic.HopUnresolved, Index: eth0.Attrs().Index, Src: addrOf("10.9.0.1")}
	hop(t, w, "10.9.0.77", want)
	a, err := netlink.ParseAddr("10.9.0.1/24")
	h.must(err)
	h.must(h.nl.AddrDel(eth0, a))
	await(t, w, "the address is gone", func(r nic.Routes) bool { return !r.Local(addrOf("10.9.0.1")) })
	h.addr(eth1, "10.9.0.1/24")
	want.Index = eth1.Attrs().Index
	hop(t, w, "10.9.0.77", want)
	hop(t, w, "10.9.0.1", nic.Hop{State: nic.HopLocal})
	h.addr(eth1, "10.9.0.9/32") // a VIP, as one adds it
	hop(t, w, "10.9.0.9", nic.Hop{State: nic.HopLocal})
}

func TestForwarding(t *testing.T) {
	h, peer := newHost(t), newHost(t)
	index := h.wire("eth0", peer, "peer0").Attrs().Index
	other := h.wire("eth1", peer, "peer1").Attrs().Index
	h.sysctl("ipv4/ip_forward", "0")
	h.sysctl("ipv6/conf/all/forwarding", "0")
	w := h.watch(Options{})
	is := func(what string, v4, v6, v4Other bool) {
		t.Helper()
		await(t, w, what, func(r nic.Routes) bool {
			return r.Forwarding(index, false) == v4 && r.Forwarding(index, true) == v6 && r.Forwarding(other, false) == v4Other
		})
	}
	is("nothing is forwarded", false, false, false)
	h.sysctl("ipv4/ip_forward", "1")
	is("IPv4 is forwarded", true, false, true)
	h.sysctl("ipv4/conf/eth0/forwarding", "0")
	is("IPv4 is forwarded by the other link", false, false, true)
	h.sysctl("ipv6/conf/all/forwarding", "1")
	is("IPv6 is forwarded", false, true, true)
	h.sysctl("ipv4/ip_forward", "0")
	h.sysctl("ipv6/conf/all/forwarding", "0")
	is("nothing is forwarded again", false, false, false)
}

func TestManyRoutes(t *testing.T) {
	h, peer := newHost(t), newHost(t)
	eth0 := h.wire("eth0", peer, "peer0")
	h.addr(eth0, "10.9.0.1/24")
	w := h.watch(Options{})
	const n = 5000
	for i := range n {
		h.route(fmt.Sprintf("20.%d.%d.0/24", i>>8, i&0xff), fmt.Sprintf("10.9.0.%d", 2+i%200), eth0)
	}
	at := func(i int) string { return fmt.Sprintf("20.%d.%d.1", i>>8, i&0xff) }
	hop(t, w, at(n-1), nic.Hop{State: nic.HopUnresolved})
	for i := range n {
		want := addrOf(fmt.Sprintf("10.9.0.%d", 2+i%200))
		if got := w.Routes().Lookup(addrOf(at(i))); got.NextHop != want {
			t.Fatalf("the hop to %s is %+v, want one by %v", at(i), got, want)
		}
	}
	if s := w.Stats(); s.Snapshots > n/2 {
		t.Errorf("bursts are not coalesced: %+v", s)
	} else {
		t.Logf("%d routes one by one: %+v", n, s)
	}
	h.must(h.nl.LinkSetDown(eth0))
	await(t, w, "all routes are gone", func(r nic.Routes) bool {
		return r.Lookup(addrOf(at(0))).State == nic.HopNoRoute && r.Lookup(addrOf(at(n-1))).State == nic.HopNoRoute
	})
}

// A burst that overflows the buffer must leave no trace.
func TestOverrun(t *testing.T) {
	h, peer := newHost(t), newHost(t)
	eth0 := h.wire("eth0", peer, "peer0")
	h.addr(eth0, "10.9.0.1/16")
	w := h.watch(Options{ReceiveBuffer: 1}) // the kernel's minimum
	const n = 900
	for i := range n {
		for round := range 2 {
			h.must(h.nl.NeighSet(&netlink.Neigh{
				LinkIndex: eth0.Attrs().Index, Family: unix.AF_INET, State: unix.NUD_PERMANENT,
				IP: net.IPv4(10, 9, byte(1+i>>8), byte(i)), HardwareAddr: net.HardwareAddr{2, byte(round), 0, 0, byte(i >> 8), byte(i)},
			}))
		}
	}
	await(t, w, "all neighbours are known", func(r nic.Routes) bool {
		for i := range n {
			hop := r.Lookup(netip.AddrFrom4([4]byte{10, 9, byte(1 + i>>8), byte(i)}).As16())
			if hop.State != nic.HopResolved || hop.DstMAC != [6]byte{2, 1, 0, 0, byte(i >> 8), byte(i)} {
				return false
			}
		}
		return true
	})
	s := w.Stats()
	t.Logf("%+v", s)
	if s.Overruns == 0 {
		t.Error("the buffer did not overflow: the test tests nothing")
	}
}

func TestPolicyAndMultipath(t *testing.T) {
	h, peer := newHost(t), newHost(t)
	eth0, eth1 := h.wire("eth0", peer, "peer0"), h.wire("eth1", peer, "peer1")
	h.addr(eth0, "10.9.0.1/24")
	h.addr(eth1, "10.8.0.1/24")
	h.route("0.0.0.0/0", "10.9.0.2", eth0)
	w := h.watch(Options{})
	_, dst, _ := net.ParseCIDR("20.0.0.0/8")
	h.must(h.nl.RouteAdd(&netlink.Route{Dst: dst, Table: 1000, Gw: net.ParseIP("10.8.0.2"), LinkIndex: eth1.Attrs().Index}))
	hop(t, w, "20.1.1.1", nic.Hop{State: nic.HopUnresolved, Index: eth0.Attrs().Index})
	rule := netlink.NewRule()
	rule.Family, rule.Priority, rule.Table, rule.Dst = unix.AF_INET, 100, 1000, dst
	h.must(h.nl.RuleAdd(rule))
	hop(t, w, "20.1.1.1", nic.Hop{State: nic.HopUnresolved, Index: eth1.Attrs().Index, NextHop: addrOf("10.8.0.2"), Src: addrOf("10.8.0.1")})
	hop(t, w, "21.1.1.1", nic.Hop{State: nic.HopUnresolved, Index: eth0.Attrs().Index})
	if got := w.Ignored(); len(got) != 0 {
		t.Errorf("Ignored is %q", got)
	}
	from := netlink.NewRule()
	from.Family, from.Priority, from.Table, from.Src = unix.AF_INET, 99, 1000, dst
	h.must(h.nl.RuleAdd(from))
	await(t, w, "the rule is reported", func(nic.Routes) bool {
		return slices.Equal(w.Ignored(), []string{"ip rule 99 is not followed: it has the selector or option from"})
	})
	h.must(h.nl.RuleDel(from))
	h.must(h.nl.RuleDel(rule))
	hop(t, w, "20.1.1.1", nic.Hop{State: nic.HopUnresolved, Index: eth0.Attrs().Index})

	for _, cidr := range []string{"30.0.0.0/8", "2001:db8:30::/48"} {
		gw := []string{"10.9.0.3", "10.8.0.3"}
		if cidr[0] == '2' {
			gw = []string{"fe80::3", "fe80::4"}
		}
		_, dst, _ := net.ParseCIDR(cidr)
		h.must(h.nl.RouteAdd(&netlink.Route{Dst: dst, MTU: 1300, MultiPath: []*netlink.NexthopInfo{
			{LinkIndex: eth0.Attrs().Index, Gw: net.ParseIP(gw[0])},
			{LinkIndex: eth1.Attrs().Index, Gw: net.ParseIP(gw[1])},
		}}))
		base := netip.MustParsePrefix(cidr).Addr().As16()
		await(t, w, "both paths are used", func(r nic.Routes) bool {
			seen := map[nic.Addr]int{}
			for i := range 64 {
				base[15] = byte(i)
				if hop := r.Lookup(base); hop.State == nic.HopUnresolved && hop.MTU == 1300 {
					seen[hop.NextHop] = hop.Index
				}
			}
			return len(seen) == 2 && seen[addrOf(gw[0])] == eth0.Attrs().Index && seen[addrOf(gw[1])] == eth1.Attrs().Index
		})
	}
}

// A neighbour that is kept and changes its address must be found again, though
// the host's own stack has no traffic with it.
func TestKeepFindsNewAddress(t *testing.T) {
	h, peer := newHost(t), newHost(t)
	eth0 := h.wire("eth0", peer, "peer0")
	peer0 := peer.link("peer0")
	for _, f := range []struct{ family, own, server, prefix string }{
		{"ipv4", "10.9.0.1", "10.9.0.2", "/24"},
		{"ipv6", "2001:db8::1", "2001:db8::2", "/64"},
	} {
		h.sysctl(f.family+"/neigh/eth0/base_reachable_time_ms", "200")
		h.sysctl(f.family+"/neigh/eth0/delay_first_probe_time", "1")
		h.sysctl(f.family+"/neigh/eth0/retrans_time_ms", "100")
		h.addr(eth0, f.own+f.prefix)
		peer.addr(peer0, f.server+f.prefix)
	}
	w := h.watch(Options{Refresh: 100 * time.Millisecond})
	w.Keep([]nic.Addr{addrOf("10.9.0.2"), addrOf("2001:db8::2"), addrOf("10.9.0.5"), addrOf("10.9.0.1"), addrOf("203.0.113.1")})
	for _, server := range []string{"10.9.0.2", "2001:db8::2"} {
		hop(t, w, server, nic.Hop{State: nic.HopResolved, DstMAC: mac(peer0)})
	}
	// Somebody's entry that is there for good must not become one that ages.
	fixed := &netlink.Neigh{
		LinkIndex: eth0.Attrs().Index, Family: unix.AF_INET, State: unix.NUD_PERMANENT,
		IP: net.IPv4(10, 9, 0, 5), HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 5},
	}
	h.must(h.nl.NeighSet(fixed))
	hop(t, w, "10.9.0.5", nic.Hop{State: nic.HopResolved, DstMAC: [6]byte(fixed.HardwareAddr)})

	moved := [6]byte{2, 0, 0, 0, 0, 0x42}
	// No gratuitous announcement: the peer has no reason to talk.
	h.must(peer.nl.LinkSetHardwareAddr(peer0, moved[:]))
	for _, server := range []string{"10.9.0.2", "2001:db8::2"} {
		hop(t, w, server, nic.Hop{State: nic.HopResolved, DstMAC: moved})
	}
	list, err := h.nl.NeighList(eth0.Attrs().Index, unix.AF_INET)
	h.must(err)
	if !slices.ContainsFunc(list, func(n netlink.Neigh) bool { return n.IP.Equal(fixed.IP) && n.State == unix.NUD_PERMANENT }) {
		t.Errorf("the permanent entry is no longer so: %v", list)
	}
}

func TestEnds(t *testing.T) {
	h := newHost(t)
	ctx, cancel := context.WithCancel(context.Background())
	var failed error
	w, err := Start(ctx, Options{NS: h.ns, OnError: func(err error) { failed = err }})
	h.must(err)
	cancel()
	<-w.Done()
	if failed != nil {
		t.Errorf("to end is reported as a failure: %v", failed)
	}
	for range 2 * askedQueue { // must not block
		w.Solicit(1, addrOf("10.0.0.1"))
	}
	w.Keep(nil)
	if w.Routes().Lookup(addrOf("127.0.0.1")).State != nic.HopLocal {
		t.Error("the last snapshot is of no use")
	}
}

// TestAgainstKernel installs random routes and rules, and has the kernel itself
// say where packets go.
func TestAgainstKernel(t *testing.T) {
	rng := seed(t)
	h, peer := newHost(t), newHost(t)
	var links []netlink.Link
	for i := range 3 {
		n := strconv.Itoa(i)
		links = append(links, h.wire("eth"+n, peer, "peer"+n))
		h.addr(links[i], "10.9."+n+".1/24")
		h.addr(links[i], "10.10."+n+".1/24")
		h.addr(links[i], "2001:db8:9:"+n+"::1/64")
	}
	w := h.watch(Options{})
	lo := h.link("lo")
	random := func(v6 bool) net.IP {
		if a := randomIP(rng, v6).addr(); v6 {
			return a[:]
		} else {
			return a[12:]
		}
	}
	kinds := []int{unix.RTN_LOCAL, unix.RTN_BLACKHOLE, unix.RTN_UNREACHABLE, unix.RTN_PROHIBIT, unix.RTN_THROW}
	tables := []int{unix.RT_TABLE_MAIN, unix.RT_TABLE_MAIN, unix.RT_TABLE_DEFAULT, 77}
	states := map[nic.HopState]int{}
	for round := range 6 {
		for range 60 {
			v6 := rng.IntN(2) == 0
			size, least := 32, 4 // so that no route covers the gateways
			if v6 {
				size, least = 128, 24
			}
			mask := net.CIDRMask(least+rng.IntN(size-least+1), size)
			i := rng.IntN(len(links))
			r := netlink.Route{
				Dst: &net.IPNet{IP: random(v6).Mask(mask), Mask: mask}, Table: tables[rng.IntN(len(tables))],
				// Distinct, for of equal ones IPv6 makes a multipath route.
				Priority: 1 + rng.IntN(1<<20), LinkIndex: links[i].Attrs().Index,
			}
			switch rng.IntN(4) {
			case 0:
				r.Type = kinds[rng.IntN(len(kinds))]
				r.LinkIndex = 0
				if r.Type == unix.RTN_LOCAL {
					r.LinkIndex, r.Table, r.Scope = lo.Attrs().Index, unix.RT_TABLE_LOCAL, unix.RT_SCOPE_HOST
				} else if v6 {
					r.LinkIndex = lo.Attrs().Index
				}
			case 1:
				r.Scope = unix.RT_SCOPE_LINK
			default:
				r.Flags = int(netlink.FLAG_ONLINK) // whatever rules come before the gateway's route
				r.Gw = net.ParseIP(fmt.Sprintf("10.%d.%d.7", 9+rng.IntN(2), i))
				if v6 {
					r.Gw = net.ParseIP(fmt.Sprintf("2001:db8:9:%d::7", i))
				}
			}
			if err := h.nl.RouteAdd(&r); err != nil && !errors.Is(err, unix.EEXIST) {
				t.Fatalf("cannot add %v: %v", r, err)
			}
		}
		if round >= 2 { // the first rounds have the default rules
			rule := netlink.NewRule()
			rule.Family = []int{unix.AF_INET, unix.AF_INET6}[round%2]
			rule.Priority, rule.Table, rule.Invert = 1000-round, 77, rng.IntN(3) == 0
			rule.Dst = &net.IPNet{IP: random(round%2 == 1).Mask(net.CIDRMask(8, 32+96*(round%2))), Mask: net.CIDRMask(8, 32+96*(round%2))}
			if rng.IntN(2) == 0 {
				rule.SuppressPrefixlen = rng.IntN(12)
			}
			h.must(h.nl.RuleAdd(rule))
		}
		if round == 5 {
			h.must(h.nl.LinkSetDown(links[1]))
		}
		var dsts []nic.Addr
		var wants []nic.Hop
		for range 400 {
			dst := random(rng.IntN(2) == 0)
			dsts = append(dsts, [16]byte(dst.To16()))
			answer, err := h.nl.RouteGet(dst)
			want := nic.Hop{State: nic.HopNoRoute}
			switch {
			case err == nil && answer[0].Type == unix.RTN_LOCAL:
				want.State = nic.HopLocal
			case err == nil && answer[0].Type == unix.RTN_UNICAST:
				r := answer[0]
				want = nic.Hop{
					State: nic.HopUnresolved, Index: r.LinkIndex,
					NextHop: [16]byte(dst.To16()), Src: [16]byte(r.Src.To16()),
				}
				if r.Gw != nil {
					want.NextHop = [16]byte(r.Gw.To16())
				}
			}
			wants = append(wants, want)
			states[want.State]++
		}
		// All of it must hold in one snapshot.
		var differs string
		defer func() {
			if t.Failed() {
				t.Log(differs)
			}
		}()
		await(t, w, "the snapshot is as the kernel says", func(routes nic.Routes) bool {
			for i, want := range wants {
				got := routes.Lookup(dsts[i])
				if got.State != want.State || want.State == nic.HopUnresolved &&
					(got.Index != want.Index || got.NextHop != want.NextHop || got.Src != want.Src) {
					differs = fmt.Sprintf("round %d, %v:\n got %+v\nwant %+v", round, netip.AddrFrom16(dsts[i]), got, want)
					return false
				}
			}
			return true
		})
	}
	t.Logf("states %v", states)
}

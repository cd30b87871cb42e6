package guard

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
)

// eachKind runs a test for both kinds, each in a lab of its own.
func eachKind(t *testing.T, fn func(t *testing.T, l *lab, kind string)) {
	for _, kind := range []string{TCX, NFT} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			fn(t, newLab(t), kind)
		})
	}
}

// The host neither answers nor forwards what is guarded, and keeps the rest.
func TestHost(t *testing.T) {
	eachKind(t, func(t *testing.T, l *lab, kind string) {
		for _, a := range []netip.Addr{server4, server6} {
			serve(t, l.server, a, serverPort)
			serve(t, l.server, a, serverPort+1)
		}
		for _, a := range []netip.Addr{vip4, vip6} {
			serve(t, l.director, a, 22)
		}
		before := func(what string) {
			for _, v := range []netip.Addr{vip4, vip6} {
				expect(t, what+": TCP to "+v.String(), refused, dial, l.client, v, servicePort)
				expect(t, what+": UDP to "+v.String(), refused, datagram, l.client, v, servicePort)
			}
			for _, r := range []netip.Addr{server4, server6} {
				expect(t, what+": through the host to TCP "+r.String(), replied, dial, l.client, r, serverPort)
				expect(t, what+": through the host to UDP "+r.String(), refused, datagram, l.client, r, deadPort)
			}
		}
		before("no guard")

		g := l.guard(t, kind)
		if g.Kind() != kind || g.Why() == "" {
			t.Errorf("Kind %q, Why %q; asked for %q", g.Kind(), g.Why(), kind)
		}
		for _, v := range []netip.Addr{vip4, vip6} {
			expect(t, "TCP to the service", silence, dial, l.client, v, servicePort)
			expect(t, "UDP to the service", silence, datagram, l.client, v, servicePort)
			expect(t, "TCP to another port", refused, dial, l.client, v, freePort)
			expect(t, "UDP to another port", refused, datagram, l.client, v, freePort)
			expect(t, "TCP to the host's own service", replied, dial, l.client, v, 22)
			expect(t, "ping", replied, ping, l.client, v, 0)
		}
		for _, r := range []netip.Addr{server4, server6} {
			expect(t, "TCP reply of a server, forwarded", silence, dial, l.client, r, serverPort)
			expect(t, "UDP reply of a server, forwarded", silence, datagram, l.client, r, serverPort)
			expect(t, "TCP reply from another port, forwarded", replied, dial, l.client, r, serverPort+1)
			expect(t, "ICMP error about a server, forwarded", silence, datagram, l.client, r, deadPort)
			expect(t, "ICMP error about another port, forwarded", refused, datagram, l.client, r, freePort)
			expect(t, "TCP health check", replied, dial, l.director, r, serverPort)
			expect(t, "UDP health check", replied, datagram, l.director, r, serverPort)
			expect(t, "failing UDP health check", refused, datagram, l.director, r, deadPort)
			expect(t, "ping through the host", replied, ping, l.client, r, 0)
		}
		s, err := g.Stats()
		if err != nil {
			t.Fatal(err)
		}
		// TCP sends its packets again and again.
		if s.Services < 4 || s.Servers < 4 || s.Errors != 2 {
			t.Errorf("Stats %+v", s)
		}

		if err := g.Set(State{}); err != nil {
			t.Fatal(err)
		}
		before("nothing set")
		if err := errors.Join(g.Set(labState()), g.Detach(l.d0), g.Detach(l.d1), g.Detach(l.d1)); err != nil {
			t.Fatal(err)
		}
		before("detached")
		if err := errors.Join(g.Attach(l.d0), g.Attach(l.d0)); err != nil {
			t.Fatal(err)
		}
		expect(t, "attached again", silence, dial, l.client, vip4, servicePort)
		if err := errors.Join(g.Close(), g.Close()); err != nil {
			t.Fatal(err)
		}
		before("closed")
		if names := tables(t, l.director); len(names) != 0 {
			t.Errorf("tables left: %q", names)
		}
		if g.Set(State{}) == nil || g.Attach(l.d0) == nil || g.Detach(l.d0) == nil {
			t.Error("a closed guard works")
		}
		if _, err := g.Stats(); err == nil {
			t.Error("a closed guard counts")
		}
	})
}

// Set takes away and adds what differs, and leaves the rest alone.
func TestSet(t *testing.T) {
	eachKind(t, func(t *testing.T, l *lab, kind string) {
		g := l.guard(t, kind)
		s := labState()
		s.Services = append(s.Services, tcpKey(vip4, 90), tcpKey(vip4, 90))
		if err := g.Set(s); err != nil {
			t.Fatal(err)
		}
		expect(t, "old key", silence, dial, l.client, vip4, servicePort)
		expect(t, "new key", silence, dial, l.client, vip4, 90)
		if err := g.Set(State{Services: []Key{tcpKey(vip4, 90)}}); err != nil {
			t.Fatal(err)
		}
		expect(t, "key taken away", refused, dial, l.client, vip4, servicePort)
		expect(t, "key kept", silence, dial, l.client, vip4, 90)
		if err := g.Set(State{Services: []Key{tcpKey(vip4, 0)}}); err != nil {
			t.Fatal(err)
		}
		expect(t, "all ports", silence, dial, l.client, vip4, freePort)
		expect(t, "all ports, other protocol", refused, datagram, l.client, vip4, freePort)
		expect(t, "all ports, other address", refused, dial, l.client, front4, freePort)

		for _, bad := range []Key{{Port: 1, Proto: 6}, {Addr: vip4.As16(), Port: 1, Proto: 1}} {
			if err := g.Set(State{Servers: []Key{bad}}); err == nil {
				t.Errorf("Set takes %v", bad)
			}
		}
	})
}

// Another's "nft flush ruleset" leaves the guard alone.
func TestFlushRuleset(t *testing.T) {
	eachKind(t, func(t *testing.T, l *lab, kind string) {
		l.guard(t, kind)
		in(t, l.director, func() error {
			c, err := nftables.New()
			if err != nil {
				return err
			}
			c.FlushRuleset()
			return c.Flush()
		})
		expect(t, "after the flush", silence, dial, l.client, vip4, servicePort)
	})
}

// Interfaces come and go, and two guards stand side by side.
func TestInterfaces(t *testing.T) {
	eachKind(t, func(t *testing.T, l *lab, kind string) {
		g, second := l.guard(t, kind), l.guard(t, kind)
		if err := second.Set(State{Services: []Key{tcpKey(vip4, 90)}}); err != nil {
			t.Fatal(err)
		}
		expect(t, "the first guard's", silence, dial, l.client, vip4, servicePort)
		expect(t, "the second guard's", silence, dial, l.client, vip4, 90)

		var ifindex int
		fresh := func() error {
			if err := veth("d2", "p2", nil); err != nil {
				return err
			}
			var err error
			ifindex, _, err = index("d2")
			return err
		}
		remove := func() error {
			link, err := netlink.LinkByName("d2")
			if err != nil {
				return err
			}
			return netlink.LinkDel(link)
		}
		for range 2 { // the second time with the same name and another index
			in(t, l.director, fresh)
			if err := g.Attach(ifindex); err != nil {
				t.Fatal(err)
			}
			in(t, l.director, remove)
			if err := g.Detach(ifindex); err != nil {
				t.Error(err)
			}
		}
		if g.Attach(ifindex) == nil {
			t.Error("Attach works on an interface that is gone")
		}
		if g.Attach(loopbackIndex) == nil {
			t.Error("Attach works on lo")
		}
		if err := second.Close(); err != nil {
			t.Fatal(err)
		}
		expect(t, "the second guard's, closed", refused, dial, l.client, vip4, 90)
		expect(t, "the first guard's, left", silence, dial, l.client, vip4, servicePort)
	})
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{{Force: "xdp"}, {MaxKeys: -1}, {MaxKeys: 1<<24 + 1}} {
		if g, err := Open(o); err == nil {
			t.Errorf("Open takes %+v", o)
			_ = g.Close()
		}
	}
}

// More keys than there is room for are refused whole.
func TestMaxKeys(t *testing.T) {
	l := newLab(t)
	g, err := Open(Options{NS: l.director, Force: TCX, MaxKeys: 4})
	if err != nil {
		t.Skip(err)
	}
	defer g.Close()
	var s State
	for port := range uint16(5) {
		s.Services = append(s.Services, tcpKey(vip4, 100+port))
	}
	if err := g.Attach(l.d0); err != nil {
		t.Fatal(err)
	}
	if err := g.Set(s); err == nil {
		t.Error("Set takes 5 keys where there is room for 4")
	}
	expect(t, "refused key", refused, dial, l.client, vip4, 100)
	s.Services = s.Services[:4]
	if err := g.Set(s); err != nil {
		t.Error(err)
	}
	expect(t, "key", silence, dial, l.client, vip4, 100)
}

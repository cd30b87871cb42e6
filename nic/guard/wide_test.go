package guard

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWideIsChecked(t *testing.T) {
	p := netip.MustParsePrefix
	if err := checkWide(make([]Wide, MaxWide)); err != nil {
		t.Error(err)
	}
	for name, list := range map[string][]Wide{
		"too many":     make([]Wide, MaxWide+1),
		"two families": {{}, {Src: p("192.0.2.0/24"), Dst: p("2001:db8::/32")}},
		"mapped":       {{Dst: p("::ffff:192.0.2.0/120")}},
		"protocol":     {{Proto: unix.IPPROTO_ICMP}},
		"ports":        {{FirstPort: 2, LastPort: 1}},
		"interface":    {{Ifindex: -1}},
	} {
		if checkWide(list) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// A full list works, is searched to its end, and is replaced at once; Add leaves
// what Set set.
func TestWideList(t *testing.T) {
	eachKind(t, func(t *testing.T, l *lab, kind string) {
		g := l.guard(t, kind)
		list := make([]Wide, MaxWide)
		for i := range list {
			list[i] = Wide{Dst: netip.MustParsePrefix("198.51.100.192/26"), Proto: unix.IPPROTO_UDP, FirstPort: uint16(i + 1), LastPort: uint16(i + 1)}
		}
		last := &list[MaxWide-1]
		*last = Wide{Dst: netip.MustParsePrefix("198.51.100.0/26"), Proto: unix.IPPROTO_TCP, FirstPort: freePort, LastPort: freePort + 1}
		expect(t, "before", refused, dial, l.client, vip4, freePort)
		if err := g.Add(State{Wide: list}); err != nil {
			t.Fatal(err)
		}
		expect(t, "told by the last of many", silence, dial, l.client, vip4, freePort)
		expect(t, "told by a key", silence, dial, l.client, vip4, servicePort)
		last.Host = true
		if err := g.Add(State{Wide: list, Services: []Key{tcpKey(vip4, freePort+1)}}); err != nil {
			t.Fatal(err)
		}
		expect(t, "the host's", refused, dial, l.client, vip4, freePort)
		expect(t, "a key against the list", silence, dial, l.client, vip4, freePort+1)
		last.Host = false
		s := labState()
		s.Wide = list
		if err := g.Set(s); err != nil {
			t.Fatal(err)
		}
		expect(t, "a service's again", silence, dial, l.client, vip4, freePort)
		if err := g.Set(labState()); err != nil {
			t.Fatal(err)
		}
		expect(t, "after all are gone", refused, dial, l.client, vip4, freePort)
	})
}

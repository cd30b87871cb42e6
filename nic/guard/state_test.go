package guard

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// diff against two sets, step by step.
func TestDiff(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	have, tab := map[key]bool{}, newTable()
	for range 500 {
		var want []key
		wanted := map[key]bool{}
		for range rnd.IntN(20) {
			k := key{0: byte(rnd.IntN(16))}
			want, wanted[k] = append(want, k), true
		}
		fresh, stale := tab.diff(want)
		seen := map[key]bool{}
		for _, k := range fresh {
			if have[k] || !wanted[k] || seen[k] {
				t.Fatalf("fresh %v; have %v, want %v", fresh, have, want)
			}
			seen[k] = true
		}
		for _, k := range stale {
			if !have[k] || wanted[k] || seen[k] {
				t.Fatalf("stale %v; have %v, want %v", stale, have, want)
			}
			seen[k] = true
		}
		for k := range wanted {
			if !have[k] && !seen[k] {
				t.Fatalf("%v is not fresh; have %v, want %v", k, have, want)
			}
		}
		for k := range have {
			if !wanted[k] && !seen[k] {
				t.Fatalf("%v is not stale; have %v, want %v", k, have, want)
			}
		}
		// The kernel may have failed half-way.
		fresh, stale = fresh[:rnd.IntN(len(fresh)+1)], stale[:rnd.IntN(len(stale)+1)]
		tab.added(fresh)
		tab.deleted(stale)
		for _, k := range fresh {
			have[k] = true
		}
		for _, k := range stale {
			delete(have, k)
		}
	}
}

func TestKeyString(t *testing.T) {
	for want, k := range map[string]Key{
		"tcp 198.51.100.10:80":    tcpKey(vip4, 80),
		"udp [2001:db8:2::10]:53": udpKey(vip6, 53),
		"sctp 192.0.2.1:0":        {Addr: client4.As16(), Proto: unix.IPPROTO_SCTP},
		"1 192.0.2.1:0":           {Addr: client4.As16(), Proto: 1},
	} {
		if got := k.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// One key changes among 5,000 services with 10 servers each.
func BenchmarkSet(b *testing.B) {
	for _, kind := range []string{TCX, NFT} {
		b.Run(kind, func(b *testing.B) {
			g := newLab(b).guard(b, kind)
			s := labState()
			for i := range 5000 {
				v := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
				s.Services = append(s.Services, tcpKey(v, 80))
				for r := range 10 {
					s.Servers = append(s.Servers, tcpKey(netip.AddrFrom4([4]byte{10, byte(1 + r), byte(i >> 8), byte(i)}), 8080))
				}
			}
			if err := g.Set(s); err != nil {
				b.Fatal(err)
			}
			last := &s.Services[len(s.Services)-1]
			for b.Loop() {
				last.Port ^= 1
				if err := g.Set(s); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

package nat

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vsnat/conntrack"
	"vsnat/nat/wire"
	"vsnat/nic"
)

// after returns a policy with a deadline at each event, from which on a class
// meets the action.
func after(deadline time.Duration, t Traffic, a Action) (p LifePolicy) {
	for _, e := range LifeEvents {
		p.Of(e).First = Actions{Keep, Move, Keep, Move}
		p.Of(e).Deadline = deadline
		p.Of(e).Then[t] = a
	}
	return p
}

func TestDeadline(t *testing.T) {
	for _, c := range []struct {
		t             Traffic
		a             Action
		before, after string
	}{
		{Established, ResetClient, "C > S", "V > C rst 501"},
		{Established, ResetServer, "C > S", "C > S rst 101 ack 501"},
		{Established, ResetBoth, "C > S", "V > C rst 501, C > S rst 101 ack 501"},
		{UDPFlow, Move, "C > S", "C > O"},
		{UDPFlow, Unreachable, "C > S", "client icmp 3/3"},
	} {
		for _, e := range LifeEvents {
			t.Run(fmt.Sprintf("%s/%s/%s", e, c.t, c.a), func(t *testing.T) {
				b := newLifeBed(t)
				k := b.keys[c.t]
				b.life(k, after(100*time.Second, c.t, c.a))
				server, other := b.begin(c.t)
				b.seconds(50) // well for a while
				b.befall(k, server, e)
				b.seconds(1) // and this is when the engine learns the time
				began := b.now
				for b.now < began+98e9 {
					b.seconds(7)
					if got := b.words(b.probe(c.t), k, server, other); got != c.before {
						t.Fatalf("after %d s met %q", (b.now-began)/1e9, got)
					}
				}
				if got := b.deadlineOf(k, server); got != began+100e9 {
					t.Errorf("deadline shown is %d s after the event", (got-began)/1e9)
				}
				b.now = began + 100e9
				if got := b.words(b.probe(c.t), k, server, other); got != c.after {
					t.Errorf("after the deadline met %q, want %q", got, c.after)
				}
			})
		}
	}
}

func (b *lifeBed) deadlineOf(k ServiceKey, server netip.AddrPort) (at int64) {
	b.t.Helper()
	b.update(func(tx *Tx) error {
		s, err := tx.Service(k)
		for _, d := range append(s.Servers, s.Removed...) {
			if AddrPort(d.Key.Addr, d.Key.Port) == server {
				at = d.Deadline
			}
		}
		return err
	})
	return at
}

// A deadline counts from the event, whenever the policy was set; another event
// has its own; what is over has none.
func TestDeadlineCountsFromTheEvent(t *testing.T) {
	b := newLifeBed(t)
	server, other := b.begin(Established)
	key := ServerKey{server.Addr().As16(), server.Port()}
	b.befall(web, server, Drain)
	b.seconds(1)
	drained := b.now
	b.seconds(60)
	b.life(web, after(100*time.Second, Established, ResetBoth))
	if got := b.deadlineOf(web, server); got != drained+100e9 {
		t.Errorf("%d s after the event", (got-drained)/1e9)
	}
	b.update(func(tx *Tx) error { return tx.MarkServer(web, key, true) })
	b.seconds(1)
	down := b.now
	if got := b.deadlineOf(web, server); got != down+100e9 {
		t.Errorf("another event: %d s after it", (got-down)/1e9)
	}
	b.seconds(60)
	if got := b.words(b.data(web), web, server, other); got != "C > S" {
		t.Errorf("met %q", got)
	}
	b.update(func(tx *Tx) error { return tx.MarkServer(web, key, false) })
	b.update(func(tx *Tx) error {
		return tx.EditServer(web, ServerSpec{Key: key, Method: conntrack.Masq, Weight: 1})
	})
	if got := b.deadlineOf(web, server); got != 0 {
		t.Errorf("a server that is well has a deadline: %d", got)
	}
	b.seconds(100)
	if got := b.words(b.data(web), web, server, other); got != "C > S" {
		t.Errorf("met %q", got)
	}
}

// Flows and templates of clients that are silent move, too, in pieces.
func TestSweepOfThoseWhoMove(t *testing.T) {
	const n = 3000
	for _, e := range LifeEvents {
		for _, deadline := range []bool{false, true} {
			t.Run(fmt.Sprint(e, deadline), func(t *testing.T) {
				b := newLifeBed(t)
				udp, sticky := b.keys[UDPFlow], b.keys[PersistentClient]
				p := LifePolicy{}
				for _, e := range LifeEvents {
					p.Of(e).First = Actions{UDPFlow: Move, PersistentClient: Move}
				}
				if deadline {
					p = after(time.Minute, UDPFlow, Move)
					if e == Drain {
						p.Drain.First[PersistentClient], p.Drain.Then[PersistentClient] = Keep, Move
					}
				}
				b.life(udp, p)
				b.life(sticky, p)
				for i := range n {
					src := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)}), 1000)
					b.in(clientNIC, packet(ProtoUDP, src, AddrPort(udp.Addr, udp.Port), 0, nil))
					b.in(clientNIC, packet(ProtoTCP, src, AddrPort(sticky.Addr, sticky.Port), wire.SYN, nil))
				}
				// The connections end, the templates stay.
				b.seconds(70)
				server := netip.MustParseAddrPort("10.0.0.11:8080")
				if got := b.servers(udp)["10.0.0.11"].Inactive; got != n/2 {
					t.Fatalf("%d flows on the server", got)
				}
				if got := b.servers(sticky)["10.0.0.11"]; got.Inactive != 0 || got.Persistent != n/2 {
					t.Fatalf("%+v", got)
				}
				b.befall(udp, server, e)
				b.befall(sticky, server, e)
				if deadline {
					b.seconds(60) // the engine learns the time with the first
					if got := b.counts(udp, server); got != (LifeCounters{}) {
						t.Fatalf("before the deadline %+v", got)
					}
					b.now += 1e9
				}
				// One piece of the table a time.
				before := b.counts(udp, server).Moved
				for calls := 1; ; calls++ {
					b.e.Expire(b.now, 1000)
					is := b.counts(udp, server).Moved
					if is-before > sweepPiece {
						t.Fatalf("%d flows in one call", is-before)
					}
					if before = is; is == n/2 && b.counts(sticky, server).Moved == n/2 {
						break
					}
					if calls == 100 {
						t.Fatalf("moved %d flows and %d templates", is, b.counts(sticky, server).Moved)
					}
				}
				b.seconds(6)
				left := func(k ServiceKey) (left int32) {
					b.update(func(tx *Tx) error {
						s, err := tx.Service(k)
						for _, d := range append(s.Servers, s.Removed...) {
							if d.Key.Addr == server.Addr().As16() {
								left = d.Inactive + d.Persistent
							}
						}
						return err
					})
					return left
				}
				if u, p := left(udp), left(sticky); u+p != 0 {
					t.Errorf("%d flows and %d templates left", u, p)
				}
				if got := b.counts(udp, server).Moved; got != n/2 {
					t.Errorf("moved %d flows", got)
				}
			})
		}
	}
}

// A flow that was given up passes late answers for a while, is counted once, and
// lives on if its server is well again.
func TestGivenUpFlow(t *testing.T) {
	b := newLifeBed(t)
	k := b.keys[UDPFlow]
	b.life(k, policy(Down, UDPFlow, Move))
	server, other := b.begin(UDPFlow)
	key := ServerKey{server.Addr().As16(), server.Port()}
	mark := func(down bool) {
		b.update(func(tx *Tx) error { return tx.MarkServer(k, key, down) })
		b.e.Expire(b.now, 1<<20)
	}
	mark(true)
	b.seconds(3)
	if got := b.words(b.tell(server), k, server, other); got != "V > C" {
		t.Errorf("a late answer met %q", got)
	}
	b.seconds(1)
	mark(false)
	if got := b.words(b.ask(k), k, server, other); got != "C > S" {
		t.Errorf("met %q", got)
	}
	b.seconds(200) // longer than late answers are passed
	if got := b.words(b.ask(k), k, server, other); got != "C > S" {
		t.Errorf("met %q", got)
	}
	mark(true)
	if got := b.words(b.ask(k), k, server, other); got != "C > O" {
		t.Errorf("met %q", got)
	}
	if got := b.counts(k, server); got.Moved != 2 {
		t.Errorf("counted %+v", got)
	}
	b.seconds(4)
	if got := b.words(b.tell(server), k, server, other); got != "V > C" {
		t.Errorf("a late answer met %q", got)
	}
	b.seconds(2)
	if got := b.words(b.tell(server), k, server, other); got != "no-connection" {
		t.Errorf("a very late answer met %q", got)
	}
}

// The kernel's settings go on under cells that are the kernel's, and do not touch
// the others.
func TestSettingsUnderAPolicy(t *testing.T) {
	b := newLifeBed(t)
	b.set(func(s *Settings) { s.ExpireNodestConn, s.ExpireQuiescentTemplate = true, true })
	k := b.keys[UDPFlow]
	b.life(k, policy(Removed, UDPFlow, Keep))
	server, other := b.begin(UDPFlow)
	b.befall(k, server, Removed)
	b.seconds(10) // the sweep of expire_nodest_conn passes by
	if got := b.words(b.ask(k), k, server, other); got != "C > S" {
		t.Errorf("kept flow met %q", got)
	}
	b.life(k, LifePolicy{})
	if got := b.words(b.ask(k), k, server, other); got != "C > O" {
		t.Errorf("the kernel's flow met %q", got)
	}

	sticky := b.keys[PersistentClient]
	b.life(sticky, policy(Drain, PersistentClient, Keep))
	server, other = b.begin(PersistentClient)
	b.befall(sticky, server, Drain)
	if got := b.words(b.probe(PersistentClient), sticky, server, other); got != "D > S" {
		t.Errorf("kept client met %q", got)
	}
	b.life(sticky, policy(Drain, UDPFlow, Move)) // another cell
	got := b.words(b.syn(sticky, client.Port()+2), sticky, server, other)
	if !strings.HasSuffix(got, "> O") {
		t.Errorf("the kernel's client met %q", got)
	}
}

// Control, the sweep and workers at the same time: for the race detector, and
// nothing is left over.
func TestLifeBesideWorkers(t *testing.T) {
	b := newLifeBed(t)
	udp := b.keys[UDPFlow]
	dns, _ := LifePreset("dns")
	fast, _ := LifePreset("fail-fast")
	var done atomic.Bool
	var now atomic.Int64
	var wg sync.WaitGroup
	for _, index := range []int{clientNIC, serverNIC} {
		wg.Go(func() {
			w := b.workers[index]
			var batch nic.Batch
			for i := 0; !done.Load(); i++ {
				c := addrPort(client.Addr(), uint16(1000+i%50))
				server := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(11 + i%2)}), 8080)
				frames := []nic.Frame{
					packet(ProtoUDP, c, AddrPort(udp.Addr, udp.Port), 0, nil), packet(ProtoTCP, c, vip, wire.SYN, nil),
					packet(ProtoTCP, c, vip, wire.ACK, nil), packet(ProtoTCP, c, addrPort(vip.Addr(), 443), wire.SYN, nil),
				}
				if index == serverNIC {
					frames = []nic.Frame{packet(ProtoUDP, server, c, 0, nil), packet(ProtoTCP, server, c, wire.ACK, nil)}
				}
				batch.N = copy(batch.Frames[:], frames)
				w.Process(&batch, now.Add(1000))
				w.Commit()
			}
		})
	}
	for i := range 300 {
		k := b.keys[[]Traffic{Established, UDPFlow, PersistentClient}[i%3]]
		key := ServerKey{netip.MustParseAddr("10.0.0.11").As16(), 8080}
		b.e.Update(func(tx *Tx) {
			_ = tx.SetLife(k, []LifePolicy{dns, fast}[i/6%2])
			switch i / 3 % 4 {
			case 0:
				_ = tx.MarkServer(k, key, true)
			case 1:
				_ = tx.MarkServer(k, key, false)
			case 2:
				_ = tx.DeleteServer(k, key)
			case 3:
				_ = tx.AddServer(k, ServerSpec{Key: key, Method: conntrack.Masq, Weight: 1})
			}
		})
		b.e.Expire(now.Add(1e7), 5000)
	}
	done.Store(true)
	wg.Wait()
	b.now = now.Load()
	b.seconds(3700) // the templates' hour
	if n := b.e.Table().Len(); n != 0 {
		t.Errorf("%d connections left", n)
	}
	for _, k := range lifeServicesOnce() {
		for a, s := range b.servers(k) {
			if s.Active != 0 || s.Inactive != 0 || s.Persistent != 0 {
				t.Errorf("%s of %s: %+v", a, k, s)
			}
		}
	}
}

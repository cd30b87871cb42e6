package latency

import (
	"context"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// TestSlowestAgainstModel compares with a list of all packets.
func TestSlowestAgainstModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var s Slowest
	byWindow := map[int64][]int64{}
	now := int64(1_700_000_000e9)
	begin := now
	for range 50_000 {
		now += rng.Int64N(4e6)
		total := rng.Int64N(1e6) * (1 + rng.Int64N(20)/19*50)
		p := Packet{Received: now - total, Sent: now}
		byWindow[now/windowTime] = append(byWindow[now/windowTime], total)
		if s.Wants(now, total) {
			s.Add(&p)
		}
		if rng.IntN(1000) != 0 {
			continue
		}
		var want, got []int64
		for number, all := range byWindow {
			if number > now/windowTime-windows {
				slices.Sort(all)
				want = append(want, all[max(len(all)-Kept, 0):]...)
			}
		}
		for _, p := range s.Since(0, nil) {
			got = append(got, p.Total())
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("after %d ms: %d packets, want %d:\n%v\n%v", (now-begin)/1e6, len(got), len(want), got, want)
		}
	}
	recent := s.Since(now-20e9, nil)
	slices.SortFunc(recent, func(a, b Packet) int { return Slower(&a, &b) })
	for i := range recent {
		if recent[i].Sent < now-20e9 || i > 0 && recent[i].Total() > recent[i-1].Total() {
			t.Fatalf("packet %d: %+v", i, recent[i])
		}
	}
	if len(recent) < Kept {
		t.Errorf("%d packets of the last 20 s", len(recent))
	}
}

// A packet that is not among the slowest is not asked for.
func TestSlowestWants(t *testing.T) {
	var s Slowest
	const now = 1_700_000_000e9
	for i := range int64(Kept) {
		total := 1000 + i
		if !s.Wants(now, total) {
			t.Fatalf("packet %d is not wanted", i)
		}
		s.Add(&Packet{Received: now - total, Sent: now})
	}
	for _, c := range []struct {
		sent, total int64
		want        bool
	}{{now, 1000, false}, {now, 1001, true}, {now, 5000, true}, {now + windowTime, 1, true}} {
		if got := s.Wants(c.sent, c.total); got != c.want {
			t.Errorf("%d ns at %d: wanted is %v", c.total, c.sent, got)
		}
	}
	if n := testing.AllocsPerRun(10, func() { s.Add(&Packet{Received: now - 9000, Sent: now}) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	// Who reads does not make who writes wait.
	s.mu.Lock()
	s.Add(&Packet{Received: now - 9e9, Sent: now})
	s.mu.Unlock()
}

func TestParts(t *testing.T) {
	for _, c := range []struct {
		name string
		p    Packet
		want Parts
	}{
		{"awake", Packet{Received: 100, Picked: 150, Judged: 160, Sent: 200}, Parts{Ring: 50, Verdict: 10, Send: 40}},
		{"asleep", Packet{Received: 100, Slept: true, Woke: 140, Picked: 150, Judged: 160, Sent: 200}, Parts{WakeUp: 40, Ring: 10, Verdict: 10, Send: 40}},
		{"came when awake again", Packet{Received: 145, Slept: true, Woke: 140, Picked: 150, Judged: 160, Sent: 200}, Parts{Ring: 5, Verdict: 10, Send: 40}},
	} {
		got := c.p.Parts()
		if got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
		if sum := got.WakeUp + got.Ring + got.Verdict + got.Send; sum != c.p.Total() {
			t.Errorf("%s: the parts are %d together, want %d", c.name, sum, c.p.Total())
		}
	}
}

func TestOverlap(t *testing.T) {
	all := []Interval{{10, 20}, {30, 40}, {50, 60}}
	for _, c := range []struct {
		of   Interval
		want int64
	}{{Interval{0, 100}, 30}, {Interval{15, 35}, 10}, {Interval{20, 30}, 0}, {Interval{52, 55}, 3}, {Interval{70, 80}, 0}} {
		if got := Overlap(c.of, all); got != c.want {
			t.Errorf("%v: %d, want %d", c.of, got, c.want)
		}
	}
}

func TestMeterRemembersGaps(t *testing.T) {
	var m Meter
	for i := range int64(gapsKept + 5) {
		m.add(Interval{i, i + 1})
	}
	if got := m.Gaps(0); len(got) != gapsKept || got[0].From != 5 {
		t.Errorf("%d gaps, the first %v", len(got), got[0])
	}
	if got := m.Gaps(gapsKept); len(got) != 6 {
		t.Errorf("%d gaps of late, want 6: %v", len(got), got)
	}
}

// The meter measures while there is something to do, and ends when it is told.
func TestMeterFollowsTheLoad(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var m Meter
	var busy atomic.Bool
	asked, done := make(chan struct{}), make(chan struct{})
	go func() {
		m.Run(ctx, func() bool {
			select {
			case asked <- struct{}{}:
			case <-ctx.Done():
			}
			return busy.Load()
		})
		close(done)
	}()
	<-asked
	busy.Store(true)
	<-asked // having been idle
	<-asked // having measured
	stop()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("the meter does not end")
	}
}

func TestPauses(t *testing.T) {
	begin := time.Now().UnixNano()
	runtime.GC()
	all := Pauses(begin)
	if len(all) == 0 {
		t.Fatal("no pause after a garbage collection")
	}
	for _, p := range all {
		if p.To < begin || p.From > p.To {
			t.Errorf("a pause of %v, since %d", p, begin)
		}
	}
	if all := Pauses(time.Now().Add(time.Hour).UnixNano()); len(all) != 0 {
		t.Errorf("pauses to come: %v", all)
	}
}

package nat

import (
	"math/rand/v2"
	"testing"
)

// The estimator against the figures that the kernel's formulas give by hand.
func TestEstimator(t *testing.T) {
	var e estimator
	now := Counters{}
	for i, want := range []Rates{
		// 20 connections, 200 and 100 packets, 20000 and 10000 bytes in two seconds
		// are 10, 100, 50, 10000 and 5000 a second; a quarter of the rest is
		// gained at each tick.
		{2, 25, 12, 2500, 1250},
		{4, 44, 22, 4375, 2187},
		{6, 58, 29, 5781, 2891},
		{7, 68, 34, 6836, 3418},
	} {
		now.plus(&Counters{20, 200, 100, 20000, 10000})
		e.tick(now)
		if got := e.rates(); got != want {
			t.Errorf("tick %d: %+v, want %+v", i+1, got, want)
		}
	}
	for range 100 {
		e.tick(now)
	}
	if got := e.rates(); got != (Rates{}) {
		t.Errorf("long after the last packet: %+v", got)
	}
}

// Counters and rates that the IPVS of Linux 6.1.176 showed for a service, tick
// by tick, while bursts of datagrams passed.
func TestEstimatorAsTheKernel(t *testing.T) {
	var e estimator
	for i, c := range []struct {
		now  Counters
		want *Rates
	}{
		{Counters{5, 89, 89, 38122, 20381}, &Rates{1, 11, 11, 4765, 2548}},
		{Counters{7, 169, 169, 69188, 37101}, &Rates{1, 18, 18, 7457, 4001}},
		{Counters{7, 169, 169, 69188, 37101}, &Rates{1, 14, 14, 5593, 3001}},
		{Counters{10, 390, 364, 155058, 76206}, &Rates{1, 38, 35, 14928, 7138}},
		{Counters{10, 390, 364, 155058, 76206}, &Rates{1, 28, 26, 11196, 5354}},
		{Counters{14, 474, 448, 186438, 93142}, &Rates{1, 32, 30, 12320, 6132}},
		{Counters{16, 495, 469, 193734, 97101}, &Rates{1, 27, 25, 10152, 5094}},
		{Counters{16, 495, 469, 193734, 97101}, &Rates{1, 20, 19, 7614, 3821}},
		{Counters{16, 495, 469, 193734, 97101}, nil}, // not seen
		{Counters{20, 759, 733, 303216, 155757}, &Rates{1, 44, 44, 17968, 9481}},
		{Counters{21, 760, 734, 303344, 155836}, &Rates{1, 33, 33, 13492, 7121}},
		{Counters{21, 760, 734, 303344, 155836}, &Rates{1, 25, 25, 10119, 5340}},
		{Counters{27, 1030, 997, 395566, 205063}, &Rates{1, 52, 51, 19117, 10159}},
	} {
		e.tick(c.now)
		if got := e.rates(); c.want != nil && got != *c.want {
			t.Errorf("tick %d: %+v, want %+v", i, got, *c.want)
		}
	}
}

// A steady rate is found, and what is estimated never exceeds what was highest.
func TestEstimatorConverges(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for range 100 {
		var e estimator
		var now Counters
		perSecond := rnd.Uint64N(1 << rnd.IntN(40))
		for range 200 {
			now.plus(&Counters{2 * perSecond, 2 * perSecond, 2 * perSecond, 2 * perSecond, 2 * perSecond})
			e.tick(now)
			if r := e.rates(); r.InBPS > perSecond || r.CPS > perSecond {
				t.Fatalf("%+v, but there are %d a second", r, perSecond)
			}
		}
		if r := e.rates(); r != (Rates{perSecond, perSecond, perSecond, perSecond, perSecond}) {
			t.Errorf("%+v, but there are %d a second", r, perSecond)
		}
	}
}

// Rates are those of servers, services and in total; zero sets them to nothing;
// without run_estimation they stay.
func TestEstimate(t *testing.T) {
	b := newBed(t, Options{})
	b.opens(ProtoTCP, "192.0.2.7:1000", "192.0.2.1:80")
	rates := func() (r [3]Rates) {
		r[0] = b.e.Rates()
		b.e.Update(func(tx *Tx) {
			s, err := tx.Service(web)
			if err != nil {
				t.Fatal(err)
			}
			r[1], r[2] = s.Rates, s.Servers[0].Rates
		})
		return r
	}
	if r := rates(); r != [3]Rates{} {
		t.Errorf("before the first estimate: %+v", r)
	}
	for range 4 {
		b.e.Estimate()
	}
	b.set(func(s *Settings) { s.RunEstimation = false })
	still := rates()
	b.opens(ProtoTCP, "192.0.2.7:1001", "192.0.2.1:80")
	b.e.Estimate()
	if r := rates(); r != still {
		t.Errorf("without run_estimation: %+v, then %+v", still, r)
	}
	b.set(func(*Settings) {})
	for port := range 9 {
		b.opens(ProtoTCP, "192.0.2.8:"+string(rune('1'+port))+"000", "192.0.2.1:80")
	}
	b.e.Estimate()
	r := rates()
	if r[0] == (Rates{}) || r[1] != r[0] || r[2] != r[0] {
		t.Errorf("after ten connections: %+v", r)
	}
	key := web
	b.e.Update(func(tx *Tx) {
		if err := tx.Zero(&key); err != nil {
			t.Error(err)
		}
	})
	if z := rates(); z[0] != r[0] || z[1] != (Rates{}) || z[2] != (Rates{}) {
		t.Errorf("after zero of the service: %+v", z)
	}
}

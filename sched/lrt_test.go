package sched

import (
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

// lrtBed is a service of lrt whose time the test makes pass.
type lrtBed struct {
	t     *testing.T
	lrt   *lrt
	list  []*Server
	now   int64
	loads bool // picks are counted as connections that stay
}

const halfLife = int64(10 * time.Second)

// newLRT makes servers of these weights; number i is list[len(weights)-i].
func newLRT(t *testing.T, weights ...int32) *lrtBed {
	b := &lrtBed{t: t, lrt: newScheduler(t, "lrt").(*lrt), now: int64(time.Hour)}
	b.list = service(b.lrt, weights...)
	return b
}

func (b *lrtBed) server(number int) *Server { return b.list[len(b.list)-number] }

// pick returns the number of the server picked, 0 for none.
func (b *lrtBed) pick() int {
	s := b.lrt.Pick(b.list, &Request{Now: b.now})
	if s != nil && b.loads {
		s.Active.Add(1)
		s.Total.Add(1)
	}
	return number(s)
}

func (b *lrtBed) picks(want ...int) {
	b.t.Helper()
	var got []int
	for range want {
		got = append(got, b.pick())
	}
	if !slices.Equal(got, want) {
		b.t.Fatalf("picks %v, want %v", got, want)
	}
}

func (b *lrtBed) answer(number int, rtt time.Duration) {
	b.lrt.Observe(b.server(number), int64(rtt), b.now)
}

// trust has servers answer until they get as many connections as can be.
func (b *lrtBed) trust(rtts ...time.Duration) {
	for i, rtt := range rtts {
		for range 2 * trustMax {
			b.answer(i+1, rtt)
		}
		b.server(i + 1).response.give(b.now)
		b.server(i + 1).response.waiting.Store(0)
	}
}

func (b *lrtBed) mean(number int) uint32 { return b.server(number).response.mean.Load() }

// Nobody is measured: each server is tried, in list order, then wlc decides.
func TestLRTBegins(t *testing.T) {
	b := newLRT(t, 1, 1, 3)
	b.loads = true
	b.picks(3, 2, 1, 3, 3, 3, 2)
}

// The quickest is picked until its load outweighs that, ties in list order.
func TestLRTWeighs(t *testing.T) {
	b := newLRT(t, 1, 1, 2)
	b.loads = true
	b.trust(time.Millisecond, 2*time.Millisecond, 2*time.Millisecond)
	// Costs are 1, 2 and 1 ms for the first connection, 2, 2 and 2 ms after it.
	b.picks(3, 1, 3, 2, 1, 3, 1)
}

// Connections that stay open for a fixed time are shared out in proportion to
// weight and quickness.
func TestLRTShares(t *testing.T) {
	b := newLRT(t, 1, 1, 1, 2)
	rtts := []time.Duration{time.Millisecond, 2 * time.Millisecond, 4 * time.Millisecond, 4 * time.Millisecond}
	const picks, open = 200_000, 1000
	var ring [open]int
	var counts [5]float64
	for i := range picks {
		if old := ring[i%open]; old != 0 {
			b.server(old).Active.Add(-1)
			b.server(old).Total.Add(-1)
		}
		b.loads = true
		n := b.pick()
		ring[i%open] = n
		b.answer(n, rtts[n-1])
		b.now += int64(100 * time.Microsecond)
		counts[n]++
	}
	for n, due := range []float64{0, 4. / 9, 2. / 9, 1. / 9, 2. / 9} {
		if got := counts[n] / picks; math.Abs(got-due) > 0.005 {
			t.Errorf("server %d got %.4f, due %.4f", n, got, due)
		}
	}
}

// Times that differ by less than the engine can tell do not matter, nor do
// those that its clock made negative.
func TestLRTFloorAndCeiling(t *testing.T) {
	b := newLRT(t, 1, 1)
	for _, tt := range []struct {
		rtt  time.Duration
		want uint32
	}{
		{-time.Millisecond, responseFloor},
		{0, responseFloor},
		{99 * time.Microsecond, responseFloor},
		{150 * time.Microsecond, 150},
		{time.Minute, responseCeiling},
	} {
		b.server(1).response.forget()
		b.answer(1, tt.rtt)
		if got := b.mean(1); got != tt.want {
			t.Errorf("%v counts as %d µs, want %d", tt.rtt, got, tt.want)
		}
	}
	b.trust(0, 90*time.Microsecond)
	b.picks(2, 2)
	// The greatest cost and weights do not overflow.
	b.trust(time.Minute, time.Minute)
	for n := 1; n <= 2; n++ {
		b.server(n).Weight = math.MaxInt32
		b.server(n).Active.Store(math.MaxInt32)
		b.server(n).Total.Store(math.MaxInt32)
	}
	b.server(2).Weight--
	b.picks(1)
}

func TestLRTHalfLife(t *testing.T) {
	b := newLRT(t, 1)
	for range 4 {
		b.answer(1, time.Millisecond)
	}
	b.now += halfLife
	b.answer(1, 4*time.Millisecond)
	if got := b.mean(1); got != 2000 { // (4/2 * 1 + 4) / (4/2 + 1)
		t.Errorf("average %d µs, want 2000", got)
	}
	b.now -= halfLife // another worker's clock
	b.answer(1, 2*time.Millisecond)
	if got := b.mean(1); got != 2000 {
		t.Errorf("after a sample from the past: average %d µs, want 2000", got)
	}
	b.now += (1 + lrtFresh) * halfLife
	b.answer(1, 7*time.Millisecond)
	if got := b.mean(1); got != 7000 {
		t.Errorf("after a long time: average %d µs, want 7000: what was before is forgotten", got)
	}
}

// A new server beside busy ones gets one connection, and more only as it
// answers: never more without an answer than it answered before, and one.
func TestLRTNewServerIsNotFlooded(t *testing.T) {
	b := newLRT(t, 1, 1, 1)
	b.loads = true
	b.trust(time.Millisecond, time.Millisecond, time.Millisecond)
	b.server(3).response.forget()
	for n := 1; n <= 2; n++ {
		b.server(n).Active.Store(1000)
		b.server(n).Total.Store(1000)
	}
	answered := 0
	for _, want := range []int{1, 2, 4, 8, 16, 32} {
		given := 0
		for range 60 { // fewer than the others are trusted with together
			if n := b.pick(); n == 3 {
				given++
			} else {
				b.answer(n, time.Millisecond)
			}
			b.now += int64(time.Microsecond)
		}
		if given != want {
			t.Fatalf("after %d answers: %d connections without one, want %d", answered, given, want)
		}
		for range given {
			b.answer(3, time.Millisecond)
		}
		answered += given
	}
}

// A server that refuses all connections looks quick and idle. It gets few more,
// then one in a half-life, and comes back with the first answer.
func TestLRTSilentServer(t *testing.T) {
	b := newLRT(t, 1, 1)
	b.trust(10*time.Millisecond, time.Millisecond)
	round := func(d int64, answers bool) (given int) {
		for end := b.now + d; b.now < end; b.now += int64(10 * time.Millisecond) {
			n := b.pick()
			if n == 2 {
				given++
			}
			if n == 1 || answers {
				b.answer(n, 10*time.Millisecond/time.Duration(n*n))
			}
		}
		return given
	}
	if got := round(halfLife, false); got != trustMax {
		t.Errorf("%d connections in the first half-life, want %d", got, trustMax)
	}
	if got := round(20*halfLife, false); got != 20 {
		t.Errorf("%d trials in 20 half-lives, want 20", got)
	}
	if got := round(halfLife, true); got < 900 {
		t.Errorf("%d of 1000 connections when it answers again", got)
	}
}

// What was slow once is tried again, however quick the others are.
func TestLRTSlowServerIsTriedAgain(t *testing.T) {
	b := newLRT(t, 1, 1)
	b.trust(time.Millisecond, time.Second)
	var trials []int64
	for range 10_000 {
		n := b.pick()
		if n == 2 {
			trials = append(trials, b.now)
			b.answer(2, time.Second)
		} else {
			b.answer(1, time.Millisecond)
		}
		b.now += int64(10 * time.Millisecond)
	}
	// 100 s hold two times the four half-lives that a measurement is good for.
	if len(trials) != 2 {
		t.Errorf("tried %d times, want 2", len(trials))
	}
}

// With less than a connection in lrtFresh half-lives, servers take turns.
func TestLRTRareConnections(t *testing.T) {
	b := newLRT(t, 1, 2, 1)
	for range 3 {
		for _, want := range []int{3, 2, 1} {
			b.picks(want)
			b.answer(want, time.Millisecond)
			b.now += lrtFresh * halfLife
		}
	}
}

// Without answers to be seen (UDP, direct routing) it is wlc but for trials.
func TestLRTNeverMeasured(t *testing.T) {
	b := newLRT(t, 1, 3)
	var counts [3]int
	for range 4000 {
		n := b.pick()
		b.server(n).Total.Add(1)
		counts[n]++
		b.now += int64(time.Millisecond)
	}
	if counts[1] != 1000 || counts[2] != 3000 {
		t.Errorf("shares %v, want 1000 and 3000", counts[1:])
	}
}

// A server that comes back is another; a scheduler that is made anew, as for
// another half-life, knows what the old one did.
func TestLRTRemembers(t *testing.T) {
	b := newLRT(t, 1, 1)
	b.trust(time.Millisecond, 2*time.Millisecond)
	b.lrt.Init(b.list)
	b.picks(1)
	b.lrt.Changed(Add, b.server(2), 0, b.list)
	b.picks(2, 1, 1)
}

// Workers tell of answers while another picks.
func TestLRTConcurrently(t *testing.T) {
	b := newLRT(t, 1, 1, 1)
	var workers sync.WaitGroup
	for w := range 3 {
		workers.Go(func() {
			for i := range 2000 {
				s := b.list[(w+i)%3]
				b.lrt.Observe(s, int64(time.Millisecond), b.now+int64(i))
			}
		})
	}
	for i := range 2000 {
		b.lrt.Pick(b.list, &Request{Now: b.now + int64(i)})
		if i%500 == 0 {
			b.lrt.Changed(Add, b.list[0], 0, b.list)
		}
	}
	workers.Wait()
	for n := 2; n <= 3; n++ {
		s := b.list[n-1]
		if got := s.response.mean.Load(); got != 1000 {
			t.Errorf("average %d µs of samples of 1000", got)
		}
	}
}

// lrtModel is lrt from all that ever happened to a server.
type lrtModel struct {
	samples map[*Server][]sample
	given   map[*Server][]int64 // since the last sample; the last before it first
}

type sample struct {
	at  int64
	rtt float64 // microseconds
}

// standing returns the average, and whether it may be relied on.
func (m *lrtModel) standing(s *Server, now int64) (mean int64, good bool) {
	all := m.samples[s]
	if len(all) == 0 {
		return 0, false
	}
	// What lies before a long silence does not count.
	from := 0
	for i := 1; i < len(all); i++ {
		if all[i].at-all[i-1].at >= lrtFresh*halfLife {
			from = i
		}
	}
	last := all[len(all)-1].at
	var sum, weight float64
	for _, s := range all[from:] {
		w := math.Pow(2, -float64(last-s.at)/float64(halfLife))
		sum += w * s.rtt
		weight += w
	}
	mean = int64(math.Round(min(max(sum/weight, 100), 8388607)))
	owed := 0
	for _, at := range m.given[s] {
		if at > last {
			owed++
		}
	}
	return mean, now-last < lrtFresh*halfLife && owed < int(math.Round(min(1+weight, 64)))
}

func (m *lrtModel) pick(list []*Server, now int64) *Server {
	var good, due, rest []*Server
	for _, s := range list {
		if s.Weight == 0 || s.Overloaded.Load() {
			continue
		}
		_, ok := m.standing(s, now)
		given := m.given[s]
		switch {
		case ok:
			good = append(good, s)
		case len(given) == 0 || now-given[len(given)-1] >= halfLife:
			due = append(due, s)
		default:
			rest = append(rest, s)
		}
	}
	var s *Server
	switch {
	case len(due) > 0:
		s = smallest(due, func(s *Server) *big.Rat {
			if given := m.given[s]; len(given) > 0 {
				return big.NewRat(given[len(given)-1], 1)
			}
			return big.NewRat(-1, 1)
		})
	case len(good) > 0:
		s = smallest(good, func(s *Server) *big.Rat {
			mean, _ := m.standing(s, now)
			return new(big.Rat).Mul(big.NewRat(mean, 1), big.NewRat(load(s)+257, int64(s.Weight)))
		})
	default:
		s = smallest(rest, func(s *Server) *big.Rat { return big.NewRat(load(s), int64(s.Weight)) })
	}
	if s != nil {
		m.given[s] = append(m.given[s], now)
	}
	return s
}

func TestLRTModel(t *testing.T) {
	random := newRandom(t)
	for range 100 {
		l := newScheduler(t, "lrt").(*lrt)
		m := &lrtModel{map[*Server][]sample{}, map[*Server][]int64{}}
		servers := randomList(random)
		l.Init(servers)
		now := int64(time.Hour)
		for step := range 500 {
			now += 1 + random.Int64N(int64(time.Second))>>random.IntN(30)
			switch n := random.IntN(1000); {
			case n < 10:
				now += random.Int64N(6 * halfLife)
			case n < 50 && len(servers) > 0:
				s := servers[random.IntN(len(servers))]
				s.Overloaded.Store(random.IntN(3) == 0)
			case n < 300 && len(servers) > 0:
				s := servers[random.IntN(len(servers))]
				s.Active.Store(random.Int32N(20))
				s.Total.Store(s.Active.Load() + random.Int32N(20))
			case n < 700 && len(servers) > 0:
				s := servers[random.IntN(len(servers))]
				for range 1 + random.IntN(3) {
					rtt := random.Int64N(int64(time.Second)) >> random.IntN(20)
					l.Observe(s, rtt, now)
					m.samples[s] = append(m.samples[s], sample{now, float64(rtt) / 1000})
				}
			}
			now++
			if got, want := l.Pick(servers, &Request{Now: now}), m.pick(servers, now); got != want {
				t.Fatalf("step %d: picked index %d of %s, want %d", step,
					slices.Index(servers, got), show(servers), slices.Index(servers, want))
			}
		}
	}
}

// BenchmarkObserve is what a SYN+ACK costs more with lrt.
func BenchmarkObserve(b *testing.B) {
	s := &Server{Weight: 1, Available: true}
	l, err := New("lrt")
	if err != nil {
		b.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	b.ReportAllocs()
	var now int64
	for b.Loop() {
		now += 1 + random.Int64N(1000)
		l.(Observer).Observe(s, int64(time.Millisecond), now)
	}
}

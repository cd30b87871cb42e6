package wheel

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

const hour = int64(time.Hour)

// timers is a wheel with what its owner knows.
type timers struct {
	Wheel
	due []int64 // 0 if the timer is not set
}

// sized returns a wheel for timers with numbers below n.
func sized(n uint32) *timers {
	w := &timers{due: make([]int64, n)}
	w.Init(make([]Node, n))
	return w
}

// move sets a timer, or moves it if it is set.
func (w *timers) move(id uint32, due int64) int64 {
	w.Set(id, due)
	w.due[id] = max(due, w.now+1)
	return w.due[id]
}

// del stops a timer if it is set.
func (w *timers) del(id uint32) {
	w.Del(id)
	w.due[id] = 0
}

func (w *timers) next(now int64, budget *int) uint32 {
	id := w.Next(now, budget, func(id uint32) int64 { return w.due[id] })
	w.due[id] = 0
	return id
}

// drain returns all timers due at now.
func drain(w *timers, now int64) (ids []uint32) {
	for {
		budget := math.MaxInt
		id := w.next(now, &budget)
		if id == 0 {
			return ids
		}
		ids = append(ids, id)
	}
}

func TestTickOf(t *testing.T) {
	for _, c := range []struct{ at, want int64 }{
		{math.MinInt64, 0},
		{-1, 0},
		{0, 0},
		{1, 1},
		{Tick - 1, 1},
		{Tick, 1},
		{Tick + 1, 2},
		{math.MaxInt64 - Tick, 1<<37 - 1},
		{math.MaxInt64, 1 << 37},
	} {
		if got := TickOf(c.at); got != c.want {
			t.Errorf("TickOf(%d) = %d, want %d", c.at, got, c.want)
		}
	}
}

// TestEveryDistance sets a timer at every digit boundary of the wheel, from
// several times, and looks just before and at the tick.
func TestEveryDistance(t *testing.T) {
	for _, start := range []int64{0, 1, 63, 64, 4095, 1<<30 - 1, 1 << 30, 1<<36 + 12345} {
		for shift := range 38 {
			for off := int64(-1); off <= 1; off++ {
				due := start + 1<<shift + off
				if due <= start || due >= 1<<37 {
					continue
				}
				w := sized(2)
				drain(w, start*Tick)
				w.move(1, due)
				if ids := drain(w, due*Tick-1); len(ids) != 0 {
					t.Fatalf("from tick %d: timer of tick %d fired early", start, due)
				}
				if ids := drain(w, due*Tick); !slices.Equal(ids, []uint32{1}) {
					t.Fatalf("from tick %d: at tick %d fired %v, want timer 1", start, due, ids)
				}
			}
		}
	}
}

// TestNotAfterNow sets timers at ticks that are over: they come in the next.
func TestNotAfterNow(t *testing.T) {
	w := sized(4)
	drain(w, 1000*Tick)
	for i, due := range []int64{0, -5, 1000} {
		if got := w.move(uint32(i+1), due); got != 1001 {
			t.Errorf("at tick 1000: Set to %d said %d, want 1001", due, got)
		}
	}
	if ids := drain(w, 1001*Tick-1); len(ids) != 0 {
		t.Errorf("fired in the same tick: %v", ids)
	}
	if ids := drain(w, 1001*Tick); len(ids) != 3 {
		t.Errorf("in the next tick fired %v, want 3 timers", ids)
	}
}

func TestTimeStepsBack(t *testing.T) {
	w := sized(2)
	drain(w, 100*Tick)
	w.move(1, 150)
	if ids := drain(w, 10*Tick); len(ids) != 0 {
		t.Fatalf("after a step back fired %v", ids)
	}
	if got := w.move(1, 20); got != 101 {
		t.Fatalf("a step back moved the wheel back: Set to 20 said %d, want 101", got)
	}
	if ids := drain(w, 101*Tick); len(ids) != 1 {
		t.Fatalf("at tick 101 fired %v", ids)
	}
}

// TestPutOff has the owner say, whenever the wheel asks, that a timer is due later than
// it was set to: it never comes after its last time, and not before it but for the time
// that it was set to.
func TestPutOff(t *testing.T) {
	for _, set := range []int64{1, 63, 64, 70, 5000, 300_000} {
		for _, last := range []int64{set, set + 1, set + 64, 3 * set, set + 1<<20} {
			w := sized(2)
			w.Set(1, set)
			for now := int64(0); ; now++ {
				if now > set+1<<21 {
					t.Fatalf("set to %d and put off to %d it never came", set, last)
				}
				budget := math.MaxInt
				id := w.Next(now*Tick, &budget, func(uint32) int64 { return last })
				if id == 0 {
					if now > last {
						t.Fatalf("set to %d and put off to %d it did not come", set, last)
					}
					if now < min(set, last) && now+1000 < set {
						now += 999
					}
					continue
				}
				if now != set && now != last {
					t.Errorf("set to %d and put off to %d it came at %d", set, last, now)
				}
				if w.IsSet(1) {
					t.Error("a timer that came is still set")
				}
				break
			}
		}
	}
}

// model is the wheel as a map.
type model map[uint32]int64

func (m model) pop(tick int64) (ids []uint32) {
	for id, due := range m {
		if due <= tick {
			ids = append(ids, id)
		}
	}
	for _, id := range ids {
		delete(m, id)
	}
	slices.Sort(ids)
	return ids
}

// TestModel compares the wheel with the map under random sets, moves, deletes
// and steps of time from nothing to years.
func TestModel(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	distances := []int64{1, 2, 64, 65, 4096, 100_000, 1 << 24, 1 << 31}
	steps := []int64{0, 1, Tick - 1, Tick, 3 * Tick, 70 * Tick, 15 * 60e9, hour, 100 * hour, 30 * 365 * 24 * hour}
	const timers = 700
	for round := range 40 {
		w := sized(timers + 1)
		m := model{}
		now := int64(0)
		if round%2 == 1 {
			now = rnd.Int64N(1 << 60)
		}
		for range 3000 {
			id := 1 + rnd.Uint32N(timers)
			switch op := rnd.IntN(20); {
			case op < 12:
				due := now/Tick + rnd.Int64N(distances[rnd.IntN(len(distances))])
				m[id] = w.move(id, due)
				if m[id] < due || m[id] > max(due, now/Tick+1) {
					t.Fatalf("Set to tick %d at %d said %d", due, now/Tick, m[id])
				}
			case op < 15:
				w.del(id)
				delete(m, id)
			default:
				step := steps[rnd.IntN(len(steps))]
				if now > 1<<62-step {
					continue
				}
				now += step
				if rnd.IntN(3) == 0 { // a part only: what is left must come later
					for budget := rnd.IntN(20); budget > 0; {
						got := w.next(now, &budget)
						if got == 0 {
							break
						}
						if due, ok := m[got]; !ok || due > now/Tick {
							t.Fatalf("at tick %d timer %d fired; it is set: %v, to %d", now/Tick, got, ok, due)
						}
						delete(m, got)
					}
					continue
				}
				got, want := drain(w, now), m.pop(now/Tick)
				slices.Sort(got)
				if !slices.Equal(got, want) {
					t.Fatalf("at tick %d fired %v, want %v", now/Tick, got, want)
				}
			}
		}
		got, want := drain(w, math.MaxInt64), m.pop(math.MaxInt64/Tick)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("at the end of time fired %v, want %v", got, want)
		}
		if w.used != [levels + 1]uint64{} || w.first != [lists]uint32{} {
			t.Fatalf("an empty wheel has lists in use: %x, %x", w.used, w.first)
		}
	}
}

// TestBudget checks that a budget is kept, that nothing is lost by it, and that
// a timer costs no more than its way down and out.
func TestBudget(t *testing.T) {
	const timers = 5000
	w := sized(timers + 1)
	for id := uint32(1); id <= timers; id++ {
		w.move(id, int64(id)*7919)
	}
	fired, spent := 0, 0
	for {
		budget := 10
		for w.next(math.MaxInt64, &budget) != 0 {
			fired++
		}
		if budget < 0 {
			t.Fatalf("budget of 10 became %d", budget)
		}
		spent += 10 - budget
		if budget > 0 {
			break
		}
	}
	if fired != timers {
		t.Errorf("%d timers fired, want %d", fired, timers)
	}
	if spent > timers*levels {
		t.Errorf("%d timers cost %d, want at most %d each", timers, spent, levels)
	}
}

func TestNoAllocs(t *testing.T) {
	w := sized(1000)
	now := int64(0)
	if n := testing.AllocsPerRun(100, func() {
		for id := uint32(1); id < 1000; id++ {
			w.move(id, now/Tick+int64(id)*37)
		}
		for id := uint32(1); id < 1000; id += 3 {
			w.del(id)
		}
		now += hour / 100
		for budget := 1000; w.next(now, &budget) != 0; {
		}
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func BenchmarkSet(b *testing.B) {
	const timers = 100_000
	w := sized(timers + 1)
	now := int64(0)
	for i := 0; b.Loop(); i++ {
		w.move(1+uint32(i)*2654435761%timers, now/Tick+1+int64(i&0x3fff))
	}
}

func BenchmarkSetNext(b *testing.B) {
	const timers = 100_000
	w := sized(timers + 1)
	for id := uint32(1); id <= timers; id++ {
		w.move(id, int64(id)%900)
	}
	now := int64(0)
	for b.Loop() {
		budget := 1000
		id := w.next(now, &budget)
		if id == 0 {
			now += Tick
			continue
		}
		w.move(id, now/Tick+900)
	}
}

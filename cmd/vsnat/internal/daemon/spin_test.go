package daemon

import (
	"testing"
	"time"
)

const us = time.Microsecond

// wait has frames come after that long, again and again, and returns how much of
// the last wait was spun through.
func wait(s *spin, after time.Duration, times int, others time.Duration) (spun time.Duration) {
	for range times {
		slept := false
		spun = 0
		for at := time.Duration(0); at < after && !slept; at += us {
			switch s.next(at) {
			case yield:
				s.yielded(others)
				at += others
			case sleep:
				slept = true
			}
			if !slept {
				spun = at
			}
		}
		s.found(after, slept)
	}
	return spun
}

// The window grows to the bound while frames come within it, and shrinks to nothing
// while they do not.
func TestSpinFollowsTheFrames(t *testing.T) {
	s := spin{bound: 50 * us}
	if spun := wait(&s, 40*us, 1, 0); spun != 0 {
		t.Errorf("at first it spun for %v", spun)
	}
	if spun := wait(&s, 40*us, 5, 0); spun < 38*us || s.window != s.bound {
		t.Errorf("with frames every 40 µs it spins for %v of %v", spun, s.window)
	}
	if wait(&s, 200*us, 1, 0); s.window == 0 {
		t.Error("one pause made it sleep")
	}
	if spun := wait(&s, 200*us, 10, 0); spun != 0 {
		t.Errorf("with frames every 200 µs it spins for %v", spun)
	}
	s = spin{}
	if spun := wait(&s, 10*us, 10, 0); spun != 0 {
		t.Errorf("without a bound it spins for %v", spun)
	}
}

// On a CPU of its own it hardly yields; where others run, at every look.
func TestSpinYields(t *testing.T) {
	yields := func(s *spin) (n int) {
		for at := time.Duration(0); at < 50*us; at += us {
			if s.next(at) == yield {
				n++
				s.yielded(0)
			}
		}
		s.found(50*us, false)
		return n
	}
	s := spin{bound: 50 * us, window: 50 * us}
	yields(&s)
	if n := yields(&s); n > 3 {
		t.Errorf("alone, it yields %d times in 50 µs", n)
	}
	s.yielded(10 * us)
	if n := yields(&s); n < aloneFrom {
		t.Errorf("having seen others, it yields %d times in 50 µs", n)
	}
}

// Somebody who keeps the CPU makes it sleep for a while, and for longer when it
// happens again.
func TestSpinGivesUpForOneWhoKeepsTheCPU(t *testing.T) {
	s := spin{bound: 50 * us, window: 50 * us}
	rest := func() (n int) {
		for ; s.next(0) == sleep; n++ {
			s.found(10*us, true)
		}
		return n
	}
	s.yielded(4 * time.Millisecond)
	first := rest()
	s.yielded(4 * time.Millisecond)
	second := rest()
	if first < leastRest || second != 2*first {
		t.Errorf("it slept %d times, and then %d", first, second)
	}
	for range 20 {
		s.yielded(4 * time.Millisecond)
	}
	if n := rest(); n != mostRest {
		t.Errorf("in the end it slept %d times, want %d", n, mostRest)
	}
}

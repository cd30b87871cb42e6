package daemon

import "time"

const (
	// firstSpin is what the window begins with when it grows, and below which it
	// is none.
	firstSpin = 10 * time.Microsecond
	// crowded is how long a yield must have taken for somebody else to have run
	// meanwhile. To yield to nobody takes less.
	crowded = 5 * time.Microsecond
	// aloneFrom is how many yields to nobody, one after the other, mean that the
	// CPU is the thread's own. From then on it yields only once in yieldEvery.
	aloneFrom  = 16
	yieldEvery = 20 * time.Microsecond
	// hogged is how long others run who do not wait for our frames.
	hogged = 500 * time.Microsecond
	// leastRest and mostRest bound how many waits in a row are slept through after
	// that.
	leastRest, mostRest = 16, 1 << 14
)

// spin decides how long a thread that has nothing to do looks for frames before
// it sleeps. To sleep and be woken costs several microseconds, and on another CPU
// some tens: more than to look for that long. But to look for frames that do not
// come wastes a CPU, and where those who are to send them share it, they cannot come.
//
// So the window grows while frames come within the bound, and shrinks when they do
// not, as the kernel's does for guests that halt (halt_poll_ns; Documentation/virt/
// kvm/halt-polling.rst). And the thread yields its CPU meanwhile: how long that takes
// tells whether there is anybody else. Somebody who keeps it for longer than endpoints
// do would keep it from frames that have come, so then the thread sleeps again: the
// kernel has one who wakes go first, but not one who yields.
type spin struct {
	bound  time.Duration
	window time.Duration // 0 to bound
	alone  int           // yields in a row to nobody
	rest   int           // waits to sleep through
	span   int           // how many that are the next time
	yields time.Duration // since the wait began: the time of the last yield
}

// choice is what a thread without frames does next.
type choice uint8

const (
	look choice = iota
	yield
	sleep
)

// next decides; the wait has lasted that long.
func (s *spin) next(waited time.Duration) choice {
	switch {
	case waited >= s.window || s.rest > 0:
		return sleep
	case s.alone < aloneFrom || waited-s.yields >= yieldEvery:
		s.yields = waited
		return yield
	}
	return look
}

// yielded takes how long others ran.
func (s *spin) yielded(took time.Duration) {
	if s.alone++; took >= crowded {
		s.alone = 0
	}
	if took >= hogged {
		s.span = min(max(2*s.span, leastRest), mostRest)
		s.rest = s.span
	}
}

// found ends a wait: frames came after that long.
func (s *spin) found(waited time.Duration, slept bool) {
	s.yields = 0
	if s.rest > 0 {
		s.rest--
		return
	}
	switch {
	case waited <= s.bound:
		s.window = min(max(2*s.window, firstSpin), s.bound)
	case slept:
		if s.window /= 2; s.window < firstSpin {
			s.window = 0
		}
	}
}

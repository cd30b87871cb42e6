package daemon

import (
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestManners(t *testing.T) {
	const ms = time.Millisecond
	var m manners
	now := time.Hour
	wake := func(times int, late time.Duration) (changes int) {
		for range times {
			now += 10 * ms
			if m.woken(late, now) {
				changes++
			}
		}
		return changes
	}
	if wake(1000, 100*us); m.push {
		t.Error("it pushes though it woke in time")
	}
	// One waking in ten that is late is the way of endpoints.
	for range 100 {
		wake(9, 50*us)
		wake(1, 2*ms)
	}
	if m.push {
		t.Error("it pushes though few wakings were late")
	}
	wake(lateWeight, 0)
	if wake(2, 3*ms); m.push {
		t.Error("two late wakings made it push")
	}
	if n := wake(1, 3*ms); n != 1 || !m.push {
		t.Errorf("%d changes after three late wakings, push %v", n, m.push)
	}
	if n := wake(int(leastPush/(10*ms))-1, 0); n != 0 {
		t.Error("it stopped pushing at once")
	}
	if n := wake(1, 0); n != 1 || m.push {
		t.Errorf("%d changes after a second, push %v", n, m.push)
	}
	// As long as somebody computes it tries more and more seldom.
	for want := 2 * leastPush; want < 4*mostPush; want *= 2 {
		if wake(3, 3*ms); !m.push || m.span != min(want, mostPush) {
			t.Fatalf("push %v for %v, want %v", m.push, m.span, want)
		}
		wake(int(m.span/(10*ms)), 0)
	}
	wake(int(mostPush/(10*ms)), 0)
	if wake(3, 3*ms); m.span != leastPush {
		t.Errorf("after a good while it pushes for %v", m.span)
	}
}

// The kernel has the thread as it wants to be.
func TestBehave(t *testing.T) {
	done := make(chan error)
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good: nobody else is to have this thread
		for _, push := range []bool{false, true, false} {
			m := manners{push: push}
			m.behave()
			attr, err := unix.SchedGetAttr(0, 0)
			if err != nil {
				done <- err
				return
			}
			if batch := attr.Policy == unix.SCHED_BATCH; batch == push {
				t.Errorf("push %v: policy %d", push, attr.Policy)
			}
		}
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

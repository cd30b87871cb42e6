package netns

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// newNS makes a namespace that lives as long as the test.
func newNS(t *testing.T) *Handle {
	t.Helper()
	h, err := New()
	if errors.Is(err, unix.EPERM) {
		t.Skip("needs CAP_SYS_ADMIN to make a network namespace")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}

// here is the name of the calling thread's namespace.
func here(t *testing.T) string {
	t.Helper()
	h, err := Current()
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	return h.String()
}

// allHome fails the test if any thread that goroutines can reach is not in the
// namespace home: it holds many threads at once and looks at each.
func allHome(t *testing.T, home string) {
	t.Helper()
	const threads = 24
	var ready, wg sync.WaitGroup
	ready.Add(threads)
	for range threads {
		wg.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			ready.Done()
			ready.Wait() // now no two goroutines share a thread
			h, err := Current()
			if err != nil {
				t.Error(err)
				return
			}
			defer h.Close()
			if got := h.String(); got != home {
				t.Errorf("a thread of the pool is in %s, not in %s", got, home)
			}
		})
	}
	wg.Wait()
	first, err := OfProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if got := first.String(); got != home {
		t.Errorf("the first thread is in %s, not in %s", got, home)
	}
}

func TestDo(t *testing.T) {
	h := newNS(t)
	home := here(t)
	cause := errors.New("cause")
	for range 50 {
		err := Do(h, func() error {
			if got := here(t); got != h.String() {
				t.Errorf("fn ran in %s, not in %v", got, h)
			}
			return cause
		})
		if err != cause {
			t.Fatalf("Do returned %v, not what fn returned", err)
		}
	}
	allHome(t, home)
}

func TestDoNil(t *testing.T) {
	home := here(t)
	var got string
	if err := Do(nil, func() error { got = here(t); return nil }); err != nil || got != home {
		t.Fatalf("Do(nil) ran in %s with error %v, want %s", got, err, home)
	}
}

func TestDoNested(t *testing.T) {
	a, b := newNS(t), newNS(t)
	home := here(t)
	err := Do(a, func() error {
		return errors.Join(
			Do(b, func() error {
				if got := here(t); got != b.String() {
					t.Errorf("inner fn ran in %s, not in %v", got, b)
				}
				return nil
			}),
			func() error {
				if got := here(t); got != a.String() {
					t.Errorf("after the inner Do the outer fn is in %s, not in %v", got, a)
				}
				return nil
			}())
	})
	if err != nil {
		t.Fatal(err)
	}
	allHome(t, home)
}

func TestGoroutinesStartedInsideAreOutside(t *testing.T) {
	h := newNS(t)
	home := here(t)
	err := Do(h, func() error {
		got := make(chan string)
		go func() { got <- here(t) }()
		if ns := <-got; ns != home {
			t.Errorf("a goroutine started inside runs in %s, not in %s", ns, home)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestSocketStays(t *testing.T) {
	h := newNS(t)
	var ln net.Listener
	err := Do(h, func() (err error) {
		ln, err = net.Listen("tcp", "127.0.0.1:0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	// The listener is accepted from outside, the caller dials from inside.
	err = Do(h, func() error {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			return err
		}
		return c.Close()
	})
	if err != nil {
		t.Fatalf("the listener cannot be reached from inside: %v", err)
	}
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
}

func TestPanic(t *testing.T) {
	h := newNS(t)
	home := here(t)
	for range 20 {
		func() {
			defer func() {
				if got := recover(); got != "boom" {
					t.Errorf("recovered %v, not fn's panic", got)
				}
			}()
			_ = Do(h, func() error { panic("boom") })
			t.Error("Do returned after a panic")
		}()
	}
	allHome(t, home)
}

func TestGoexit(t *testing.T) {
	h := newNS(t)
	home := here(t)
	returned := false
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = Do(h, func() error { runtime.Goexit(); return nil })
		returned = true
	})
	wg.Wait()
	if returned {
		t.Error("Do returned though fn ended the goroutine")
	}
	allHome(t, home)
}

// A function that wanders off to a third namespace must not take a thread of
// the pool along.
func TestFnChangesNamespace(t *testing.T) {
	h := newNS(t)
	home := here(t)
	for range 20 {
		if err := Do(h, func() error { return unix.Unshare(unix.CLONE_NEWNET) }); err != nil {
			t.Fatal(err)
		}
	}
	allHome(t, home)
}

func TestConcurrent(t *testing.T) {
	a, b := newNS(t), newNS(t)
	home := here(t)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			h := a
			if i%2 == 1 {
				h = b
			}
			for range 20 {
				err := Do(h, func() error {
					runtime.Gosched()
					if got := here(t); got != h.String() {
						t.Errorf("fn ran in %s, not in %v", got, h)
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	allHome(t, home)
}

func TestNew(t *testing.T) {
	a, b := newNS(t), newNS(t)
	if a.String() == b.String() || a.String() == here(t) {
		t.Errorf("namespaces are not distinct: %v, %v, here %s", a, b, here(t))
	}
	err := Do(a, func() error {
		links, err := net.Interfaces()
		if err != nil {
			return err
		}
		for _, l := range links {
			if l.Name == "lo" && l.Flags&net.FlagUp == 0 {
				t.Error("lo is down")
			}
		}
		if len(links) == 0 {
			t.Error("no interface at all")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestClosed(t *testing.T) {
	h := newNS(t)
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	ran := false
	if err := Do(h, func() error { ran = true; return nil }); err == nil || ran {
		t.Errorf("Do on a closed handle: error %v, fn ran: %t", err, ran)
	}
	if got := h.String(); got != "net:[closed]" {
		t.Errorf("a closed handle is %s", got)
	}
}

func TestOpenRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/proc/thread-self/ns/mnt", file, "/proc/nothing-here"} {
		h, err := Open(path)
		if err == nil {
			t.Errorf("Open(%s) gave %v", path, h)
			continue
		}
		if !strings.HasPrefix(err.Error(), "netns: ") || !strings.Contains(err.Error(), path) {
			t.Errorf("Open(%s): the error does not say what and where: %v", path, err)
		}
	}
	if _, err := OfProcess(-1); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("OfProcess(-1): %v", err)
	}
}

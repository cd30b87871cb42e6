package netns

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// Do runs fn in the namespace h and returns its error, or the reason why the
// namespace could not be entered. With a nil h it calls fn where it is. It
// needs CAP_SYS_ADMIN.
//
// It returns when fn returns, which may take as long as fn likes: a worker may
// spend its life inside. If fn panics, so does Do with the same value; if fn
// ends its goroutine ([runtime.Goexit], as testing's FailNow does), so ends the
// caller's. fn must not call [runtime.UnlockOSThread] more often than
// [runtime.LockOSThread]. Calls may be nested: each starts anew from the
// process's original namespace.
func Do(h *Handle, fn func() error) error {
	if h == nil {
		return fn()
	}
	return onThread(func() error {
		if err := h.enter(); err != nil {
			return err
		}
		return fn()
	})
}

// enter puts the calling thread into the namespace.
func (h *Handle) enter() error {
	conn, err := h.file.SyscallConn()
	if err != nil {
		return fmt.Errorf("netns: %w", err)
	}
	var errSet error
	// Control keeps a concurrent Close from giving the number to another file.
	if err := conn.Control(func(fd uintptr) { errSet = unix.Setns(int(fd), unix.CLONE_NEWNET) }); err != nil {
		return fmt.Errorf("netns: %w", err)
	}
	if errSet != nil {
		return fmt.Errorf("netns: cannot enter %v (it needs CAP_SYS_ADMIN): %w", h, errSet)
	}
	return nil
}

// result is how a function on a thread of its own ended: by return, by panic,
// or, if neither, by runtime.Goexit.
type result struct {
	err      error
	returned bool
	panicked bool
	value    any
}

// onThread runs fn on a thread of its own and waits for it. The thread is
// handed back to the runtime only if fn returned and the thread is again in
// the namespace in which it was before.
func onThread(fn func() error) error {
	done := make(chan result, 1)
	go thread(fn, done)
	r := <-done
	switch {
	case r.panicked:
		panic(r.value)
	case !r.returned:
		runtime.Goexit()
	}
	return r.err
}

// thread is the goroutine behind onThread.
func thread(fn func() error, done chan<- result) {
	// A goroutine that ends locked takes its thread with it; that is how a
	// thread in the wrong namespace is thrown away.
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		// The first thread of the process cannot be thrown away, and others
		// see its namespace as that of the process. While this goroutine
		// holds it, a second one is bound to get another thread.
		again := make(chan result, 1)
		go thread(fn, again)
		done <- <-again
		runtime.UnlockOSThread()
		return
	}

	home, err := Current()
	if err != nil {
		runtime.UnlockOSThread()
		done <- result{returned: true, err: err}
		return
	}
	var r result
	defer func() {
		if !r.returned {
			// Nil is Goexit: since Go 1.21 panic(nil) recovers as non-nil.
			r.value = recover()
			r.panicked = r.value != nil
		} else if home.enter() == nil {
			runtime.UnlockOSThread()
		}
		_ = home.Close() // only read from: nothing can be lost
		done <- r
	}()
	r.err = fn()
	r.returned = true
}

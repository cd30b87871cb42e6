package lab

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// terminal stands between the user's terminal and a command in a lab. The
// command runs in another session, where the user's terminal cannot be its
// controlling one, so that a shell had no job control and ^C would not reach it.
// It gets one of its own (pty(7)), and everything is copied.
type terminal struct {
	outer   *os.File    // our end of the pair
	inner   *os.File    // the command's end
	saved   *term.State // the user's terminal as it was; nil before start
	resized chan os.Signal
	copied  chan struct{} // closed when the command's last output was written
}

// newTerminal makes a pair as large as the user's terminal.
func newTerminal() (*terminal, error) {
	fail := func(err error) (*terminal, error) {
		return nil, fmt.Errorf("lab: cannot make a terminal for the command: %w", err)
	}
	outer, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return fail(err)
	}
	t := &terminal{outer: outer, resized: make(chan os.Signal, 1), copied: make(chan struct{})}
	var number int
	err = t.control(func(fd int) (err error) {
		if err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err == nil {
			number, err = unix.IoctlGetInt(fd, unix.TIOCGPTN)
		}
		return err
	})
	if err == nil {
		t.inner, err = os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		return fail(errors.Join(err, outer.Close()))
	}
	t.resize()
	return t, nil
}

// control runs fn on our end's descriptor, and leaves it non-blocking, as
// File.Fd would not: a Close must wake the copier.
func (t *terminal) control(fn func(fd int) error) error {
	c, err := t.outer.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = c.Control(func(fd uintptr) { inner = fn(int(fd)) })
	return errors.Join(err, inner)
}

// resize gives the pair the size of the user's terminal. The kernel tells the
// command (SIGWINCH). A terminal that has no size leaves it as it is.
func (t *terminal) resize() {
	size, err := unix.IoctlGetWinsize(int(os.Stdin.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return
	}
	_ = t.control(func(fd int) error { return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, size) })
}

// start begins to copy, once the command has its end.
func (t *terminal) start() (err error) {
	// Else there would be no end of output when the command ends.
	_ = t.inner.Close() // nothing was written
	if t.saved, err = term.MakeRaw(int(os.Stdin.Fd())); err != nil {
		return fmt.Errorf("lab: the terminal: %w", err)
	}
	signal.Notify(t.resized, syscall.SIGWINCH)
	go func() {
		for range t.resized {
			t.resize()
		}
	}()
	// Ends with the process: a read from a terminal cannot be called off.
	go func() { _, _ = io.Copy(t.outer, os.Stdin) }()
	go func() {
		defer close(t.copied)
		_, _ = io.Copy(os.Stdout, t.outer) // EIO is the end: nobody has the other end open
	}()
	return nil
}

// drain waits for the last of the command's output, unless a process that it
// left in the background still holds the terminal.
func (t *terminal) drain() {
	for {
		select {
		case <-t.copied:
			return
		default:
		}
		var waiting int
		err := t.control(func(fd int) (err error) {
			fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			waiting, err = unix.Poll(fds, 50)
			return err
		})
		if waiting == 0 && !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// close gives the user's terminal back as it was.
func (t *terminal) close() {
	signal.Stop(t.resized)
	close(t.resized)
	if t.saved != nil {
		_ = term.Restore(int(os.Stdin.Fd()), t.saved) // it is gone, then
	}
	_ = t.outer.Close() // what is not read by now is lost
}

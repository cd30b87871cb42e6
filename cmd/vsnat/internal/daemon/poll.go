package daemon

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"vsnat/nic"
)

// sleeper is how a thread waits for all of its queues at once, and for control.
type sleeper struct {
	wake int // an eventfd(2); -1 is none
	fds  []unix.PollFd
	devs []nic.Polled // of the same places but the first, which is wake
}

// newSleeper returns one that waits for no queue yet.
func newSleeper() (sleeper, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return sleeper{wake: -1}, fmt.Errorf("daemon: %w", os.NewSyscallError("eventfd", err))
	}
	return sleeper{wake: fd}, nil
}

// kick ends the sleep that the thread is in, or its next one. Any goroutine may
// call it, until close.
func (s *sleeper) kick() {
	if s.wake >= 0 {
		_, _ = unix.Write(s.wake, oneKick) // fails only if there are more than enough
	}
}

var oneKick = binary.NativeEndian.AppendUint64(nil, 1)

// close is called when the thread has ended.
func (s *sleeper) close() error {
	fd := s.wake
	if s.wake = -1; fd < 0 {
		return nil
	}
	return os.NewSyscallError("close", unix.Close(fd))
}

// of makes it wait for these queues.
func (s *sleeper) of(queues []*queue) {
	s.fds = append(s.fds[:0], unix.PollFd{Fd: int32(s.wake), Events: unix.POLLIN})
	s.devs = append(s.devs[:0], nil)
	for _, q := range queues {
		if dev, ok := q.dev.(nic.Polled); ok && !q.failed.Load() {
			s.fds = append(s.fds, unix.PollFd{Fd: int32(dev.FD()), Events: unix.POLLIN})
			s.devs = append(s.devs, dev)
		}
	}
}

// sleep waits until a frame waits in some queue or control has something to tell,
// for at most d. What devices have to tell, their Recv tells again.
//
// A thread that blocks in a system call gives its share of Go's scheduler away, and
// must win one back when it wakes; and to take it away the runtime's monitor wakes
// again and again for some milliseconds, on whatever CPU. So a brief sleep is made
// without telling the scheduler. It ends all the same when the runtime wants the
// thread to stop, as a signal tells it so.
func (s *sleeper) sleep(d time.Duration, brief bool) error {
	t := unix.NsecToTimespec(int64(d))
	var err error
	if brief {
		if errno := rawPoll(s.fds, &t); errno != 0 {
			err = errno
		}
	} else {
		_, err = unix.Ppoll(s.fds, &t, nil)
	}
	switch {
	case errors.Is(err, unix.EINTR):
		return nil
	case err != nil:
		return fmt.Errorf("daemon: %w", os.NewSyscallError("ppoll", err))
	}
	if s.fds[0].Revents != 0 {
		var n [8]byte
		_, _ = unix.Read(s.wake, n[:])
	}
	for i, dev := range s.devs[1:] {
		if r := s.fds[1+i].Revents; r != 0 {
			_ = dev.Polled(r)
		}
	}
	return nil
}

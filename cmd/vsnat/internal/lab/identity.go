package lab

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// startTime returns when a process was started, in clock ticks since boot. With
// its number, that names a process for good: numbers alone are used again.
func startTime(pid int) (uint64, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	t, err := parseStartTime(string(b))
	if err != nil {
		return 0, fmt.Errorf("lab: /proc/%d/stat: %w", pid, err)
	}
	return t, nil
}

// parseStartTime takes field 22 from /proc/PID/stat (proc_pid_stat(5)). The
// second field is the program's name in brackets, which may itself contain
// brackets and spaces.
func parseStartTime(stat string) (uint64, error) {
	_, rest, ok := cutLast(stat, ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 20 {
		return 0, errors.New("it has no field 22")
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

// cutLast is strings.Cut around the last separator.
func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// handle is a process that cannot be mistaken for another.
type handle struct {
	pid int
	fd  int // pidfd_open(2)
}

// find returns the process with a number and start time, or nil if it is gone.
func find(pid int, start uint64) (*handle, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("lab: process %d: %w", pid, err)
	}
	// Read after opening: if it is the right one now, so is the descriptor.
	if got, err := startTime(pid); err != nil || got != start {
		return nil, unix.Close(fd)
	}
	return &handle{pid, fd}, nil
}

// signal sends a signal; a process that is gone needs none.
func (h *handle) signal(s unix.Signal) error {
	if err := unix.PidfdSendSignal(h.fd, s, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("lab: cannot send %v to process %d: %w", s, h.pid, err)
	}
	return nil
}

// wait waits for the end of the process for at most d, and tells whether it
// came. The end of the first process of a PID namespace is that of all.
func (h *handle) wait(d time.Duration) (bool, error) {
	deadline := time.Now().Add(d)
	for {
		left := max(0, time.Until(deadline).Milliseconds())
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(h.fd), Events: unix.POLLIN}}, int(left))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return false, fmt.Errorf("lab: process %d: %w", h.pid, err)
		default:
			return n > 0, nil
		}
	}
}

func (h *handle) close() { _ = unix.Close(h.fd) }

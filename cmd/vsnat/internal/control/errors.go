package control

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Errno is an errno that travels by name ("ESRCH"), so that it means the same
// on every architecture.
type Errno syscall.Errno

// errnoName returns an errno's name in the kernel, "" for what is no errno.
// x/sys knows the one of EOPNOTSUPP's two names that the kernel does not use.
func errnoName(n syscall.Errno) string {
	if n == syscall.EOPNOTSUPP {
		return "EOPNOTSUPP"
	}
	return unix.ErrnoName(n)
}

// errnos maps names to numbers. Linux numbers errnos from 1 to 133.
var errnos = sync.OnceValue(func() map[string]Errno {
	m := make(map[string]Errno)
	for n := syscall.Errno(1); n <= 133; n++ {
		if name := errnoName(n); name != "" {
			m[name] = Errno(n)
		}
	}
	return m
})

// MarshalText writes the name.
func (e Errno) MarshalText() ([]byte, error) {
	name := errnoName(syscall.Errno(e))
	if name == "" {
		return nil, fmt.Errorf("control: errno %d has no name", int(e))
	}
	return []byte(name), nil
}

// UnmarshalText reads a name.
func (e *Errno) UnmarshalText(b []byte) error {
	n, ok := errnos()[string(b)]
	if !ok {
		return fmt.Errorf("control: unknown errno %q", b)
	}
	*e = n
	return nil
}

// Error is a refusal as it travels. For a command of an apply request, Index
// is its place in the list and Op what it wanted; other requests have neither.
type Error struct {
	Index   *int   `json:"index,omitempty"`
	Op      Op     `json:"op,omitempty"`
	Errno   Errno  `json:"errno,omitempty"`
	Message string `json:"message"`
}

// Error returns the message with the command it is about.
func (e *Error) Error() string {
	if e.Index == nil {
		return "control: " + e.Message
	}
	return fmt.Sprintf("control: command %d (%s): %s", *e.Index, e.Op, e.Message)
}

// Unwrap returns the errno, so that errors.Is(err, syscall.ESRCH) works on
// both ends. It is nil when there is none.
func (e *Error) Unwrap() error {
	if e.Errno == 0 {
		return nil
	}
	return syscall.Errno(e.Errno)
}

// refusal makes an Error of what a director returned: its errno is the one it
// wraps, EIO when there is none, because a refusal without an errno means the
// director failed rather than judged.
func refusal(err error) *Error {
	errno := syscall.EIO
	if n := syscall.Errno(0); errors.As(err, &n) && errnoName(n) != "" {
		errno = n
	}
	// What the system says of a file has no other words for what is wrong.
	if file := (*fs.PathError)(nil); errors.As(err, &file) {
		return &Error{Errno: Errno(errno), Message: err.Error()}
	}
	// The errno travels beside the message and need not be told twice.
	return &Error{Errno: Errno(errno), Message: strings.TrimSuffix(err.Error(), ": "+errno.Error())}
}

package nat

import (
	"fmt"
	"syscall"
)

// Error is a refused command, with the errno that the kernel's IPVS answers
// to the same command (net/netfilter/ipvs/ip_vs_ctl.c).
type Error struct {
	Op      string // "add-service" and the like
	Subject string // the service or server
	Errno   syscall.Errno
	Detail  string // what was wrong, when the errno does not say it all
}

// Error tells what was refused and why.
func (e *Error) Error() string {
	why := e.Detail
	if why == "" {
		why = e.Errno.Error()
	}
	return fmt.Sprintf("nat: %s %s: %s", e.Op, e.Subject, why)
}

// Unwrap returns the errno.
func (e *Error) Unwrap() error { return e.Errno }

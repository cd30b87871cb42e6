package bench

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What blocks here blocks without telling Go's scheduler. If it is told, the
// runtime's monitor takes the thread's share of it away, and to do so wakes ten
// thousand times a second: an interruption of every round or two, on the CPU of the
// endpoints, that is no cost of whoever is measured.

// readFull fills b from a blocking socket.
func readFull(fd int, b []byte) error {
	for len(b) > 0 {
		n, errno := transfer(unix.SYS_READ, fd, b)
		switch {
		case errno == unix.EINTR:
		case errno != 0:
			return errno
		case n == 0:
			return errors.New("the other side has closed")
		default:
			b = b[n:]
		}
	}
	return nil
}

// writeFull writes b to a blocking socket.
func writeFull(fd int, b []byte) error {
	for len(b) > 0 {
		n, errno := transfer(unix.SYS_WRITE, fd, b)
		switch errno {
		case 0:
			b = b[n:]
		case unix.EINTR:
		default:
			return errno
		}
	}
	return nil
}

// transfer reads or writes some of b, which is not empty. A signal by which the
// runtime wants the thread to stop interrupts it; to call it again heeds that.
//
// The conversion is sound as it stands in the call itself, which keeps b alive
// (unsafe.Pointer's rule 4).
//
//go:noinline
func transfer(call uintptr, fd int, b []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	return int(n), errno
}

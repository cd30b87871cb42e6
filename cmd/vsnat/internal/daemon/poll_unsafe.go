package daemon

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rawPoll is ppoll(2) without telling Go's scheduler that the thread blocks. There
// is at least one descriptor.
//
// The conversions are sound as they stand in the call itself, which keeps both alive
// (unsafe.Pointer's rule 4).
func rawPoll(fds []unix.PollFd, timeout *unix.Timespec) syscall.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&fds[0])), uintptr(len(fds)),
		uintptr(unsafe.Pointer(timeout)), 0, 0, 0)
	return errno
}

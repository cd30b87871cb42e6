package latency

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// doze sleeps, without telling Go's scheduler: if it is told, the runtime's monitor
// wakes fifty times to take the thread's share of it away, each time that the thread
// sleeps, on whatever CPU there is. A signal of the runtime ends the sleep early.
//
// The conversion is sound as it stands in the call itself, which keeps t alive
// (unsafe.Pointer's rule 4).
func doze(d time.Duration) unix.Errno {
	t := unix.NsecToTimespec(int64(d))
	_, _, errno := unix.RawSyscall6(unix.SYS_CLOCK_NANOSLEEP, unix.CLOCK_MONOTONIC, 0, uintptr(unsafe.Pointer(&t)), 0, 0, 0)
	return errno
}

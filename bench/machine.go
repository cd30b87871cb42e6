package bench

import (
	"runtime"

	"golang.org/x/sys/unix"
)

func cpus() int { return runtime.NumCPU() }

// kernel returns the running kernel's release.
func kernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}

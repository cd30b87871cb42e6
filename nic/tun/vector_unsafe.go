package tun

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// vector is the argument of readv(2) and writev(2). It points to memory by typed
// pointers, which keep that where it is and alive while the kernel looks.
type vector [3]unix.Iovec

func (v *vector) set(i int, b []byte) {
	v[i].Base = unsafe.SliceData(b)
	v[i].SetLen(len(b))
}

// read reads one packet into two pieces of memory. The descriptor does not block,
// so the call is made without telling the scheduler.
//
// The conversion is sound as it stands in the call itself, which keeps the vector
// alive (unsafe.Pointer's rule 4); so it is below.
func (v *vector) read(fd int, a, b []byte) (int, unix.Errno) {
	v.set(0, a)
	v.set(1, b)
	n, _, errno := unix.RawSyscall(unix.SYS_READV, uintptr(fd), uintptr(unsafe.Pointer(v)), 2)
	return int(n), errno
}

// write writes one packet of three pieces; the last may be empty.
func (v *vector) write(fd int, a, b, c []byte) (int, unix.Errno) {
	v.set(0, a)
	v.set(1, b)
	v.set(2, c)
	n, _, errno := unix.RawSyscall(unix.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(v)), 3)
	return int(n), errno
}

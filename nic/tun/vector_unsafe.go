package tun

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"vsnat/nic"
)

// vector is the argument of readv(2) and writev(2). It points to memory by typed
// pointers, which keep that where it is and alive while the kernel looks.
type vector [3 + nic.MaxBatch]unix.Iovec

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

// write writes one packet of three pieces, the last of which may be empty, and of
// segments, as many as a batch has.
func (v *vector) write(fd int, a, b, c []byte, segments [][]byte) (int, unix.Errno) {
	if len(segments) > nic.MaxBatch {
		return 0, unix.EMSGSIZE
	}
	v.set(0, a)
	v.set(1, b)
	v.set(2, c)
	for i, s := range segments {
		v.set(3+i, s)
	}
	n, _, errno := unix.RawSyscall(unix.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(v)), uintptr(3+len(segments)))
	return int(n), errno
}

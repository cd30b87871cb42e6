//go:build linux

package arena

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// reserve maps size bytes of no file. What is not written takes no memory, and is not
// counted as if it would be.
func reserve(size int, huge bool) (mem []byte, free func(), err error) {
	whole, err := unix.Mmap(-1, 0, size+HugePage, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return nil, nil, fmt.Errorf("reserve %d MB of addresses: %w (see ulimit -v, and vm.overcommit_memory, which must not be 2)", size>>20, err)
	}
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(whole)))) & (HugePage - 1)
	mem = whole[skip : skip+size]
	if n := size &^ (HugePage - 1); huge && n > 0 {
		// A kernel without huge pages says so; then these are small.
		_ = unix.Madvise(mem[:n], unix.MADV_HUGEPAGE)
	}
	return mem, func() { _ = unix.Munmap(whole) }, nil
}

// populate writes to all pages of mem without changing what is there
// (MADV_POPULATE_WRITE, Linux 5.14; others answer EINVAL).
func populate(mem []byte) {
	first := unsafe.Pointer(unsafe.SliceData(mem))
	begin := int(uintptr(first)) & (unix.Getpagesize() - 1)
	_ = unix.Madvise(unsafe.Slice((*byte)(unsafe.Add(first, -begin)), begin+len(mem)), unix.MADV_POPULATE_WRITE)
}

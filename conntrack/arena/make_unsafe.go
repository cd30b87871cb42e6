package arena

import (
	"fmt"
	"math"
	"unsafe"
)

// Make returns n zeroed elements, in huge pages if that is asked for and the system has
// them, and what gives their memory back. They must not hold pointers, as the collector
// does not see those.
func Make[T any](n int, huge bool) (s []T, free func(), err error) {
	var zero T
	if size := uint64(n) * uint64(unsafe.Sizeof(zero)); size <= watched {
		return make([]T, n), func() {}, nil
	} else if size > math.MaxInt-HugePage {
		return nil, nil, fmt.Errorf("%d elements of %d bytes are more than there are addresses for", n, unsafe.Sizeof(zero))
	}
	mem, free, err := reserve(n*int(unsafe.Sizeof(zero)), huge)
	if err != nil {
		return nil, nil, err
	}
	// The mapping begins at a page, which is aligned for every type, and has room for
	// n of them.
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(mem))), n), free, nil
}

// Populate has the system give the memory of elements first to end, without the latter,
// of what [Make] returned now, so that who writes to them does not wait for it. A system
// that cannot do so leaves it as it is.
func Populate[T any](s []T, first, end int) {
	if first >= end {
		return
	}
	part := s[first:end]
	populate(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(part))), len(part)*int(unsafe.Sizeof(part[0]))))
}

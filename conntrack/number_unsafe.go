package conntrack

import "unsafe"

// numberOf returns which of the records c is, 0 if it is none of them. Only addresses
// are computed with, and nothing is read by them: records never move, and a pointer to
// one of them points to its beginning.
func numberOf(c *Conn, records []Conn) uint32 {
	offset := uintptr(unsafe.Pointer(c)) - uintptr(unsafe.Pointer(unsafe.SliceData(records)))
	if n := offset / unsafe.Sizeof(Conn{}); n < uintptr(len(records)) {
		return uint32(n)
	}
	return 0
}

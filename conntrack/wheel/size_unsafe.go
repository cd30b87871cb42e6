package wheel

import "unsafe"

// Sizes in bytes, for [Wheel.Bytes]. Sizeof is a constant and touches no
// memory.
const (
	blockSize = int(unsafe.Sizeof(block{}))
	wordSize  = int(unsafe.Sizeof(uintptr(0)))
)

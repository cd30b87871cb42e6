package afpacket

import (
	"sync/atomic"
	"unsafe"
)

// The status word is the first word of a slot, and the only one that the kernel
// and this process both write while the other may look. The kernel writes it
// after the rest of the slot, behind a write barrier, and reads it before it
// writes the rest (__packet_set_status and packet_current_frame in
// net/packet/af_packet.c). Go's atomics, being sequentially consistent, are the
// other half of both: nothing of a slot is read before its status says that it
// is ours, nor after it was given back.
//
// The conversions are sound because a slot begins at a multiple of 16 bytes in
// a page-aligned mapping, is longer than a word, and does not move.

// loadStatus returns the status word of the slot.
func loadStatus(slot []byte) uint32 {
	return atomic.LoadUint32((*uint32)(unsafe.Pointer(&slot[0])))
}

// storeStatus sets the status word of the slot.
func storeStatus(slot []byte, status uint32) {
	atomic.StoreUint32((*uint32)(unsafe.Pointer(&slot[0])), status)
}

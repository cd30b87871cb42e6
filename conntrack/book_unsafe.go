package conntrack

import "unsafe"

// prefetchBucket brings a bucket near as [prefetch] does a connection: both are two
// cache lines, and the instruction reads nothing, so that it does not matter what
// lies there.
func prefetchBucket(b *bucket) { prefetch((*Conn)(unsafe.Pointer(b))) }

// prefetchExtension does the same with an extension, one cache line; nothing is read
// of the next either.
func prefetchExtension(x *Ext) { prefetch((*Conn)(unsafe.Pointer(x))) }

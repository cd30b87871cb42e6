package afpacket

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"vsnat/nic"
)

// mmsghdr is struct mmsghdr of sendmmsg(2); Go pads it as C does.
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// mergedPieces is enough for the pieces of any batch that was merged: of each frame
// one, and of those that they became four.
const mergedPieces = 5 * nic.MaxBatch

// vector is the argument of sendmmsg: one message for each frame, of one piece or,
// if it has a tail or a tag, of several.
// It is allocated once. Messages point to pieces of the same object and pieces
// to frames by typed pointers, so all of it stays where it is and alive while
// the kernel looks.
type vector struct {
	msgs   [nic.MaxBatch]mmsghdr
	pieces [nic.MaxBatch][4]unix.Iovec
	tags   [nic.MaxBatch][4]byte
	// merged are the pieces of frames that were merged of several.
	merged []unix.Iovec
}

func newVector() *vector {
	v := &vector{merged: make([]unix.Iovec, 0, mergedPieces)}
	for i := range v.msgs {
		v.msgs[i].hdr.Iov = &v.pieces[i][0]
		v.msgs[i].hdr.SetIovlen(1)
	}
	return v
}

// set makes b and tail message i; both may be empty.
func (v *vector) set(i int, b, tail []byte) {
	p := &v.pieces[i]
	v.msgs[i].hdr.Iov = &p[0]
	p[0].Base = unsafe.SliceData(b)
	p[0].SetLen(len(b))
	if len(tail) == 0 {
		p[1].Base = nil // keeps no frame's memory alive
		v.msgs[i].hdr.SetIovlen(1)
		return
	}
	p[1].Base = unsafe.SliceData(tail)
	p[1].SetLen(len(tail))
	v.msgs[i].hdr.SetIovlen(2)
}

// setTagged makes a frame with a tag message i.
func (v *vector) setTagged(i int, f *nic.Frame) {
	p, n := &v.pieces[i], 0
	v.msgs[i].hdr.Iov = &p[0]
	for _, b := range f.Parts(&v.tags[i]) {
		if len(b) > 0 {
			p[n].Base = unsafe.SliceData(b)
			p[n].SetLen(len(b))
			n++
		}
	}
	v.msgs[i].hdr.SetIovlen(n)
}

// setMerged makes a frame of several segments, with a tag or without, message i. Were
// there ever more pieces than there is room for, they would get more, and the
// messages before would keep theirs.
func (v *vector) setMerged(i int, f *nic.Frame) {
	first := len(v.merged)
	for _, b := range f.Parts(&v.tags[i]) {
		if len(b) > 0 {
			v.addMerged(b)
		}
	}
	for _, b := range f.Segments {
		v.addMerged(b)
	}
	v.msgs[i].hdr.Iov = &v.merged[first]
	v.msgs[i].hdr.SetIovlen(len(v.merged) - first)
}

func (v *vector) addMerged(b []byte) {
	p := unix.Iovec{Base: unsafe.SliceData(b)}
	p.SetLen(len(b))
	v.merged = append(v.merged, p)
}

// send sends messages first to end, without the latter, and returns how many
// were sent, or 0 and why the first was not. The call does not block, so it is
// made without telling the scheduler, which would cost more than it gains.
//
// The conversion is sound as it stands in the call itself, which keeps the
// vector alive (unsafe.Pointer's rule 4).
func (v *vector) send(fd, first, end int) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd),
		uintptr(unsafe.Pointer(&v.msgs[first])), uintptr(end-first), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

package afpacket

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"vsnat/nic"
)

// longVector is the argument of recvmmsg: one message, of one piece, for each long
// frame. It is allocated once, and stays where it is and alive as [vector] does.
type longVector struct {
	msgs   [maxLong]mmsghdr
	pieces [maxLong]unix.Iovec
	mems   [maxLong][]byte
}

func newLongVector() *longVector {
	v := new(longVector)
	for i := range v.msgs {
		v.mems[i] = make([]byte, longSize)
		room := v.mems[i][nic.Headroom:]
		v.pieces[i].Base = unsafe.SliceData(room)
		v.pieces[i].SetLen(len(room))
		v.msgs[i].hdr.Iov = &v.pieces[i]
		v.msgs[i].hdr.SetIovlen(1)
	}
	return v
}

// mem returns the memory of message i, the headroom included.
func (v *longVector) mem(i int) []byte { return v.mems[i] }

// size returns the length of message i: more than there is memory for if it was
// cut.
func (v *longVector) size(i int) int { return int(v.msgs[i].len) }

// receive receives messages first to end, without the latter, and returns how many
// came, or 0 and why none did. As [vector.send] it does not block, and tells the
// scheduler nothing.
func (v *longVector) receive(fd, first, end int) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd),
		uintptr(unsafe.Pointer(&v.msgs[first])), uintptr(end-first), unix.MSG_DONTWAIT|unix.MSG_TRUNC, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

package bench

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsg is the argument of sendmmsg(2): messages of one frame each. It is
// allocated once; typed pointers hold its pieces and their frames, so that all
// of it stays alive and where it is while the kernel looks.
type mmsg struct {
	messages [floodBatch]struct {
		hdr unix.Msghdr
		len uint32
	}
	pieces [floodBatch]unix.Iovec
}

func newMMsg(frames [][]byte) *mmsg {
	m := new(mmsg)
	for i, f := range frames {
		m.pieces[i].Base = unsafe.SliceData(f)
		m.pieces[i].SetLen(len(f))
		m.messages[i].hdr.Iov = &m.pieces[i]
		m.messages[i].hdr.SetIovlen(1)
	}
	return m
}

// send sends the messages from first to end, without the latter, and returns
// how many were sent, or why the first was not. It does not block.
//
// The conversion stands in the call, which keeps the object alive
// (unsafe.Pointer's rule 4).
func (m *mmsg) send(fd, first, end int) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd),
		uintptr(unsafe.Pointer(&m.messages[first])), uintptr(end-first), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

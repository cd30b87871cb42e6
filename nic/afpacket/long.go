package afpacket

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"vsnat/nic"
)

const (
	// maxLong is how many long frames are received together. Their memory is used
	// again and again, and so stays in the CPU's cache.
	maxLong = 16
	// longSize is the memory in bytes of one: the largest IP packet, the virtio-net
	// header, Ethernet's with tags, and what there is free before and behind it.
	longSize = 68 << 10
	// queueSize bounds the memory of long frames that wait, in bytes. The kernel
	// doubles it, and counts its own overhead: it is about 450 super-frames.
	queueSize = 16 << 20
)

// longFrames receives the frames that are longer than a slot. The kernel puts the
// beginning of such a frame into a slot all the same, and the frame into the
// socket's queue, both under one lock (tpacket_rcv in net/packet/af_packet.c). So
// the n-th slot that says so (TP_STATUS_COPY) and the n-th frame of the queue are
// the same. If the queue has no room, the slot does not say so, and the frame is
// cut.
type longFrames struct {
	vec    *longVector
	frames [maxLong]*nic.Frame // that are in use
	used   int
	got    int // of them, those that were fetched
}

// newLongFrames gives the socket room for them.
func newLongFrames(fd int) (*longFrames, error) {
	// SO_RCVBUFFORCE takes CAP_NET_ADMIN; without it the system's limit holds.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, queueSize) != nil {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, queueSize); err != nil {
			return nil, os.NewSyscallError("setsockopt SO_RCVBUF", err)
		}
	}
	return &longFrames{vec: newLongVector()}, nil
}

// expect notes that f is a long frame, still to be fetched. It reports false if
// there is no memory for one more until some are released.
func (l *longFrames) expect(f *nic.Frame) bool {
	if l.used == maxLong {
		return false
	}
	l.frames[l.used] = f
	l.used++
	return true
}

// waiting reports whether there are frames to be fetched.
func (l *longFrames) waiting() bool { return l.got < l.used }

// fetch gives the frames that are expected their whole memory. A frame that cannot
// be fetched stays cut. What was wrong with the socket, if anything, it returns:
// the kernel tells it once.
func (l *longFrames) fetch(fd int) (wrong unix.Errno) {
	for l.got < l.used {
		n, errno := l.vec.receive(fd, l.got, l.used)
		if errno != 0 {
			if errno == unix.EINTR {
				continue
			}
			if wrong != 0 || errors.Is(errno, unix.EAGAIN) {
				break
			}
			wrong = errno
			continue
		}
		for range n {
			f, mem, size := l.frames[l.got], l.vec.mem(l.got), l.vec.size(l.got)
			// Another length would be another frame's.
			if size == nic.VNetHdrLen+f.WireLen && size <= len(mem)-nic.Headroom {
				f.Place(mem, nic.Headroom, nic.Headroom+size)
			}
			l.got++
		}
	}
	l.got = l.used
	return wrong
}

// release takes the memory of all frames back.
func (l *longFrames) release() { l.used, l.got = 0, 0 }

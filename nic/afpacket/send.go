package afpacket

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"vsnat/nic"
)

const (
	// sendBuffer is the memory in bytes of frames that may wait in the driver:
	// one batch of super-frames with the kernel's overhead.
	sendBuffer = 8 << 20
	// refusals is how many super-frames in a row the driver may refuse before
	// all frames take the queueing discipline.
	refusals = 16
)

// Sender is the transmit-only half of an interface, for one worker. All methods
// but Stats belong to that worker.
type Sender struct {
	name  string
	index int
	ring  sendRing // for frames that all fit into it
	fd    int      // for others; -1 when closed
	vec   *vector

	bypass  bool // frames go to the driver without a queueing discipline
	refused int  // super-frames in a row that only the queueing discipline took

	frames atomic.Uint64
	bytes  atomic.Uint64
	errors atomic.Uint64
	merged atomic.Uint64
}

var _ nic.Sender = (*Sender)(nil)

// OpenSender opens the interface with that number for sending only. It returns
// errors as [Open] does.
func OpenSender(index int) (*Sender, error) {
	ifi, err := findInterface(Config{Index: index})
	if err != nil {
		return nil, err
	}
	s, err := openSender(ifi)
	if err != nil {
		return nil, fmt.Errorf("afpacket: cannot open %s for sending: %w", ifi.Name, err)
	}
	return s, nil
}

func openSender(ifi *net.Interface) (*Sender, error) {
	s := &Sender{name: ifi.Name, index: ifi.Index, fd: -1, vec: newVector(), bypass: true}
	var err error
	if s.fd, err = sendSocket(ifi, sendOptions); err != nil {
		return nil, err
	}
	if s.ring, err = openSendRing(ifi); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// sendSocket opens a socket that sends only.
func sendSocket(ifi *net.Interface, opts []option) (int, error) {
	fd, err := listen(ifi)
	if err != nil {
		return -1, err
	}
	if err := setOptions(fd, opts); err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	// SO_SNDBUFFORCE takes CAP_NET_ADMIN; without it the system's limit
	// holds, and a burst of super-frames may meet EAGAIN.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer) != nil {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer); err != nil {
			return -1, errors.Join(os.NewSyscallError("setsockopt SO_SNDBUF", err), unix.Close(fd))
		}
	}
	return fd, nil
}

// Name returns the name that the interface had when it was opened.
func (s *Sender) Name() string { return s.name }

// Index returns the interface's number.
func (s *Sender) Index() int { return s.index }

// Stats returns the sending half of the counters since the sender was opened.
func (s *Sender) Stats() nic.Stats {
	return nic.Stats{TxFrames: s.frames.Load(), TxBytes: s.bytes.Load(), TxErrors: s.errors.Load(), TxMerged: s.merged.Load()}
}

// Close closes the sockets.
func (s *Sender) Close() error {
	if s.fd < 0 {
		return nil
	}
	fd := s.fd
	s.fd = -1
	return errors.Join(s.ring.close(), os.NewSyscallError("close", unix.Close(fd)))
}

// Send transmits frames in order. It does not block: a frame
// for which there is no room now gets EAGAIN or ENOBUFS. A frame longer than
// the interface's MTU, if it is no super-frame, gets EMSGSIZE. When the
// interface is down (ENETDOWN) or gone (ENXIO, ENODEV), so is the answer for
// all frames behind.
func (s *Sender) Send(frames []*nic.Frame, errs []unix.Errno) int {
	sent := 0
	for len(frames) > 0 {
		n := min(len(frames), nic.MaxBatch)
		sent += s.sendBatch(frames[:n], errs[:n])
		frames, errs = frames[n:], errs[n:]
	}
	return sent
}

// sendBatch sends up to MaxBatch frames: all by the ring if all fit, and what the
// ring does not take from where it lies. The kernel is done with the one way when
// it returns, so the other keeps the order.
func (s *Sender) sendBatch(frames []*nic.Frame, errs []unix.Errno) int {
	n := 0
	if s.bypass && s.ring.fits(frames) {
		n = s.ring.send(frames)
		clear(errs[:n])
	}
	if n < len(frames) {
		s.sendMessages(frames[n:], errs[n:])
	}
	var sent, bytes, merged uint64
	for i, f := range frames {
		if errs[i] == 0 {
			sent++
			bytes += uint64(f.Len())
			merged += uint64(max(len(f.Segments)-1, 0))
		}
	}
	s.frames.Add(sent)
	s.bytes.Add(bytes)
	s.merged.Add(merged)
	if failed := uint64(len(frames)) - sent; failed > 0 {
		s.errors.Add(failed)
	}
	return int(sent)
}

// sendMessages sends up to MaxBatch frames straight from their memory.
func (s *Sender) sendMessages(frames []*nic.Frame, errs []unix.Errno) {
	s.vec.merged = s.vec.merged[:0]
	for i, f := range frames {
		switch {
		case len(f.Segments) > 0:
			s.vec.setMerged(i, f)
		case f.VLANProto != 0:
			s.vec.setTagged(i, f)
		default:
			s.vec.set(i, f.Buf, f.Tail)
		}
	}
	for i := 0; i < len(frames); {
		n, errno := s.vec.send(s.fd, i, len(frames))
		switch {
		case !s.bypass:
		case n == 0 && errno == unix.ENOBUFS && super(frames[i]):
			n, errno = s.sendQueued(i)
		case s.refused > 0 && slices.ContainsFunc(frames[i:i+n], super):
			s.refused = 0
		}
		clear(errs[i : i+n])
		i += n
		if n > 0 || errno == unix.EINTR {
			// When it stopped short of the end, the next call tells why.
			continue
		}
		last := i + 1
		if useless(errno) {
			last = len(frames)
		}
		for ; i < last; i++ {
			errs[i] = errno
		}
	}
}

// useless reports whether an error is the interface's and not the frame's.
func useless(errno unix.Errno) bool {
	switch errno {
	case unix.ENETDOWN, unix.ENXIO, unix.ENODEV, unix.EBADF:
		return true
	}
	return false
}

// super reports whether the frame is a super-frame, to be segmented later.
func super(f *nic.Frame) bool {
	return len(f.Buf) >= nic.VNetHdrLen && f.VNet().GSOType() != nic.VNetGSONone
}

// sendQueued sends frame i of the vector through the queueing discipline.
//
// The way past it ends in a driver that segments super-frames itself: one that
// does not gets them segmented by the kernel, which on that way drops what it
// has segmented and answers ENOBUFS (__dev_direct_xmit in net/core/dev.c). A
// full transmit queue has the same answer, so only a row of such frames without
// one that the driver took means that it will never take any.
func (s *Sender) sendQueued(i int) (int, unix.Errno) {
	s.setBypass(false)
	n, errno := s.vec.send(s.fd, i, i+1)
	if n > 0 {
		s.refused++
	}
	if s.refused < refusals {
		s.setBypass(true)
	}
	return n, errno
}

// setBypass chooses the way for the frames to come. The option was there when
// the sender was opened; changing it does not fail.
func (s *Sender) setBypass(on bool) {
	v := 0
	if on {
		v = 1
	}
	s.bypass = unix.SetsockoptInt(s.fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, v) == nil && on
}

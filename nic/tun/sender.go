package tun

import (
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"vsnat/nic"
)

// Sender is a way into the host by a [Device], for one goroutine.
type Sender struct {
	fd    int
	write vector
	vnet  [nic.VNetHdrLen]byte

	frames, bytes, errors, merged atomic.Uint64
}

var _ nic.Sender = (*Sender)(nil)

// Sender returns another way into the host.
func (d *Device) Sender() (*Sender, error) {
	fd, err := unix.FcntlInt(uintptr(d.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	return &Sender{fd: fd}, nil
}

// Close closes it.
func (s *Sender) Close() error {
	fd := s.fd
	s.fd = -1
	if fd < 0 {
		return nil
	}
	return os.NewSyscallError("close", unix.Close(fd))
}

// Stats returns the sending half of the counters.
func (s *Sender) Stats() nic.Stats {
	return nic.Stats{TxFrames: s.frames.Load(), TxBytes: s.bytes.Load(), TxErrors: s.errors.Load(), TxMerged: s.merged.Load()}
}

// Send gives the frames' packets to the host. A tag beside a frame is not given.
func (s *Sender) Send(frames []*nic.Frame, errs []unix.Errno) int {
	sent := 0
	var bytes, merged uint64
	for i, f := range frames {
		errs[i] = s.one(f)
		if errs[i] != 0 {
			s.errors.Add(1)
			continue
		}
		sent++
		bytes += uint64(f.Len())
		merged += uint64(max(len(f.Segments)-1, 0))
	}
	s.frames.Add(uint64(sent))
	s.bytes.Add(bytes)
	s.merged.Add(merged)
	return sent
}

func (s *Sender) one(f *nic.Frame) unix.Errno {
	if len(f.Buf) <= nic.VNetHdrLen+headerLen {
		return unix.EINVAL
	}
	// A copy: the frame may leave by another NIC too.
	copy(s.vnet[:], f.Buf)
	nic.VNet(s.vnet[:]).Shift(-headerLen)
	for {
		_, errno := s.write.write(s.fd, s.vnet[:], f.Eth()[headerLen:], f.Tail, f.Segments)
		if errno != unix.EINTR {
			return errno
		}
	}
}

package neigh

import (
	"errors"
	"fmt"
	"iter"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// socket is a NETLINK_ROUTE socket. One goroutine uses it; any other may close
// it, which ends a waiting call.
type socket struct {
	file *os.File
	raw  syscall.RawConn
	buf  []byte
	seq  uint32
}

// errInterrupted says that the kernel's state changed during a dump, so that
// something may be missing or there twice (NLM_F_DUMP_INTR).
var errInterrupted = errors.New("the dump was interrupted by a change")

// errCut says that a message did not fit the buffer.
var errCut = errors.New("a netlink message was cut")

// bufSize is twice as much as the kernel ever puts into one datagram of a
// dump; single notifications are far smaller.
const bufSize = 64 << 10

// openSocket opens a socket in the namespace of the calling thread and has it
// join the multicast groups.
func openSocket(groups ...int) (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("neigh: cannot open a netlink socket: %w", err)
	}
	s := &socket{file: os.NewFile(uintptr(fd), "netlink"), buf: make([]byte, bufSize)}
	err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	for _, g := range groups {
		if err == nil {
			err = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, g)
		}
	}
	if err == nil {
		s.raw, err = s.file.SyscallConn()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("neigh: cannot set up a netlink socket: %w", err), s.file.Close())
	}
	return s, nil
}

// reserve asks for a receive buffer of that many bytes. Beyond
// net.core.rmem_max that needs CAP_NET_ADMIN; with less there is as much as
// may be had.
func (s *socket) reserve(size int) error {
	var err error
	errControl := s.raw.Control(func(fd uintptr) {
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, size) != nil {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, size)
		}
	})
	return errors.Join(err, errControl)
}

// close ends every call that waits.
func (s *socket) close() error { return s.file.Close() }

// receive returns the next datagram, valid until the next call. It waits until
// the deadline, without end if that is zero; with wait false not at all. The
// error is [os.ErrDeadlineExceeded] when there was nothing.
func (s *socket) receive(wait bool, deadline time.Time) ([]byte, error) {
	if err := s.file.SetReadDeadline(deadline); err != nil {
		return nil, err
	}
	for {
		var n int
		var from unix.Sockaddr
		var errRecv error
		err := s.raw.Read(func(fd uintptr) bool {
			n, from, errRecv = unix.Recvfrom(int(fd), s.buf, unix.MSG_TRUNC)
			return !wait || errRecv != unix.EAGAIN
		})
		switch {
		case err != nil:
			return nil, err
		case errRecv == unix.EAGAIN:
			return nil, os.ErrDeadlineExceeded
		case errRecv == unix.EINTR:
			continue
		case errRecv != nil:
			return nil, errRecv
		case n > len(s.buf):
			return nil, errCut
		}
		// Any process may send to a netlink socket; only the kernel counts.
		if a, ok := from.(*unix.SockaddrNetlink); ok && a.Pid == 0 {
			return s.buf[:n], nil
		}
	}
}

// header is struct nlmsghdr without its length.
type header struct {
	kind, flags uint16
	seq         uint32
}

// messages yields the messages of a datagram, and stops at a malformed one.
func messages(b []byte) iter.Seq2[header, []byte] {
	return func(yield func(header, []byte) bool) {
		for len(b) >= unix.SizeofNlMsghdr {
			n := int(native.Uint32(b))
			if n < unix.SizeofNlMsghdr || n > len(b) {
				return
			}
			h := header{native.Uint16(b[4:]), native.Uint16(b[6:]), native.Uint32(b[8:])}
			if !yield(h, b[unix.SizeofNlMsghdr:n]) {
				return
			}
			b = b[min((n+3)&^3, len(b)):]
		}
	}
}

// answerTime bounds how long the kernel may take for one datagram of an
// answer. It answers in the course of the system call; this is for the case
// that an answer was lost.
const answerTime = 10 * time.Second

// request sends a request and hands each message of the answer to each, until
// the answer is complete or the kernel refuses.
func (s *socket) request(kind, flags uint16, body []byte, each func(kind uint16, body []byte)) error {
	s.seq++
	b := make([]byte, unix.SizeofNlMsghdr, unix.SizeofNlMsghdr+len(body))
	native.PutUint32(b, uint32(cap(b)))
	native.PutUint16(b[4:], kind)
	native.PutUint16(b[6:], flags|unix.NLM_F_REQUEST)
	native.PutUint32(b[8:], s.seq)
	b = append(b, body...)
	var errSend error
	err := s.raw.Write(func(fd uintptr) bool {
		errSend = unix.Sendto(int(fd), b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		return errSend != unix.EAGAIN
	})
	if err = errors.Join(err, errSend); err != nil {
		return err
	}

	interrupted := false
	for {
		datagram, err := s.receive(true, time.Now().Add(answerTime))
		if err != nil {
			return err
		}
		for h, body := range messages(datagram) {
			if h.seq != s.seq {
				continue // the rest of an answer that was given up
			}
			interrupted = interrupted || h.flags&unix.NLM_F_DUMP_INTR != 0
			switch h.kind {
			case unix.NLMSG_ERROR, unix.NLMSG_DONE:
				// Both begin with an error number, 0 for success.
				if errno := -int32(num32(body)); errno != 0 {
					return syscall.Errno(errno)
				}
				if interrupted {
					return errInterrupted
				}
				return nil
			default:
				each(h.kind, body)
			}
		}
	}
}

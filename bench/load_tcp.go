package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// dialFrom connects from one of the clients' own addresses. The port is chosen
// with the connection, not before, so that all of them can be used towards
// every server.
func dialFrom(source netip.Addr, target netip.AddrPort) (*net.TCPConn, error) {
	d := net.Dialer{
		LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0)),
		Control: func(_, _ string, c syscall.RawConn) (err error) {
			return errors.Join(c.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
			}), err)
		},
	}
	ctx, cancel := context.WithTimeout(context.Background(), partPatience)
	defer cancel()
	c, err := d.DialContext(ctx, "tcp4", target.String())
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// bulk is a number of connections on which the client sends without end.
type bulk struct {
	conns []*net.TCPConn
}

// bulkChunk is how much is written at once, in bytes.
const bulkChunk = 256 << 10

func newBulk(spec *PartSpec) (*bulk, error) {
	b := new(bulk)
	for range spec.Connections {
		c, err := dialFrom(spec.Source, spec.Target)
		if err != nil {
			return nil, err
		}
		b.conns = append(b.conns, c)
	}
	return b, nil
}

func (b *bulk) run(stop *atomic.Bool) error {
	errs := make(chan error, len(b.conns))
	for _, c := range b.conns {
		go func() {
			chunk := make([]byte, bulkChunk)
			for !stop.Load() {
				if err := c.SetWriteDeadline(time.Now().Add(partPatience)); err != nil {
					errs <- err
					return
				}
				if _, err := c.Write(chunk); err != nil {
					errs <- fmt.Errorf("bench: bulk: %w", err)
					return
				}
			}
			errs <- nil
		}()
	}
	var err error
	for range b.conns {
		err = errors.Join(err, <-errs)
	}
	return err
}

// sample reads from the kernel what the other side has acknowledged.
func (b *bulk) sample() (s Sample) {
	for _, c := range b.conns {
		raw, err := c.SyscallConn()
		if err != nil {
			continue // closed
		}
		_ = raw.Control(func(fd uintptr) {
			if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
				s.Bytes += info.Bytes_acked
				s.Retrans += uint64(info.Total_retrans)
			}
		})
	}
	return s
}

func (b *bulk) result() PartResult { return PartResult{} }

// messageLen is the length of a request, and of a response, in bytes.
const messageLen = 64

// pingPong is one connection on which a request is sent when the response to
// the one before has come. It calls the kernel directly and blocks there: the
// runtime's poller would add its own time to every round.
type pingPong struct {
	file  *os.File
	rec   *recording
	count atomic.Uint64
	times []int64
}

func newPingPong(spec *PartSpec, rec *recording) (*pingPong, error) {
	c, err := dialFrom(spec.Source, spec.Target)
	if err != nil {
		return nil, err
	}
	file, err := blocking(c)
	if err != nil {
		return nil, err
	}
	return &pingPong{file: file, rec: rec, times: make([]int64, 0, 1<<20)}, nil
}

// blocking returns a connection as a file whose reads and writes block for a
// bounded time. The connection itself is closed.
func blocking(c *net.TCPConn) (*os.File, error) {
	f, err := c.File()
	if err == nil {
		t := unix.NsecToTimeval(partPatience.Nanoseconds())
		err = errors.Join(
			unix.SetNonblock(int(f.Fd()), false),
			unix.SetsockoptTimeval(int(f.Fd()), unix.SOL_SOCKET, unix.SO_RCVTIMEO, &t),
			c.Close())
	}
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	return f, nil
}

func (p *pingPong) run(stop *atomic.Bool) error {
	runtime.LockOSThread()
	defer p.file.Close()
	fd := int(p.file.Fd())
	var message [messageLen]byte
	for !stop.Load() {
		begin := time.Now()
		if err := writeFull(fd, message[:]); err != nil {
			return fmt.Errorf("bench: request: %w", err)
		}
		if err := readFull(fd, message[:]); err != nil {
			return fmt.Errorf("bench: response: %w", err)
		}
		if p.rec.on.Load() && len(p.times) < cap(p.times) {
			p.times = append(p.times, time.Since(begin).Nanoseconds())
		}
		p.count.Add(1)
	}
	return nil
}

func (p *pingPong) sample() Sample { return Sample{Count: p.count.Load()} }

func (p *pingPong) result() PartResult { return summarize(p.times, nil) }

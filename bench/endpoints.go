package bench

import (
	"errors"
	"fmt"
	"net"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"
)

// Ports of the real servers' programs. UDP has no program: the kernel counts
// and drops what comes in (see [sink]).
const (
	portPage = 80   // TCP: a page of 4100 bytes to whoever asks; closes first
	portSink = 5001 // TCP: takes all and throws it away
	portEcho = 5002 // TCP: sends messages of 64 bytes back
	portUDP  = 5003
)

// endpoints is what runs on the real servers: no more than must be, so that it is
// not what limits.
type endpoints struct {
	listeners []net.Listener
	count     atomic.Uint64 // pages and messages
	bytes     atomic.Uint64 // thrown away
	failed    atomic.Uint64
}

func newEndpoints() (*endpoints, error) {
	s := new(endpoints)
	for _, port := range []int{portPage, portSink, portEcho} {
		l, err := net.Listen("tcp4", ":"+strconv.Itoa(port))
		if err != nil {
			return nil, fmt.Errorf("bench: real server: %w", err)
		}
		s.listeners = append(s.listeners, l)
	}
	return s, nil
}

func (s *endpoints) run(stop *atomic.Bool) error {
	for i, handle := range []func(*net.TCPConn) error{s.page, s.discard, s.echo} {
		go func() {
			for {
				c, err := s.listeners[i].Accept()
				if err != nil {
					return // closed below
				}
				go func() {
					if handle(c.(*net.TCPConn)) != nil {
						s.failed.Add(1)
					}
				}()
			}
		}()
	}
	for !stop.Load() {
		time.Sleep(10 * time.Millisecond)
	}
	var err error
	for _, l := range s.listeners {
		err = errors.Join(err, l.Close())
	}
	return err
}

// page answers one request. Who asks sends all of it at once.
func (s *endpoints) page(c *net.TCPConn) error {
	defer c.Close()
	var request [1024]byte
	if err := c.SetDeadline(time.Now().Add(partPatience)); err != nil {
		return err
	}
	if _, err := c.Read(request[:]); err != nil {
		return err
	}
	if _, err := c.Write(pageAnswer); err != nil {
		return err
	}
	s.count.Add(1)
	return nil
}

// discard reads until the client closes.
func (s *endpoints) discard(c *net.TCPConn) error {
	defer c.Close()
	buf := make([]byte, bulkChunk)
	for {
		n, err := c.Read(buf)
		s.bytes.Add(uint64(n))
		if err != nil {
			return nil // the client is gone
		}
	}
}

// echo sends back what comes, message by message, on a thread of its own that
// blocks in the kernel, as [pingPong] does.
func (s *endpoints) echo(c *net.TCPConn) error {
	runtime.LockOSThread()
	f, err := blocking(c)
	if err != nil {
		return err
	}
	defer f.Close()
	fd := int(f.Fd())
	var message [messageLen]byte
	for {
		if readFull(fd, message[:]) != nil {
			return nil // the client is gone
		}
		if err := writeFull(fd, message[:]); err != nil {
			return err
		}
		s.count.Add(1)
	}
}

func (s *endpoints) sample() Sample {
	return Sample{Count: s.count.Load(), Bytes: s.bytes.Load(), Errors: s.failed.Load()}
}

func (s *endpoints) result() PartResult { return PartResult{} }

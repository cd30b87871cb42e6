package bench

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"vsnat/bench/lab"
)

// pages asks for the page again and again, each time on a new connection, as a
// number of clients at a time. [Load] does the same for a number of requests
// and looks more closely at answers; this one costs the clients less.
type pages struct {
	spec   *PartSpec
	rec    *recording
	count  atomic.Uint64
	bytes  atomic.Uint64
	errors atomic.Uint64

	mu     sync.Mutex // guards what follows
	times  []int64
	failed map[string]int
}

// pageSources is how many addresses the clients have, so that they do not run
// out of ports.
const pageSources = 16

func newPages(spec *PartSpec, rec *recording) (*pages, error) {
	return &pages{spec: spec, rec: rec, failed: map[string]int{}}, nil
}

func (p *pages) run(stop *atomic.Bool) error {
	var wg sync.WaitGroup
	for i := range p.spec.Connections {
		wg.Go(func() {
			source := p.spec.Source
			for range i % pageSources {
				source = source.Next()
			}
			buf := make([]byte, 8<<10)
			var times []int64
			for !stop.Load() {
				begin := time.Now()
				n, err := askPage(source, p.spec.Target, buf)
				if err != nil {
					p.fail(err)
					continue
				}
				p.count.Add(1)
				p.bytes.Add(uint64(n))
				if p.rec.on.Load() {
					times = append(times, time.Since(begin).Nanoseconds())
				}
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			p.times = append(p.times, times...)
		})
	}
	wg.Wait()
	return nil
}

func (p *pages) fail(err error) {
	p.errors.Add(1)
	p.mu.Lock()
	defer p.mu.Unlock()
	if why := reason(err); len(p.failed) < maxErrors || p.failed[why] > 0 {
		p.failed[why]++
	}
}

// pageRequest asks as ab does.
var pageRequest = []byte("GET / HTTP/1.0\r\nHost: vsnat\r\n\r\n")

// askPage asks once and returns how many bytes came back. The server closes
// first, so that it keeps the connection in TIME_WAIT and the client can have
// the port again.
func askPage(source netip.Addr, target netip.AddrPort, buf []byte) (int, error) {
	c, err := dialFrom(source, target)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(partPatience)); err != nil {
		return 0, err
	}
	if _, err := c.Write(pageRequest); err != nil {
		return 0, err
	}
	n := 0
	for n < len(buf) {
		m, err := c.Read(buf[n:])
		if n += m; err == io.EOF {
			break
		} else if err != nil {
			return n, err
		}
	}
	if n != len(pageAnswer) || !bytes.HasPrefix(buf, pageAnswer[:15]) {
		return n, fmt.Errorf("an answer of %d bytes, want %d", n, len(pageAnswer))
	}
	return n, nil
}

func (p *pages) sample() Sample {
	return Sample{Count: p.count.Load(), Bytes: p.bytes.Load(), Errors: p.errors.Load()}
}

func (p *pages) result() PartResult { return summarize(p.times, p.failed) }

// pageAnswer is the whole answer to a request, with a page as long as the
// paper's.
var pageAnswer = append(fmt.Appendf(nil, "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", lab.PageSize),
	bytes.Repeat([]byte("0123456789abcdef"), lab.PageSize/16+1)[:lab.PageSize]...)

package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Load is a closed loop of clients, as ab (ApacheBench) makes one without -k:
// each opens a connection, asks for the page by HTTP/1.0, reads it to the end
// and starts over. The server closes first, so it, and not the client, keeps
// the connection in TIME_WAIT: no number of requests uses up the client's ports.
type Load struct {
	Address     string // host:port
	Requests    int    // in all
	Concurrency int    // clients at a time
	Length      int    // of the page in bytes; another length is a failure; 0 takes any
	Dial        func(ctx context.Context, network, address string) (net.Conn, error)
	// Progress, if not nil, counts requests that are done.
	Progress *atomic.Int64
}

// LoadResult is what a Load came to. Figures are named as ab names them.
type LoadResult struct {
	Complete    int            `json:"complete"`    // answered as they should
	Failed      int            `json:"failed"`      // not answered, or otherwise
	Seconds     float64        `json:"seconds"`     // from the first request's start to the last one's end
	Bytes       int64          `json:"bytes"`       // received, HTTP headers included
	Concurrency int            `json:"concurrency"` // clients at a time
	Errors      map[string]int `json:"errors"`      // why requests failed
	// Percentiles of the time of one request in nanoseconds: index p holds the
	// p-th of 100; the last one is the longest.
	Percentiles [101]int64 `json:"percentiles_ns"`
}

// all returns the number of requests.
func (r *LoadResult) all() int { return r.Complete + r.Failed }

// Rate returns requests a second.
func (r *LoadResult) Rate() float64 { return float64(r.Complete) / r.Seconds }

// TimePerRequest returns the mean milliseconds between two answers, over all
// clients: what ab calls "mean, across all concurrent requests".
func (r *LoadResult) TimePerRequest() float64 { return 1000 / r.Rate() }

// Transfer returns the transfer rate received, in kBytes (1000 bytes) a second.
func (r *LoadResult) Transfer() float64 { return float64(r.Bytes) / 1000 / r.Seconds }

// requestTimeout is when a request counts as failed.
const requestTimeout = 30 * time.Second

// maxErrors bounds how many different reasons of failures are kept.
const maxErrors = 10

// Run sends the requests. It returns early when ctx ends: what was not sent is
// neither complete nor failed.
func (l *Load) Run(ctx context.Context) *LoadResult {
	dial := l.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	var (
		next  atomic.Int64
		mu    sync.Mutex
		wg    sync.WaitGroup
		res   = &LoadResult{Concurrency: l.Concurrency, Errors: map[string]int{}}
		times = make([]int64, 0, l.Requests)
	)
	start := time.Now()
	for range l.Concurrency {
		wg.Go(func() {
			own := make([]int64, 0, l.Requests/l.Concurrency+1)
			var bytes int64
			failed := map[string]int{}
			buf := bufio.NewReaderSize(nil, 8<<10)
			for next.Add(1) <= int64(l.Requests) && ctx.Err() == nil {
				begin := time.Now()
				n, err := l.request(ctx, dial, buf)
				bytes += n
				if err != nil {
					if ctx.Err() == nil {
						failed[reason(err)]++
					}
				} else {
					own = append(own, time.Since(begin).Nanoseconds())
				}
				if l.Progress != nil {
					l.Progress.Add(1)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			times = append(times, own...)
			res.Bytes += bytes
			for why, n := range failed {
				if len(res.Errors) >= maxErrors && res.Errors[why] == 0 {
					why = "other reasons"
				}
				res.Errors[why] += n
				res.Failed += n
			}
		})
	}
	wg.Wait()
	res.Seconds = time.Since(start).Seconds()
	res.Complete = len(times)
	slices.Sort(times)
	for p := range res.Percentiles {
		if len(times) > 0 {
			res.Percentiles[p] = times[min(p*len(times)/100, len(times)-1)]
		}
	}
	return res
}

// request asks once and returns how many bytes came back.
func (l *Load) request(ctx context.Context, dial func(context.Context, string, string) (net.Conn, error), buf *bufio.Reader) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	conn, err := dial(ctx, "tcp", l.Address)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return 0, err
	}
	if _, err := io.WriteString(conn, "GET / HTTP/1.0\r\nHost: "+l.Address+"\r\n\r\n"); err != nil {
		return 0, err
	}
	in := &counter{r: conn}
	buf.Reset(in)
	resp, err := http.ReadResponse(buf, nil)
	if err != nil {
		return in.n, err
	}
	length, err := io.Copy(io.Discard, resp.Body)
	switch {
	case err != nil:
		return in.n, err
	case resp.StatusCode != http.StatusOK:
		return in.n, fmt.Errorf("status %s", resp.Status)
	case l.Length != 0 && length != int64(l.Length):
		return in.n, fmt.Errorf("page of %d bytes, want %d", length, l.Length)
	}
	return in.n, nil
}

// reason returns what an error says without what differs from one connection
// to the next.
func reason(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Op + ": " + op.Err.Error()
	}
	return err.Error()
}

// counter counts the bytes that are read through it.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}

package lab

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// PageSize is the length of the page in bytes, as in the paper.
const PageSize = 4100

// page is what every real server answers with.
var page = makePage()

// makePage returns a page of exactly PageSize bytes.
func makePage() []byte {
	const (
		head = "<!DOCTYPE html>\n<html lang=\"en\">\n<head><title>A real server</title></head>\n<body>\n" +
			"<h1>It works.</h1>\n<p>This page is as long as the one of the paper: 4100 bytes.\n" +
			"The header X-Real-Server names the server that has sent it.</p>\n<pre>\n"
		tail = "</pre>\n</body>\n</html>\n"
	)
	var b strings.Builder
	b.WriteString(head)
	for line := 1; b.Len() < PageSize-len(tail); line++ {
		fmt.Fprintf(&b, "%4d  The client sees one address, and every server behind it sends this.\n", line)
	}
	// The last line is cut to fit.
	body := b.String()[:PageSize-len(tail)-1] + "\n"
	return []byte(body + tail)
}

// Page is the program of a real server: an [http.Handler] with the paper's page
// at "/" and its own figures, a [PageStats], at "/stats".
type Page struct {
	server  string
	header  []string // X-Real-Server, shared by all answers
	limiter *Limiter // nil: as fast as it can
	rate    float64
	served  atomic.Uint64
	waiting atomic.Int64
}

// PageStats are the figures of a page server.
type PageStats struct {
	Server  string  `json:"server"`  // its address
	Rate    float64 `json:"rate"`    // requests/s it is held to; 0 is no limit
	Served  uint64  `json:"served"`  // pages sent
	Waiting int64   `json:"waiting"` // requests that wait for their turn
}

// NewPage returns the handler of one server. rate is in requests/s, see
// [NewLimiter]; 0 is no limit. Requests for "/stats" are neither held up nor
// counted.
func NewPage(server string, rate float64) (*Page, error) {
	p := &Page{server: server, header: []string{server}, rate: rate}
	if rate != 0 {
		var err error
		if p.limiter, err = NewLimiter(rate, time.Now); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// Header values that never change.
var (
	typeHTML   = []string{"text/html; charset=utf-8"}
	typeJSON   = []string{"application/json"}
	pageLength = []string{strconv.Itoa(PageSize)}
)

// ServeHTTP answers one request.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h["X-Real-Server"] = p.header
	switch r.URL.Path {
	case "/":
		if p.limiter != nil {
			p.waiting.Add(1)
			err := p.limiter.Wait(r.Context())
			p.waiting.Add(-1)
			if err != nil {
				return // the client is gone
			}
		}
		h["Content-Type"] = typeHTML
		h["Content-Length"] = pageLength
		p.served.Add(1)
		_, _ = w.Write(page) // a client that leaves early is its own affair
	case "/stats":
		h["Content-Type"] = typeJSON
		_ = json.NewEncoder(w).Encode(p.Stats()) // as above
	default:
		http.NotFound(w, r)
	}
}

// Stats returns the server's figures.
func (p *Page) Stats() PageStats {
	return PageStats{Server: p.server, Rate: p.rate, Served: p.served.Load(), Waiting: p.waiting.Load()}
}

// ServePage serves the page on l until l is closed. It keeps connections alive
// as long as the client wants, and logs nothing. The error is never nil.
func ServePage(l net.Listener, p *Page) error {
	s := &http.Server{
		Handler:           p,
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          log.New(io.Discard, "", 0),
	}
	return s.Serve(l)
}

// listenerFD is the descriptor on which a page server inherits its listening
// socket: the first of [os/exec.Cmd.ExtraFiles].
const listenerFD = 3

// PageMain is the process of one page server, `vsnat lab page`, which [Start]
// runs on every real server. It inherits the listening socket, so that the
// server can be reached before it has even started. It returns the exit code.
func PageMain(args []string) int {
	flags := flag.NewFlagSet("lab page", flag.ContinueOnError)
	server := flags.String("server", "", "the address for the header X-Real-Server")
	rate := flags.Float64("rate", 0, "hold to this many requests/s; 0 is no limit")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	err := func() error {
		p, err := NewPage(*server, *rate)
		if err != nil {
			return err
		}
		l, err := net.FileListener(os.NewFile(listenerFD, "listener"))
		if err != nil {
			return fmt.Errorf("lab: descriptor %d is no listening socket; `vsnat lab up` starts page servers: %w", listenerFD, err)
		}
		return ServePage(l, p)
	}()
	fmt.Fprintln(os.Stderr, err)
	return 1
}

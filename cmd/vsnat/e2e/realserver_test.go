package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"sync"
)

// page is what real servers answer with, as long as the paper's.
var page = strings.Repeat("It works.\n", 410)

// Headers of the real servers' answers.
const (
	headerServer = "X-Real-Server" // the server's own address
	headerClient = "X-Client"      // whom the server takes for its client
)

// blob returns a stream of random bytes that follow from the seed alone.
func blob(seed byte, size int64) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{seed}), size)
}

// sum reads r to its end and returns its SHA-256 and length.
func sum(r io.Reader) (string, int64, error) {
	h := sha256.New()
	n, err := io.Copy(h, r)
	return hex.EncodeToString(h.Sum(nil)), n, err
}

// realServer is the program of a real server:
//
//	GET /                   the page
//	GET /blob?seed=S&size=N N random bytes
//	PUT /blob               answers with the body's SHA-256
func realServer(ip string) http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, f http.HandlerFunc) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set(headerServer, ip)
			w.Header().Set(headerClient, r.RemoteAddr)
			f(w, r)
		})
	}
	handle("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, page) // a client that leaves is its own affair, here and below
	})
	handle("GET /blob", func(w http.ResponseWriter, r *http.Request) {
		seed, err1 := strconv.ParseUint(r.FormValue("seed"), 10, 8)
		size, err2 := strconv.ParseInt(r.FormValue("size"), 10, 64)
		if err1 != nil || err2 != nil {
			http.Error(w, "want seed and size", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Length", r.FormValue("size"))
		_, _ = io.Copy(w, blob(byte(seed), size))
	})
	handle("PUT /blob", func(w http.ResponseWriter, r *http.Request) {
		s, _, err := sum(r.Body)
		if err != nil {
			return
		}
		_, _ = io.WriteString(w, s)
	})
	return mux
}

// serve runs the real servers' program on hosts, at port 80 of all addresses.
func (s *site) serve(hosts ...string) {
	s.t.Helper()
	for _, h := range hosts {
		s.serveAt(h, ":80", s.Topology().Addr(h).String())
	}
}

// serveAll runs it on the four real servers.
func (s *site) serveAll() {
	s.t.Helper()
	s.serve("server1", "server2", "server3", "server4")
}

// serveAt runs it on one host at an address, under a name, until the test or
// the caller ends it.
func (s *site) serveAt(host, address, name string) (stop func()) {
	s.t.Helper()
	network := "tcp4"
	if strings.HasPrefix(address, "[") {
		network = "tcp6"
	}
	ln, err := s.Host(host).Listen(network, address)
	if err != nil {
		s.t.Fatal(err)
	}
	srv := &http.Server{Handler: realServer(name), ReadHeaderTimeout: patience}
	go func() { _ = srv.Serve(ln) }() // ends with Close
	stop = func() { _ = srv.Close() }
	s.t.Cleanup(stop)
	return stop
}

// answer is one answer of a real server.
type answer struct {
	body   string
	server string // its address, as it says itself
	client string // whom it took for its client
	local  string // the client's own address and port
}

// client returns an HTTP client on a host, with a connection for each request.
func (s *site) client(host string) *http.Client {
	return &http.Client{
		Timeout: 2 * patience,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				return s.Host(host).Dial(ctx, network, addr)
			},
		},
	}
}

// fetch sends a request from a host and reads the answer.
func (s *site) fetch(ctx context.Context, host, method, url string, body io.Reader) (a answer, err error) {
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(i httptrace.GotConnInfo) { a.local = i.Conn.LocalAddr().String() },
	})
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return a, err
	}
	resp, err := s.client(host).Do(req)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return a, err
	}
	if resp.StatusCode != http.StatusOK {
		return a, fmt.Errorf("%s: %s", url, resp.Status)
	}
	a.body, a.server, a.client = string(b), resp.Header.Get(headerServer), resp.Header.Get(headerClient)
	return a, nil
}

// page asks an address for the page, from a host, and checks it and that the
// server saw the asker's own address, or the one that it is to see.
func (s *site) page(host, addr string) answer {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	a, err := s.fetch(ctx, host, "GET", "http://"+addr+"/", nil)
	if err != nil {
		s.t.Fatalf("%s asks %s: %v", host, addr, err)
	}
	if a.body != page {
		s.t.Fatalf("%s asks %s: the page arrived changed, %d bytes of %d", host, addr, len(a.body), len(page))
	}
	if a.client != a.local && (s.sees == "" || !strings.HasPrefix(a.client, s.sees+":")) {
		s.t.Errorf("%s asks %s: the server sees the client %s, which is %s", host, addr, a.client, a.local)
	}
	return a
}

// pages asks n times, one after the other, and returns who answered.
func (s *site) pages(n int) (servers []string) {
	s.t.Helper()
	for range n {
		servers = append(servers, s.page("client", web).server)
	}
	return servers
}

// download fetches random bytes from an address and checks them.
func (s *site) download(ctx context.Context, addr string, seed byte, size int64) error {
	url := fmt.Sprintf("http://%s/blob?seed=%d&size=%d", addr, seed, size)
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return err
	}
	resp, err := s.client("client").Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, n, err := sum(resp.Body)
	if err != nil {
		return fmt.Errorf("%s: after %d bytes: %w", url, n, err)
	}
	want, _, _ := sum(blob(seed, size)) // cannot fail
	if n != size || got != want {
		return fmt.Errorf("%s: arrived changed: %d bytes with SHA-256 %s, want %d with %s", url, n, got, size, want)
	}
	return nil
}

// upload sends random bytes to an address and checks what arrived.
func (s *site) upload(ctx context.Context, addr string, seed byte, size int64) error {
	url := "http://" + addr + "/blob"
	a, err := s.fetch(ctx, "client", "PUT", url, blob(seed, size))
	if err != nil {
		return err
	}
	if want, _, _ := sum(blob(seed, size)); a.body != want { // cannot fail
		return fmt.Errorf("PUT %s: arrived changed: SHA-256 %s, want %s", url, a.body, want)
	}
	return nil
}

// together runs n transfers at once, to and from the paper's service.
func (s *site) together(n int, transfer func(ctx context.Context, addr string, seed byte, size int64) error, size int64) {
	s.t.Helper()
	s.togetherAt(web, n, transfer, size)
}

// togetherAt runs n transfers at once, to and from an address.
func (s *site) togetherAt(addr string, n int, transfer func(ctx context.Context, addr string, seed byte, size int64) error, size int64) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if err := transfer(ctx, addr, byte(i), size); err != nil {
				s.t.Error(err)
			}
		})
	}
	wg.Wait()
}

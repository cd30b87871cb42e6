package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"vsnat/bench/lab"
)

// TestDocumentedCurls runs every curl of the README and of docs/api.md that asks
// the control socket.
func TestDocumentedCurls(t *testing.T) {
	need(t, "curl")
	s := newSite(t, lab.PaperOptions{})
	s.direct()
	s.cluster("rr")
	for _, file := range []string{"README.md", "docs/api.md"} {
		text, err := os.ReadFile(filepath.Join("../../..", file))
		if err != nil {
			t.Fatal(err)
		}
		ran := 0
		for lines := strings.Split(string(text), "\n"); len(lines) > 0; lines = lines[1:] {
			command := strings.TrimSpace(lines[0])
			if !strings.HasPrefix(command, "curl --unix-socket") {
				continue
			}
			for strings.Count(command, "'")%2 == 1 { // an argument of several lines
				lines = lines[1:]
				command += " " + strings.TrimSpace(lines[0])
			}
			command = strings.ReplaceAll(command, "/run/vsnat.sock", s.Socket())
			ran++
			out := s.must("director", "sh", "-c", strings.Replace(command, "curl ", "curl -sS --fail-with-body ", 1))
			if d := json.NewDecoder(strings.NewReader(out)); true {
				var v any
				if err := d.Decode(&v); err != nil {
					t.Errorf("%s: %s: %v in %q", file, command, err, out)
				}
			}
		}
		if ran == 0 {
			t.Errorf("%s has no curl of the control socket", file)
		}
	}
	if out := s.ipvsadm("-Ln"); !strings.Contains(out, "TCP  192.0.2.1:80 rr") || strings.Contains(out, web) {
		t.Errorf("after the README's transaction:\n%s", out)
	}
}

// TestAbusedSocket has clients that hang, flood and send garbage at the control
// socket, while pages are fetched and others ask.
func TestAbusedSocket(t *testing.T) {
	s := newSite(t, lab.PaperOptions{})
	s.serveAll()
	d := s.direct()
	s.cluster("rr")

	end := make(chan struct{})
	var abuse sync.WaitGroup
	ended := func() bool {
		select {
		case <-end:
			return true
		default:
			return false
		}
	}
	dial := func() net.Conn {
		c, err := net.DialTimeout("unix", s.Socket(), time.Second)
		if err != nil {
			time.Sleep(10 * time.Millisecond) // the queue is full: that is what it is for
			return nil
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		return c
	}
	// They hold a connection each, and say nothing or half a request.
	for i := range 300 {
		abuse.Go(func() {
			for !ended() {
				c := dial()
				if c == nil {
					continue
				}
				_, _ = c.Write([]byte([]string{"", "GET /v1/serv", "POST /v1/apply HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{"}[i%3]))
				_ = c.SetDeadline(time.Now().Add(500 * time.Millisecond))
				_, _ = io.Copy(io.Discard, c)
				c.Close()
			}
		})
	}
	// They send garbage, or requests as fast as they can.
	for i := range 3 {
		abuse.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(i)))
			garbage := make([]byte, 64<<10)
			for n := 0; !ended(); n++ {
				c := dial()
				if c == nil {
					continue
				}
				for j := range garbage {
					garbage[j] = byte(r.Uint32())
				}
				switch n % 3 {
				case 0:
					_, _ = c.Write(garbage)
				case 1:
					fmt.Fprintf(c, "POST /v1/transaction HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(garbage), garbage)
				case 2:
					_, _ = io.WriteString(c, strings.Repeat("GET /v1/services HTTP/1.1\r\nHost: x\r\n\r\n", 20))
				}
				_ = c.SetDeadline(time.Now().Add(50 * time.Millisecond))
				_, _ = io.Copy(io.Discard, c)
				c.Close()
			}
		})
	}
	for range 10 {
		s.pages(4)
		if out := s.ipvsadm("-Ln"); strings.Count(out, "->") != 5 {
			t.Errorf("amid the abuse:\n%s", out)
		}
	}
	close(end)
	abuse.Wait()
	if !d.running() {
		t.Fatal("the director has ended")
	}
	s.vsnat("status")
	for _, n := range []string{"director-0", "director-1"} {
		if l := d.ledger(n); !l.Balanced || len(l.Dropped) > 0 {
			t.Errorf("%s: %+v", n, l)
		}
	}
}

package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

func serve(t *testing.T, h http.HandlerFunc) string {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func TestLoadCountsWhatComesBack(t *testing.T) {
	page := bytes.Repeat([]byte("x"), 4100)
	var asked atomic.Int64
	addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Proto != "HTTP/1.0" || r.URL.Path != "/" {
			t.Errorf("asked for %s by %s", r.URL, r.Proto)
		}
		asked.Add(1)
		w.Write(page)
	})
	l := Load{Address: addr, Requests: 101, Concurrency: 7, Length: 4100, Progress: new(atomic.Int64)}
	r := l.Run(context.Background())
	if r.Complete != 101 || r.Failed != 0 || asked.Load() != 101 || l.Progress.Load() != 101 {
		t.Fatalf("%+v, %d asked", r, asked.Load())
	}
	if r.Bytes < 101*4100 || r.Bytes > 101*4500 {
		t.Errorf("%d bytes", r.Bytes)
	}
	for p := 1; p <= 100; p++ {
		if r.Percentiles[p] < r.Percentiles[p-1] {
			t.Errorf("percentile %d is smaller than the one before", p)
		}
	}
	if r.Percentiles[0] <= 0 || r.Rate() <= 0 || r.Transfer() <= 0 {
		t.Errorf("%+v", r)
	}
}

func TestLoadCountsFailures(t *testing.T) {
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refusing := gone.Addr().String()
	gone.Close()
	reset := func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
	for _, c := range []struct{ name, addr, why string }{
		{"refused", refusing, "refused"},
		{"short", serve(t, func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("too little")) }), "page of 10 bytes, want 4100"},
		{"status", serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }), "503"},
		{"reset", serve(t, reset), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := Load{Address: c.addr, Requests: 20, Concurrency: 3, Length: 4100}
			r := l.Run(context.Background())
			if r.Failed != 20 || r.Complete != 0 {
				t.Fatalf("%+v", r)
			}
			for why := range r.Errors {
				if !strings.Contains(why, c.why) {
					t.Errorf("reason %q", why)
				}
			}
		})
	}
}

func TestLoadStops(t *testing.T) {
	addr := serve(t, func(http.ResponseWriter, *http.Request) {})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	l := Load{Address: addr, Requests: 1000, Concurrency: 3}
	if r := l.Run(ctx); r.Complete+r.Failed != 0 {
		t.Errorf("%+v", r)
	}
}

func TestReportOfALoadIsRead(t *testing.T) {
	addr := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("page")) })
	l := Load{Address: addr, Requests: 10, Concurrency: 2, Progress: new(atomic.Int64)}
	var out bytes.Buffer
	if err := l.Report(context.Background(), &out); err != nil {
		t.Fatal(err)
	}
	steps := 0
	cfg := PaperConfig{Step: func(string, int, int) { steps++ }}
	r, err := cfg.follow(strings.NewReader("1\n5\n"+out.String()), "load", 10)
	if err != nil || r.Complete != 10 || steps < 2 {
		t.Fatalf("%+v, %v, %d steps", r, err, steps)
	}
	var again LoadResult
	line := strings.TrimSpace(out.String())
	if err := json.Unmarshal([]byte(line[strings.LastIndex(line, "\n")+1:]), &again); err != nil || again.Complete != 10 {
		t.Errorf("%v", err)
	}
	if _, err := cfg.follow(strings.NewReader("1\n"), "load", 10); err == nil {
		t.Error("a load without a result passes")
	}
}

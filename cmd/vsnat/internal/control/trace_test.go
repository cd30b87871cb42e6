package control

import (
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// tracer is a director whose traces are endless.
type tracer struct {
	*recorder
	asked TraceFilter
	open  atomic.Int32
}

func (d *tracer) Trace(f TraceFilter) (Trace, error) {
	d.asked = f
	d.open.Add(1)
	return &endless{d: d}, nil
}

type endless struct {
	d *tracer
	n uint64
}

func (t *endless) Take() []Traced {
	t.n++
	return []Traced{{Time: "now", Lost: t.n, Decision: &Decision{Verdict: "pass"}}}
}

func (t *endless) Close() { t.d.open.Add(-1) }

// TestTrace reads a trace over a socket, stops, and finds that the director's end of it
// has ended; and so it has when the server leaves while somebody reads.
func TestTrace(t *testing.T) {
	d := &tracer{recorder: &recorder{}}
	path := filepath.Join(t.TempDir(), "sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(d, nil)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	c := NewClient(path)
	defer c.Close()
	f := TraceFilter{
		Client: EndpointSet{Network: netip.MustParsePrefix("192.0.2.0/24")}, Virtual: EndpointSet{netip.MustParsePrefix("2001:db8::1/128"), 80},
		Protocol: UDP, Verdicts: []string{"drop", "reply"}, New: true, Sample: 7,
	}
	n := uint64(0)
	for line, err := range c.Trace(t.Context(), f) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; line.Lost != n || line.Decision.Verdict != "pass" {
			t.Fatalf("line %d is %+v", n, line)
		}
		if n == 3 {
			break
		}
	}
	if !reflect.DeepEqual(d.asked, f) {
		t.Errorf("asked for %+v, want %+v", d.asked, f)
	}
	ends := func(what string) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); d.open.Load() != 0; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: the trace goes on", what)
			}
		}
	}
	ends("the reader has stopped")
	read := make(chan error, 1)
	go func() {
		for _, err := range c.Trace(t.Context(), TraceFilter{}) {
			if err != nil {
				read <- err
				return
			}
		}
		read <- nil
	}()
	for d.open.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	ends("the server has left")
	if err := <-read; err != nil {
		t.Errorf("the reader was told %v", err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestTraceRefusals(t *testing.T) {
	s := NewServer(&tracer{recorder: &recorder{}}, nil)
	for query, want := range map[string]string{
		"client=web":                "want an address",
		"virtual=192.0.2.1:http":    "want an address",
		"protocol=icmp":             "none of tcp, udp, sctp",
		"verdict=drop,lose":         "\"lose\" is none of forward, reply, pass, hold, drop",
		"new=perhaps":               "neither true nor false",
		"sample=0":                  "not in 1..4294967295",
		url.QueryEscape("server=1"): "no parameter",
	} {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest("GET", "/v1/trace?"+query, nil))
		if w.Code != 400 || !strings.Contains(strings.ReplaceAll(w.Body.String(), `\"`, `"`), want) {
			t.Errorf("%s: %d %s", query, w.Code, w.Body)
		}
	}
	w := httptest.NewRecorder()
	NewServer(&recorder{}, nil).ServeHTTP(w, httptest.NewRequest("GET", "/v1/trace", nil))
	if w.Code != 409 {
		t.Errorf("a director that traces nothing: %d %s", w.Code, w.Body)
	}
}

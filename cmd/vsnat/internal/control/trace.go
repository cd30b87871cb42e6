package control

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// TraceFilter tells which decisions a trace shows. The zero value shows all.
type TraceFilter struct {
	Client, Virtual EndpointSet
	Protocol        Protocol
	Verdicts        []string // see Verdicts
	New             bool     // only packets that begin a connection, or are refused one
	Sample          uint32   // one of so many packets
}

// Verdicts are what may become of a frame.
var Verdicts = []string{"forward", "reply", "pass", "hold", "drop"}

// EndpointSet is a network, and a port if that is not 0. The zero value is all
// endpoints.
type EndpointSet struct {
	Network netip.Prefix
	Port    uint16
}

// ParseEndpoints reads an address, an address with a port, or a network.
func ParseEndpoints(s string) (EndpointSet, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return EndpointSet{Network: p.Masked()}, nil
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return EndpointSet{Network: netip.PrefixFrom(a, a.BitLen())}, nil
	}
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		return EndpointSet{}, fmt.Errorf("want an address, an address with a port, or a network, such as 192.0.2.1, 192.0.2.1:80 or 192.0.2.0/24")
	}
	return EndpointSet{netip.PrefixFrom(a.Addr(), a.Addr().BitLen()), a.Port()}, nil
}

// String returns what [ParseEndpoints] reads, "" for all.
func (e EndpointSet) String() string {
	switch {
	case !e.Network.IsValid():
		return ""
	case e.Port != 0:
		return netip.AddrPortFrom(e.Network.Addr(), e.Port).String()
	}
	return e.Network.String()
}

// Takes reports whether it is one of the endpoints.
func (e EndpointSet) Takes(a netip.AddrPort) bool {
	return (!e.Network.IsValid() || e.Network.Contains(a.Addr())) && (e.Port == 0 || e.Port == a.Port())
}

// Traced is a line of a trace.
type Traced struct {
	Time string `json:"time"` // RFC 3339, with fractions
	// Lost are decisions before this one that there was no room for.
	Lost     uint64    `json:"lost,omitempty"`
	Decision *Decision `json:"decision,omitempty"`
}

// Tracer is a Director that can show its decisions as it makes them.
type Tracer interface {
	// Trace begins to gather them. Too many traces are refused with EBUSY.
	Trace(f TraceFilter) (Trace, error)
}

// Trace gathers decisions.
type Trace interface {
	// Take returns those since it was called last.
	Take() []Traced
	// Close ends the trace.
	Close()
}

// traceEvery is how often a trace is written.
const traceEvery = 100 * time.Millisecond

// traceQuery are the parameters of GET /v1/trace.
var traceQuery = []Parameter{
	{"client", "only of clients at this address, ADDRESS:PORT, or network"},
	{"virtual", "only of packets to such a virtual address, and of their answers"},
	{"protocol", "tcp, udp or sctp"},
	{"verdict", "forward, reply, pass, hold or drop, or several with commas between"},
	{"new", "true: only packets that begin a connection, or are refused one"},
	{"sample", "one of so many packets"},
}

func parseTraceFilter(q url.Values) (f TraceFilter, err error) {
	for name, to := range map[string]*EndpointSet{"client": &f.Client, "virtual": &f.Virtual} {
		if v := q.Get(name); v != "" {
			if *to, err = ParseEndpoints(v); err != nil {
				return f, fmt.Errorf("%s %q: %w", name, v, err)
			}
		}
	}
	if f.Protocol = Protocol(q.Get("protocol")); f.Protocol != "" && f.Protocol.Number() == 0 {
		return f, fmt.Errorf("protocol %q is none of tcp, udp, sctp", f.Protocol)
	}
	if v := q.Get("verdict"); v != "" {
		f.Verdicts = strings.Split(v, ",")
		for _, name := range f.Verdicts {
			if !slices.Contains(Verdicts, name) {
				return f, fmt.Errorf("verdict %q is none of %s", name, strings.Join(Verdicts, ", "))
			}
		}
	}
	if v := q.Get("new"); v != "" {
		if f.New, err = strconv.ParseBool(v); err != nil {
			return f, fmt.Errorf("new %q is neither true nor false", v)
		}
	}
	if v := q.Get("sample"); v != "" {
		n, err := strconv.ParseUint(v, 10, 32)
		if err != nil || n == 0 {
			return f, fmt.Errorf("sample %q is not in 1..4294967295", v)
		}
		f.Sample = uint32(n)
	}
	return f, nil
}

func (f *TraceFilter) query() string {
	q := url.Values{}
	set := func(name, value string) {
		if value != "" {
			q.Set(name, value)
		}
	}
	set("client", f.Client.String())
	set("virtual", f.Virtual.String())
	set("protocol", string(f.Protocol))
	set("verdict", strings.Join(f.Verdicts, ","))
	if f.New {
		set("new", "true")
	}
	if f.Sample > 0 {
		set("sample", strconv.FormatUint(uint64(f.Sample), 10))
	}
	return q.Encode()
}

func (s *Server) serveTrace(w http.ResponseWriter, r *http.Request, q url.Values) {
	f, err := parseTraceFilter(q)
	if err != nil {
		fail(w, http.StatusBadRequest, &Error{Errno: Errno(syscall.EINVAL), Message: err.Error()})
		return
	}
	d, ok := s.director.(Tracer)
	if !ok {
		fail(w, http.StatusConflict, refusal(fmt.Errorf("this director traces nothing: %w", syscall.EOPNOTSUPP)))
		return
	}
	t, err := d.Trace(f)
	if err != nil {
		fail(w, http.StatusConflict, refusal(err))
		return
	}
	defer t.Close()
	ctl := http.NewResponseController(w)
	_ = ctl.SetReadDeadline(time.Time{}) // the client has said all; without a connection there is none to set
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	_ = ctl.Flush() // the client is to know that it has begun; if it is gone the context says so
	every := time.NewTicker(traceEvery)
	defer every.Stop()
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	for {
		select {
		case <-r.Context().Done():
			return
		case <-s.closing:
			return
		case <-every.C:
		}
		for _, line := range t.Take() {
			if err := enc.Encode(line); err != nil {
				panic(fmt.Sprintf("control: a decision is no JSON: %v", err)) // its types rule it out
			}
		}
		if out.Len() == 0 {
			continue
		}
		_ = ctl.SetWriteDeadline(time.Now().Add(s.limits.write))
		if _, err := out.WriteTo(w); err != nil {
			return
		}
		if ctl.Flush() != nil {
			return
		}
	}
}

// Trace shows the director's decisions as it makes them, until ctx ends or the
// caller stops.
func (c *Client) Trace(ctx context.Context, f TraceFilter) iter.Seq2[Traced, error] {
	what := "trace"
	if q := f.query(); q != "" {
		what += "?" + q
	}
	return stream[Traced](ctx, c, what)
}

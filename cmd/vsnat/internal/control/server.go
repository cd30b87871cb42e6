package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// limits bound what one client, or many, can take from the director.
type limits struct {
	body    int64         // bytes of a request body
	bodies  int64         // bytes of all bodies being dealt with
	headers int           // bytes of a request's headers
	conns   int           // open connections; see [gate]
	grace   time.Duration // that they have to ask something
	read    time.Duration // to read a request whole
	write   time.Duration // to write an answer, or a batch of a stream
	idle    time.Duration // between requests of a connection
	batch   int           // connection entries written at a time
}

// defaultLimits: a body of 32 MiB holds some 160,000 commands.
var defaultLimits = limits{
	body:    32 << 20,
	bodies:  128 << 20,
	headers: 8 << 10,
	conns:   128,
	grace:   100 * time.Millisecond,
	read:    10 * time.Second,
	write:   10 * time.Second,
	idle:    30 * time.Second,
	batch:   512,
}

// Server answers the API on the director's side. It is an [http.Handler] for tests and other
// listeners, and serves a [Listener] itself.
type Server struct {
	director Director      // immutable
	limits   limits        // immutable
	gate     *gate         // immutable
	http     *http.Server  // immutable
	apply    sync.Mutex    // held while commands run: requests do not interleave
	bodies   atomic.Int64  // bytes of the bodies being dealt with
	closing  chan struct{} // closed when the server is to end: what has no end of its own ends
}

// NewServer returns a server that asks d. errorLog takes what goes wrong below
// HTTP, such as a panic in a handler; nil is the standard logger.
func NewServer(d Director, errorLog *log.Logger) *Server {
	return newServer(d, errorLog, defaultLimits)
}

func newServer(d Director, errorLog *log.Logger, l limits) *Server {
	s := &Server{director: d, limits: l, gate: newGate(l.conns, l.grace), closing: make(chan struct{})}
	s.http = &http.Server{
		Handler:           s,
		ErrorLog:          errorLog,
		MaxHeaderBytes:    l.headers,
		ReadHeaderTimeout: l.read,
		ReadTimeout:       l.read,
		WriteTimeout:      l.write,
		IdleTimeout:       l.idle,
		ConnState:         s.gate.connState,
		ConnContext:       s.gate.connContext,
	}
	s.http.RegisterOnShutdown(func() { close(s.closing) })
	return s
}

// Serve answers on l until [Server.Shutdown]; then it returns nil.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(gated{l, s.gate}); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("control: serve: %w", err)
	}
	return nil
}

// Shutdown closes the listener, lets requests under way finish until ctx ends,
// then cuts them off.
func (s *Server) Shutdown(ctx context.Context) error {
	if err := s.http.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("control: shutdown: %w", err), s.http.Close())
	}
	return nil
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, ok := strings.CutPrefix(r.URL.Path, "/v1/")
	methods := routes[name]
	if !ok || methods == nil {
		fail(w, http.StatusNotFound, &Error{Message: fmt.Sprintf("no such endpoint: %q", r.URL.Path)})
		return
	}
	endpoint := methods[r.Method]
	if endpoint == nil {
		allowed := strings.Join(slices.Sorted(maps.Keys(methods)), ", ")
		w.Header().Set("Allow", allowed)
		fail(w, http.StatusMethodNotAllowed, &Error{Message: fmt.Sprintf("/v1/%s takes %s, not %s", name, allowed, r.Method)})
		return
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		fail(w, http.StatusBadRequest, &Error{Message: fmt.Sprintf("query: %v", err)})
		return
	}
	for key, values := range query {
		if !slices.ContainsFunc(endpoint.Query, func(p Parameter) bool { return p.Name == key }) {
			fail(w, http.StatusBadRequest, &Error{Message: fmt.Sprintf("/v1/%s takes no parameter %q", name, key)})
			return
		}
		if len(values) > 1 {
			fail(w, http.StatusBadRequest, &Error{Message: fmt.Sprintf("parameter %q is given twice", key)})
			return
		}
	}
	if r.Method == http.MethodGet {
		s.gate.answering(r)
	}
	endpoint.handle(s, w, r, query)
}

// servicesAnswer is the answer of GET /v1/services.
type servicesAnswer struct {
	Services []ServiceEntry `json:"services"`
}

// ndjson is the format of a listing with one JSON object a line, which the
// reader can begin to read before it is written to the end.
const ndjson = "ndjson"

func (s *Server) serveServices(w http.ResponseWriter, r *http.Request, q url.Values) {
	var list []ServiceEntry
	if q.Has("service") {
		id, err := ParseServiceID(q.Get("service"))
		if err != nil {
			fail(w, http.StatusBadRequest, &Error{Errno: Errno(syscall.EINVAL), Message: err.Error()})
			return
		}
		entry, err := s.director.Service(id)
		if err != nil {
			fail(w, http.StatusNotFound, refusal(err))
			return
		}
		list = []ServiceEntry{entry}
	} else {
		list = s.director.Services()
	}
	switch format := q.Get("format"); format {
	case "", "json":
		answer(w, http.StatusOK, servicesAnswer{Services: list})
	case ndjson:
		s.stream(w, r, func(put func(any)) bool {
			n := min(len(list), servicesBatch)
			for i := range list[:n] {
				put(&list[i])
			}
			list = list[n:]
			return len(list) > 0
		})
	default:
		fail(w, http.StatusBadRequest, &Error{Errno: Errno(syscall.EINVAL), Message: fmt.Sprintf("format %q is none of json, ndjson", format)})
	}
}

// servicesBatch is how many services are written at a time.
const servicesBatch = 64

// stream writes what next puts, batch by batch, as long as it returns true. A
// client that takes longer than the write limit over one batch is cut off.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, next func(put func(any)) bool) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	var out bytes.Buffer
	ctl, enc := http.NewResponseController(w), json.NewEncoder(&out)
	put := func(v any) {
		if err := enc.Encode(v); err != nil {
			panic(fmt.Sprintf("control: an entry is no JSON: %v", err)) // its types rule it out
		}
	}
	for more := true; more && r.Context().Err() == nil; {
		more = next(put)
		// Handlers called without a connection below have no deadline to set.
		if err := ctl.SetWriteDeadline(time.Now().Add(s.limits.write)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return
		}
		if _, err := out.WriteTo(w); err != nil {
			return // the client is gone or too slow
		}
	}
}

// daemonsAnswer is the answer of GET /v1/daemons.
type daemonsAnswer struct {
	Daemons []Daemon `json:"daemons"`
}

// errorAnswer is the body of every refusal but those of apply.
type errorAnswer struct {
	Error *Error `json:"error"`
}

func fail(w http.ResponseWriter, status int, e *Error) {
	answer(w, status, errorAnswer{Error: e})
}

// answer writes a JSON value whole, with its length, so that a client knows a
// truncated answer from a short one.
func answer(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		status = http.StatusInternalServerError
		b, _ = json.Marshal(errorAnswer{Error: refusal(fmt.Errorf("answer: %w", err))})
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", fmt.Sprint(len(b)+1))
	w.WriteHeader(status)
	w.Write(append(b, '\n')) // a client that is gone needs no answer
}

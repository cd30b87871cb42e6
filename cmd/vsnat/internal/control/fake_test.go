package control

import (
	"context"
	"net/netip"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// recorder is a director that remembers commands, refuses those of the address
// 10.0.0.9 with ESRCH and has a table of conns connections.
type recorder struct {
	conns int

	mu   sync.Mutex
	cmds []Command
}

func (r *recorder) Apply(cmds []Command, mode Mode) (refused []Refusal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := len(r.cmds)
	for i, c := range cmds {
		if c.Service == nil || c.Service.Address != netip.MustParseAddr("10.0.0.9") {
			r.cmds = append(r.cmds, c)
			continue
		}
		refused = append(refused, Refusal{i, syscall.ESRCH})
		if mode == Atomic {
			r.cmds = r.cmds[:before]
		}
		if mode != GoOn {
			break
		}
	}
	return refused
}

func (r *recorder) Settings() []Setting { return []Setting{{Name: "sloppy_tcp", Max: 1, Help: "help"}} }
func (r *recorder) Marks() []MarkRule   { return nil }
func (r *recorder) Pools() []Pool       { return nil }

func (r *recorder) Masquerades() []Masquerade { return nil }

func (r *recorder) Helpers() []HelperEntry { return nil }

func (r *recorder) done() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.cmds)
}

func (r *recorder) entry() ServiceEntry {
	return ServiceEntry{
		Service: Service{ServiceID: mustID("tcp:10.0.0.1:80"), Scheduler: "rr", Netmask: FullMask},
		Stats:   Stats{Conns: 2, CPS: 1},
		Servers: []ServerEntry{{RealServer: RealServer{Address: netip.MustParseAddr("10.2.0.1"), Port: 80, Method: Masq, Weight: 1}, Active: 3}},
	}
}

func (r *recorder) Services() []ServiceEntry { return []ServiceEntry{r.entry()} }

func (r *recorder) Service(id ServiceID) (ServiceEntry, error) {
	if e := r.entry(); e.ServiceID == id {
		return e, nil
	}
	return ServiceEntry{}, syscall.ESRCH
}

func (r *recorder) Connections(cursor uint64, buf []Connection) (int, uint64) {
	n := 0
	for n < len(buf) && int(cursor) < r.conns {
		buf[n] = Connection{Protocol: TCP, Client: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(cursor >> 8), byte(cursor)}), 4000), State: "ESTABLISHED", Expires: 900}
		n++
		cursor++
	}
	if int(cursor) >= r.conns {
		return n, 0
	}
	return n, cursor
}

func (r *recorder) Timeouts() Timeouts { return Timeouts{TCP: 900, TCPFin: 120, UDP: 300} }
func (r *recorder) Daemons() []Daemon  { return []Daemon{{Role: Master, Interface: "eth0"}} }
func (r *recorder) Info() Info         { return Info{Version: "test", IPVSVersion: "1.2.1", TableSize: 4096} }

func (r *recorder) Report(name Report) (any, error) {
	if name == LatencyReport {
		return nil, syscall.EOPNOTSUPP
	}
	return map[string]string{"report": string(name)}, nil
}

func mustID(s string) ServiceID {
	id, err := ParseServiceID(s)
	if err != nil {
		panic(err)
	}
	return id
}

// start serves d at a new socket with the limits l.
func start(t *testing.T, d Director, l limits) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "s")
	ln, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(d, nil, l)
	done := make(chan error)
	go func() { done <- s.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		s.Shutdown(ctx) // connections that a test left open are cut off
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return path
}

package control

import (
	"net"
	"net/http"
	"sync"
	"time"
)

// gate bounds a server's open connections without letting idle ones keep
// others out: over the bound, the connection that has waited longest without a
// request under way is closed, and the newcomer only when all others are busy.
// A client that opens connections and says nothing thus loses its own.
type gate struct {
	max int

	mu    sync.Mutex
	conns map[net.Conn]waiting
}

// waiting says since when a connection has been in its state, and whether a
// request is under way.
type waiting struct {
	since time.Time
	busy  bool
}

func newGate(max int) *gate {
	return &gate{max: max, conns: make(map[net.Conn]waiting)}
}

// connState is an http.Server.ConnState hook.
func (g *gate) connState(c net.Conn, state http.ConnState) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if state == http.StateClosed || state == http.StateHijacked {
		delete(g.conns, c)
		return
	}
	g.conns[c] = waiting{since: time.Now(), busy: state == http.StateActive}
	if state != http.StateNew || len(g.conns) <= g.max {
		return
	}
	victim, oldest := c, time.Time{}
	for other, w := range g.conns {
		if other != c && !w.busy && (oldest.IsZero() || w.since.Before(oldest)) {
			victim, oldest = other, w.since
		}
	}
	delete(g.conns, victim)
	victim.Close() // net/http finds it closed and reports StateClosed
}

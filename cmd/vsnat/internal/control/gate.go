package control

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// gate bounds a server's open connections without letting those that ask
// nothing keep others out: over the bound, the one that has waited longest is
// closed. A connection whose request is being answered does not wait; one that
// sends a request bit by bit does. Only when none waits the newcomer goes.
type gate struct {
	max int

	mu    sync.Mutex
	conns map[net.Conn]*visit
}

// visit is an open connection: since when it is in its state, and whether a
// request of it is being answered.
type visit struct {
	since time.Time
	busy  bool
}

func newGate(max int) *gate {
	return &gate{max: max, conns: make(map[net.Conn]*visit)}
}

// connState is an http.Server.ConnState hook.
func (g *gate) connState(c net.Conn, state http.ConnState) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch state {
	case http.StateClosed:
		delete(g.conns, c)
	case http.StateIdle:
		if v := g.conns[c]; v != nil {
			*v = visit{since: time.Now()}
		}
	case http.StateNew:
		g.conns[c] = &visit{since: time.Now()}
		if len(g.conns) > g.max {
			victim := g.victim(c)
			delete(g.conns, victim)
			victim.Close() // net/http finds it closed and ends it
		}
	}
}

// victim returns the connection to close for the newcomer c.
func (g *gate) victim(c net.Conn) net.Conn {
	victim, oldest := c, time.Time{}
	for other, v := range g.conns {
		if other != c && !v.busy && (victim == c || v.since.Before(oldest)) {
			victim, oldest = other, v.since
		}
	}
	return victim
}

// connKey is where a request's context has its connection.
type connKey struct{}

// connContext is an http.Server.ConnContext hook.
func (g *gate) connContext(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// answering marks the connection of a request that has been read whole, until
// it is idle again.
func (g *gate) answering(r *http.Request) {
	c, ok := r.Context().Value(connKey{}).(net.Conn)
	if !ok {
		return // the handler was called without a connection
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if v := g.conns[c]; v != nil {
		v.busy = true
	}
}

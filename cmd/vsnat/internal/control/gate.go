package control

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// gate bounds a server's open connections without letting those that ask
// nothing keep others out: at the bound, the one that has waited longest is
// closed for the next, once it had time to ask something. A connection whose
// request is being answered does not wait; one that sends a request bit by bit
// does. Until there is room the next ones stay in the socket's queue, so that a
// flood is slowed down and nobody is turned away who asks at once.
type gate struct {
	max   int
	grace time.Duration // that a connection has to ask something

	mu    sync.Mutex
	conns map[net.Conn]*visit
}

// visit is an open connection: since when it is in its state, and whether a
// request of it is being answered.
type visit struct {
	since time.Time
	busy  bool
}

func newGate(max int, grace time.Duration) *gate {
	return &gate{max: max, grace: grace, conns: make(map[net.Conn]*visit)}
}

// gated is a listener that accepts what the gate has room for.
type gated struct {
	net.Listener
	gate *gate
}

// roomAgain is the time between two looks for room.
const roomAgain = 5 * time.Millisecond

// Accept implements [net.Listener].
func (l gated) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	for !l.gate.enter(c) {
		time.Sleep(roomAgain)
	}
	return c, nil
}

// enter makes room for a connection if it can, and tells whether there is.
func (g *gate) enter(c net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.conns) >= g.max {
		victim := g.victim(time.Now())
		if victim == nil {
			return false
		}
		delete(g.conns, victim)
		victim.Close() // net/http finds it closed and ends it
	}
	g.conns[c] = &visit{since: time.Now()}
	return true
}

// victim returns the connection to close for another, nil if there is none.
func (g *gate) victim(now time.Time) (victim net.Conn) {
	oldest := now.Add(-g.grace)
	for c, v := range g.conns {
		if !v.busy && v.since.Before(oldest) {
			victim, oldest = c, v.since
		}
	}
	return victim
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
	}
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

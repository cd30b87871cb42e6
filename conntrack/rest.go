package conntrack

import (
	"sync/atomic"

	"vsnat/conntrack/state"
	"vsnat/conntrack/wheel"
)

// rest is what a table has of a connection besides the [Conn] with the same number: 16
// bytes that an ordinary packet does without.
type rest struct {
	// family is changed from other shards without this one's lock: only
	// atomically. The upper bits count the connections whose Control this is
	// (n_control); the lowest one is set in a template once one of them was
	// answered.
	family uint32

	created           uint32 // the wheel's tick in which it was inserted
	inBytes, outBytes uint32 // the upper halves of the counts
}

const (
	assured  = 1
	oneChild = 2
)

// rest returns what else the table has of a connection. Of one that is none of the table,
// and only counts its bytes, it is nobody's.
func (t *Table) rest(c *Conn) *rest { return &t.rests[t.Ref(c)] }

// Created returns when the connection was inserted, in nanoseconds on the
// engine's clock, up to 67 ms too early.
func (t *Table) Created(c *Conn) int64 { return int64(t.rest(c).created) * wheel.Tick }

// Children returns how many connections this one controls (n_control).
func (t *Table) Children(c *Conn) uint32 { return atomic.LoadUint32(&t.rest(c).family) / oneChild }

// Assured reports whether a template has had a child that a server answered.
func (t *Table) Assured(c *Conn) bool { return atomic.LoadUint32(&t.rest(c).family)&assured != 0 }

// CountIn counts n bytes, fewer than 2^32, of IP packets from the client. What the lower
// half has no room for is seldom, and counted where it is no packet's way.
func (t *Table) CountIn(c *Conn, n uint32) {
	if c.inBytes += n; c.inBytes < n {
		t.rest(c).inBytes++
	}
}

// CountOut counts n bytes, fewer than 2^32, of IP packets from the server.
func (t *Table) CountOut(c *Conn, n uint32) {
	if c.outBytes += n; c.outBytes < n {
		t.rest(c).outBytes++
	}
}

// Copy is a copy of a connection, with what the table knows of it, to be looked at when
// its shard is not locked any more.
type Copy struct {
	Conn
	InBytes, OutBytes uint64 // of IP packets from the client and from the server
	Mark              uint32 // see [Table.Mark]
	Created           int64  // see [Table.Created]
	Assured           bool   // see [Table.Assured]
}

// Copy returns a copy of the connection.
func (t *Table) Copy(c *Conn) (twin Copy) {
	t.CopyTo(&twin, c)
	return twin
}

// CopyTo makes to what [Table.Copy] returns.
func (t *Table) CopyTo(to *Copy, c *Conn) {
	// Field by field: a literal is made elsewhere and copied.
	r := t.rest(c)
	to.Conn = *c
	to.InBytes, to.OutBytes = uint64(r.inBytes)<<32|uint64(c.inBytes), uint64(r.outBytes)<<32|uint64(c.outBytes)
	to.Mark, to.Created, to.Assured = t.Mark(c), t.Created(c), t.Assured(c)
	to.ext = 0
	to.Flags &^= own
}

// StateName returns the state's name as ipvsadm -Lc shows it.
func (c *Copy) StateName() string {
	if c.Flags&Template != 0 {
		return state.TemplateName(c.Assured)
	}
	return state.Name(c.Proto, c.State)
}

package conntrack

import (
	"sync/atomic"

	"vsnat/conntrack/state"
)

// Connections that have a port of the director's own: see [Shard.Local].

// Book returns the table's book of ports, or nil as long as OpenBook was not
// called.
func (t *Table) Book() *Book { return t.book.Load() }

// OpenBook makes the book of ports, with room for twice as many as the table has
// connections, unless there is one.
func (t *Table) OpenBook() {
	if t.book.Load() == nil {
		t.book.CompareAndSwap(nil, newBook(int(t.max), t.seed))
	}
}

// portKey is what the connection is found by in the book. It reports false if it has no
// port.
func (s *Shard) portKey(c *Conn) (k PortKey, ok bool) {
	local, port := s.Local(c)
	if port == 0 {
		return k, false
	}
	return PortKey{Local: *local, LocalPort: port, Remote: c.Dest, RemotePort: c.DestPort, Proto: c.Proto}, true
}

// TakePort gives the connection, whose Dest and DestPort are set and stay as they
// are, that address and port (host byte order) of the director's own. It reports
// false if another connection to the same destination has it or had it just now.
// The port is given back when the connection goes. The book is open.
func (s *Shard) TakePort(c *Conn, local Addr, port uint16, now int64) bool {
	b := s.table.Book()
	k := PortKey{Local: local, LocalPort: port, Remote: c.Dest, RemotePort: c.DestPort, Proto: c.Proto}
	if !b.take(b.Hash(&k), Ref(s.number(c)), now) {
		return false
	}
	s.setLocal(c, local, port)
	return true
}

// TakePortOver is TakePort for a port whose connection was noted as over
// ([Shard.NotePort]) and which the far end may not have forgotten. It returns the
// sequence number that the far end awaits.
func (s *Shard) TakePortOver(c *Conn, local Addr, port uint16, now int64) (next uint32, ok bool) {
	b := s.table.Book()
	k := PortKey{Local: local, LocalPort: port, Remote: c.Dest, RemotePort: c.DestPort, Proto: c.Proto}
	if next, ok = b.takeOver(b.Hash(&k), Ref(s.number(c)), now); ok {
		s.setLocal(c, local, port)
	}
	return next, ok
}

// NotePort notes whether the connection is over, so that another may take its
// port. It reports false if another has taken it already.
func (s *Shard) NotePort(c *Conn, over bool, now int64) bool {
	return s.changeNote(c, func(note uint64) uint64 {
		note &^= 1<<32 - 1
		if over {
			note |= uint64(uint32((now + noteUnit - 1) / noteUnit))
		}
		return note
	})
}

// NoteNext notes the sequence number that the far end awaits when it has all that
// came from this side.
func (s *Shard) NoteNext(c *Conn, next uint32) {
	s.changeNote(c, func(note uint64) uint64 { return uint64(next)<<32 | note&(1<<32-1) })
}

func (s *Shard) changeNote(c *Conn, f func(note uint64) uint64) bool {
	k, ok := s.portKey(c)
	if !ok {
		return false
	}
	b := s.table.Book()
	return b.change(b.Hash(&k), Ref(s.number(c)), func(_, note *atomic.Uint64) { note.Store(f(note.Load())) })
}

// HasPort reports whether the connection has the port that [Shard.Local] returns:
// another one may have taken it over.
func (s *Shard) HasPort(c *Conn) bool {
	k, ok := s.portKey(c)
	if !ok {
		return false
	}
	b := s.table.Book()
	return b.Find(b.Hash(&k)) == Ref(s.number(c))
}

// IsPort reports whether the connection has the port of that key.
func (s *Shard) IsPort(c *Conn, k *PortKey) bool {
	local, port := s.Local(c)
	return port != 0 && port == k.LocalPort && c.DestPort == k.RemotePort && c.Proto == k.Proto &&
		c.Dest == k.Remote && *local == k.Local
}

// freePort gives the connection's port back, if it has one.
func (s *Shard) freePort(c *Conn) {
	k, ok := s.portKey(c)
	b := s.table.Book()
	if !ok || b == nil {
		return
	}
	until := int64(0)
	if c.Proto == protoTCP {
		until = c.Expires - c.Timeout() // about when its last packet came
		if state.TCP(c.State) == state.TCPClose {
			until += resetRest
		} else {
			until += portRest
		}
	}
	b.free(b.Hash(&k), Ref(s.number(c)), until)
}

// movePort has the book say that the connection is this one and not the record
// old any more.
func (s *Shard) movePort(c *Conn, old Ref) {
	k, ok := s.portKey(c)
	b := s.table.Book()
	if !ok || b == nil {
		return
	}
	hash := b.Hash(&k)
	b.change(hash, old, func(who, _ *atomic.Uint64) { who.Store(mark(hash) | uint64(Ref(s.number(c)))) })
}

const protoTCP = 6

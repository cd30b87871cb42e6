package conntrack

import (
	"slices"
	"sync"
	"sync/atomic"
)

// A connection that has a port of the director's own, and else nothing that needs an
// [Ext], keeps it where else the extension's number stands: the port, and the number of
// its address among those that any connection has had one on. They are few, and so
// both are at hand without another cache line of the connection's.
const (
	inline      = 1 << 31
	inlineShift = 16
	maxLocals   = 1<<(31-inlineShift) - 1
)

// locals are these addresses by number; they only become more. The zero value is
// empty.
type locals struct {
	mu   sync.Mutex // of who adds one
	list atomic.Pointer[[]Addr]
}

// number returns the address's number. It reports false if there are too many.
func (l *locals) number(a Addr) (uint32, bool) {
	if i := slices.Index(l.all(), a); i >= 0 {
		return uint32(i), true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.all()
	if i := slices.Index(all, a); i >= 0 {
		return uint32(i), true
	}
	if len(all) > maxLocals {
		return 0, false
	}
	more := append(slices.Clone(all), a)
	l.list.Store(&more)
	return uint32(len(all)), true
}

func (l *locals) all() []Addr {
	if p := l.list.Load(); p != nil {
		return *p
	}
	return nil
}

// Local returns the director's own address and port (host byte order) that the
// connection's server sees as the client's, nil and 0 if the source is not rewritten.
// The address must not be changed.
func (s *Shard) Local(c *Conn) (*Addr, uint16) {
	if c.ext&inline != 0 {
		return &s.table.locals.all()[c.ext&^inline>>inlineShift], uint16(c.ext)
	}
	if c.ext == 0 {
		return nil, 0
	}
	if x := s.exts.at(c.ext); x.localPort != 0 {
		return &x.local, x.localPort
	}
	return nil, 0
}

// setLocal sets what Local returns; port is not 0.
func (s *Shard) setLocal(c *Conn, a Addr, port uint16) {
	if c.ext == 0 || c.ext&inline != 0 {
		if n, ok := s.table.locals.number(a); ok {
			c.ext = inline | n<<inlineShift | uint32(port)
			return
		}
	}
	x := s.Extend(c)
	x.local, x.localPort = a, port
}

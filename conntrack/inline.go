package conntrack

// What many connections have of an [Ext], if all of them have any of it, stands where else
// the extension's number does, so that it is at hand without another cache line: a port
// of the director's own and the number of its address, with the highest bit set, or a
// mark's number and 1. A connection that has both, or needs an extension for something
// else, has them there.
const (
	inlinePort  = 1 << 31
	inlineShift = 16
	maxInline   = 1<<(31-inlineShift) - 1 // an address's number
)

// Local returns the director's own address and port (host byte order) that the
// connection's server sees as the client's, nil and 0 if the source is not rewritten.
// The address must not be changed.
func (s *Shard) Local(c *Conn) (*Addr, uint16) {
	addr, port := uint32(0), uint16(0)
	switch {
	case c.Extended():
		x := s.exts.at(c.ext)
		addr, port = x.local, x.localPort
	case c.ext&inlinePort != 0:
		addr, port = c.ext&^inlinePort>>inlineShift, uint16(c.ext)
	}
	if port == 0 {
		return nil, 0
	}
	return &s.table.locals.all()[addr], port
}

// setLocal sets what Local returns; port is not 0.
func (s *Shard) setLocal(c *Conn, a Addr, port uint16) {
	n := s.table.locals.number(a)
	if n <= maxInline && !c.Extended() && (c.ext == 0 || c.ext&inlinePort != 0) {
		c.ext = inlinePort | n<<inlineShift | uint32(port)
		return
	}
	x := s.Extend(c)
	x.local, x.localPort = n, port
}

// Mark returns the firewall mark of the connection, which may be a copy; 0 is none.
func (t *Table) Mark(c *Conn) uint32 {
	switch {
	case c.Extended():
		return t.exts[c.ext].mark
	case c.ext == 0 || c.ext&inlinePort != 0:
		return 0
	}
	return t.marks.all()[c.ext-1]
}

// SetMark sets what Mark returns. The connection's shard is locked, if it is in one.
func (t *Table) SetMark(c *Conn, mark uint32) {
	switch {
	case mark == t.Mark(c):
	case !c.Extended() && c.ext&inlinePort == 0:
		if c.ext = 0; mark != 0 {
			c.ext = t.marks.number(mark) + 1
		}
	default:
		t.HomeOf(c).Extend(c).mark = mark
	}
}

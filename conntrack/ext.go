package conntrack

// SeqAdj is how one direction of a TCP stream is moved: sequence numbers up to
// and including Pos by Before, later ones by After, both in bytes. It is the
// record of one resizing and of all before it together, as the kernel keeps it
// (struct nf_ct_seqadj, include/net/netfilter/nf_conntrack_seqadj.h).
type SeqAdj struct {
	Pos           uint32 // sequence number, host byte order
	Before, After int32
}

// Ext is what few connections need beyond their [Conn]: 64 bytes without
// pointers. It is read and written under the connection's shard's lock.
type Ext struct {
	// See [Shard.Local] and [Table.Mark].
	mark      uint32
	local     uint32 // the address's number
	localPort uint16

	// Helper is the number of the helper that looks into the payload, 0 for none,
	// and HelperState what it keeps there.
	Helper      uint8
	_           uint8
	HelperState [16]byte

	// In moves the client's stream as the server sees it, Out the server's as
	// the client sees it.
	In, Out SeqAdj

	data uint32 // first block of the template's data, 0 for none; of a free one the next
	_    [8]byte
}

// extensions are a shard's records of [Ext]. There may be as many as connections.
type extensions struct {
	all []Ext // immutable: those of the whole table
	own numbers
}

func (x *extensions) at(id uint32) *Ext { return &x.all[id] }

// takeExt returns the number of a zeroed extension.
func (s *Shard) takeExt() uint32 {
	x := &s.exts
	if id := x.own.free; id != 0 {
		e := x.at(id)
		x.own.free = e.data
		*e = Ext{}
		return id
	}
	return x.own.take(&s.table.extsPool, s.num)
}

// release frees the extension with that number.
func (x *extensions) release(id uint32) { x.at(id).data, x.own.free = x.own.free, id }

func (x *extensions) bytes() int { return int(x.own.used) * extSize }

// Extended reports whether the connection has an extension.
func (c *Conn) Extended() bool { return c.Flags&extended != 0 }

// Ext returns the connection's extension, or nil if it has none. It is good as
// long as the *Conn.
func (s *Shard) Ext(c *Conn) *Ext {
	if !c.Extended() {
		return nil
	}
	return s.exts.at(c.ext)
}

// Extend returns the connection's extension, a zeroed one if it had none. It
// goes with the connection.
func (s *Shard) Extend(c *Conn) *Ext {
	if c.Extended() {
		return s.exts.at(c.ext)
	}
	was, mark := c.ext, s.table.Mark(c)
	c.ext = s.takeExt()
	c.Flags |= extended
	x := s.exts.at(c.ext)
	if x.mark = mark; was&inlinePort != 0 {
		x.local, x.localPort = was&^inlinePort>>inlineShift, uint16(was)
	}
	return x
}

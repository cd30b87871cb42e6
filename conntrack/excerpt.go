package conntrack

import (
	"math"
	"sync/atomic"

	"vsnat/conntrack/wheel"
)

// excerptRoom is how many connections may be added to an excerpt, if the table
// itself has room for as many.
const excerptRoom = 64

// Excerpt returns a table of copies: of the connections of some clients, those
// that a packet from there would make its own, those that have certain ports, and
// what controls them. Of a key the client's address, port and protocol count; port
// 0 is for templates. What happens in the excerpt is not seen in t. It has room for
// more connections if t has, and is for work on few.
func (t *Table) Excerpt(clients []Key, ports []PortKey) (*Table, error) {
	o, err := build(Config{Shards: 1, Buckets: t.buckets}, false)
	if err != nil {
		return nil, err
	}
	o.seed, o.locals, o.marks = t.seed, t.locals, t.marks
	x := excerpt{from: t, to: o, twins: make(map[Ref]Ref)}
	for i := range clients {
		k := &clients[i]
		x.chain(t.Shard(t.Hash(k.Proto, k.Client, k.ClientPort)), k, k.ClientPort)
		if k.ClientPort != 0 && t.noCPort.Load() != 0 {
			x.chain(t.NoCPort(), k, 0)
		}
	}
	book := t.Book()
	if book != nil {
		for i := range ports {
			x.port(book.Find(book.Hash(&ports[i])))
		}
	}
	o.max = o.n.Load() + max(0, min(t.max-t.n.Load(), excerptRoom))
	if book != nil {
		o.OpenBook()
		x.book(book)
		o.Book().original = book
	}
	return o, nil
}

// port copies the connection that has a port, if there is one.
func (x *excerpt) port(r Ref) {
	if r == 0 {
		return
	}
	s := x.from.Home(r)
	s.Lock()
	c := s.Get(r)
	var twin copied
	if c != nil {
		twin = s.copied(c)
	}
	s.Unlock()
	if c != nil {
		x.add(&twin)
	}
}

// book gives the copies the ports that their originals have.
func (x *excerpt) book(from *Book) {
	for was, is := range x.twins {
		s := x.to.Home(is)
		s.Lock()
		if k, ok := s.portKey(s.Get(is)); ok {
			hash, to := from.Hash(&k), x.to.Book()
			from.change(hash, was, func(_, note *atomic.Uint64) {
				if to.take(hash, is, math.MaxInt64) {
					to.change(hash, is, func(_, twin *atomic.Uint64) { twin.Store(note.Load()) })
				}
			})
		}
		s.Unlock()
	}
}

// copied is a connection with its extension.
type copied struct {
	Conn
	rest     rest
	ref      Ref
	mark     uint32
	ext      Ext
	extended bool
	data     []byte // of a template
	local    Addr   // and port, if it has one
	port     uint16
}

func (s *Shard) copied(c *Conn) copied {
	r := s.table.rest(c)
	d := copied{
		Conn: *c, ref: Ref(s.number(c)), mark: s.table.Mark(c),
		rest: rest{atomic.LoadUint32(&r.family), r.created, r.inBytes, r.outBytes},
	}
	if x := s.Ext(c); x != nil {
		d.ext, d.extended, d.data = *x, true, s.Data(c, nil)
	} else if a, port := s.Local(c); port != 0 {
		d.local, d.port = *a, port
	}
	return d
}

// excerpt is an excerpt under way.
type excerpt struct {
	from, to *Table
	twins    map[Ref]Ref // of those copied
}

// chain copies the connections of a client that are in shard s, oldest first.
func (x *excerpt) chain(s *Shard, k *Key, port uint16) {
	var all []copied
	s.Lock()
	for w := s.walk(x.from.Hash(k.Proto, k.Client, port)); ; {
		c := w.more(s)
		if c == nil {
			break
		}
		if c.Proto == k.Proto && c.Client == k.Client && c.ClientPort == port {
			all = append(all, s.copied(c))
		}
	}
	s.Unlock()
	for i := len(all) - 1; i >= 0; i-- {
		x.add(&all[i])
	}
}

// add copies a connection, unless that was done, and what controls it.
func (x *excerpt) add(c *copied) Ref {
	if twin, done := x.twins[c.ref]; done {
		return twin
	}
	control := Ref(0)
	if c.Control != 0 {
		home := x.from.Home(c.Control)
		home.Lock()
		var parent copied
		if p := home.Get(c.Control); p != nil {
			parent = home.copied(p)
		}
		home.Unlock()
		if parent.ref != 0 { // else it has ended meanwhile
			control = x.add(&parent)
		}
	}
	s := x.to.Shard(0)
	if c.Flags&NoCPort != 0 {
		s = x.to.NoCPort()
	}
	s.Lock()
	defer s.Unlock()
	hash := x.to.Hash(c.Proto, c.Client, c.ClientPort)
	if len(c.data) > 0 {
		hash = x.to.HashData(c.data)
	}
	twin := s.Insert(hash, &Key{
		Client: c.Client, ClientPort: c.ClientPort, Virtual: c.Virtual, VirtualPort: c.VirtualPort, Proto: c.Proto,
	}, 0)
	ref := x.to.Ref(twin)
	*twin, x.to.rests[ref] = c.Conn, c.rest
	twin.Control, twin.ext = control, 0
	twin.Flags &^= extended
	x.to.SetMark(twin, c.mark)
	if c.extended {
		*s.Extend(twin) = c.ext
		s.Ext(twin).data = 0
	} else if c.port != 0 {
		s.setLocal(twin, c.local, c.port)
	}
	s.wheel.Set(uint32(ref), wheel.TickOf(twin.Expires))
	if len(c.data) > 0 {
		s.Ext(twin).data = s.data.put(c.data)
	}
	x.twins[c.ref] = ref
	return ref
}

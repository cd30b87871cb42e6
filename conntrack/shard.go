package conntrack

import (
	"encoding/binary"
	"math"
	"math/bits"
	"sync"

	"vsnat/conntrack/wheel"
)

// Shard is a part of a table with a lock of its own. Every method but Lock and
// Unlock is called with the lock held, and a *Conn it returns is good until
// the lock is given up or the connection removed.
type Shard struct {
	// What every search needs is one cache line, and no other shard's.
	mu      sync.Mutex
	index   index
	records []Conn // immutable: those of the whole table

	table *Table  // immutable
	num   uint32  // immutable: its place in the table
	own   numbers // of records
	more  overflow
	exts  extensions
	data  dataStore
	wheel wheel.Wheel
	_     [56]byte // up to a whole number of cache lines
}

// init makes the shard ready to have so many connections.
func (s *Shard) init(t *Table, num uint32, conns int, lines []line, nodes []wheel.Node) {
	s.table, s.num, s.records = t, num, t.records
	s.own.room = uint32(blocksOf(conns))
	s.more.all, s.more.own.room = t.spills, s.own.room
	s.exts.all, s.exts.own.room = t.exts, s.own.room
	s.index.lines, s.index.ids = lines, uint32(1<<bits.Len(uint(len(t.records)-1))-1)
	s.wheel.Init(nodes)
}

// Lock locks the shard.
func (s *Shard) Lock() { s.mu.Lock() }

// Unlock unlocks the shard.
func (s *Shard) Unlock() { s.mu.Unlock() }

func (s *Shard) record(id uint32) *Conn { return &s.records[id] }

// number is the inverse of record.
func (s *Shard) number(c *Conn) uint32 { return numberOf(c, s.records) }

// In finds the connection of a packet from client to virtual server
// (ip_vs_conn_in_get), the newest if several have the key. If there is none,
// a connection that waits for its client's port takes k's and moves here.
//
// A client port 0 finds only connections that wait for their port, as in the
// kernel.
func (s *Shard) In(hash uint64, k *Key) *Conn {
	if k.ClientPort != 0 {
		if c := s.Known(Hint{}, hash, k); c != nil {
			return c
		}
	}
	if s.table.noCPort.Load() == 0 {
		return nil
	}
	return s.claim(hash, k)
}

// Known is [Shard.In] without the connections that wait for their client's port. The
// key has a client port. The hint is one that [Table.Prefetch] left for the hash, or zero.
func (s *Shard) Known(h Hint, hash uint64, k *Key) *Conn {
	w := walk{}
	for c := s.hinted(h); c != nil; c = w.next(s, hash) {
		if c.ClientPort == k.ClientPort && c.VirtualPort == k.VirtualPort && c.Proto == k.Proto &&
			Same(&c.Client, &k.Client) && Same(&c.Virtual, &k.Virtual) {
			return c
		}
	}
	return nil
}

// Same reports whether two addresses are the same, without the call that comparing
// arrays is.
func Same(a, b *Addr) bool {
	le := binary.LittleEndian
	return le.Uint64(a[:8]) == le.Uint64(b[:8]) && le.Uint64(a[8:]) == le.Uint64(b[8:])
}

// Out finds the connection of a packet from a server to its client
// (ip_vs_conn_out_get): masquerading servers send from their own address and
// port, the others from the virtual one; those of [Book] are not found. In k the
// packet's source stands as Virtual, its destination as Client. Templates are never
// found. The hint is as for [Shard.Known].
func (s *Shard) Out(h Hint, hash uint64, k *Key) *Conn {
	w := walk{}
	for c := s.hinted(h); c != nil; c = w.next(s, hash) {
		if c.ClientPort == k.ClientPort && c.Proto == k.Proto && Same(&c.Client, &k.Client) && c.Flags&(Template|NoCPort) == 0 {
			addr, port, method := &c.Virtual, c.VirtualPort, c.Method()
			if method == Masq {
				addr, port = &c.Dest, c.DestPort
			}
			if port == k.VirtualPort && Same(addr, &k.Virtual) && method < Full {
				return c
			}
		}
	}
	return nil
}

// Template finds a persistence template without data (ip_vs_ct_in_get), the newest
// if several have the key.
func (s *Shard) Template(hash uint64, k *Key) *Conn {
	for w := s.walk(hash); ; {
		c := w.more(s)
		if c == nil {
			return nil
		}
		if c.ClientPort == k.ClientPort && c.VirtualPort == k.VirtualPort && c.Proto == k.Proto &&
			c.Flags&Template != 0 && c.Client == k.Client && c.Virtual == k.Virtual && !s.hasData(c) {
			return c
		}
	}
}

// Get returns the connection with this reference, which must be of this shard,
// or nil when it was removed.
func (s *Shard) Get(r Ref) *Conn {
	if r == 0 || uint32(r) >= s.table.pool.handedOut() || s.table.pool.home(uint32(r)) != s.num {
		return nil
	}
	if c := s.record(uint32(r)); c.Flags&inUse != 0 {
		return c
	}
	return nil
}

// Insert adds a connection with this key, created now and else zero, in front
// of older ones with the same key, or returns nil if the table is full, or the shard,
// which [Config.Max] bounds. Its timer is not armed: the caller does that before it
// unlocks.
func (s *Shard) Insert(hash uint64, k *Key, now int64) *Conn {
	if !s.table.reserve() {
		return nil
	}
	id := s.take()
	if id == 0 {
		s.table.n.Add(-1)
		return nil
	}
	c := s.record(id)
	c.Client, c.Virtual = k.Client, k.Virtual
	c.ClientPort, c.VirtualPort, c.Proto = k.ClientPort, k.VirtualPort, k.Proto
	s.table.rests[id].created = uint32(min(max(now, 0), MaxTime) / wheel.Tick)
	if s.waits() {
		c.ClientPort = 0
		c.Flags |= NoCPort
		s.table.noCPort.Add(1)
	}
	s.enter(id, hash)
	return c
}

// Arm sets the timer to fire timeout nanoseconds from now; a negative timeout
// counts as 0. The wheel is touched only if the timer must fire in an earlier tick than
// it had to: a later time is found out when the wheel asks.
func (s *Shard) Arm(c *Conn, now, timeout int64) {
	c.SetTimeout(timeout)
	s.arm(c, now, timeout)
}

// Rearm is [Shard.Arm] with the connection's timeout as it is.
func (s *Shard) Rearm(c *Conn, now int64) { s.arm(c, now, c.Timeout()) }

func (s *Shard) arm(c *Conn, now, timeout int64) {
	now = min(now, MaxTime)
	s.expire(c, now+min(max(timeout, 0), MaxTime-now))
}

// expire has the timer fire then.
func (s *Shard) expire(c *Conn, at int64) {
	before := c.Expires - 1
	if c.Expires = at; uint64(at) <= uint64(before) { // also if it is the first time
		s.forward(c, before)
	}
}

// forward puts a timer forward that was to fire after a time. Workers' clocks are a little
// apart: a difference within a tick is none.
func (s *Shard) forward(c *Conn, before int64) {
	if due := wheel.TickOf(c.Expires); before < 0 || due < wheel.TickOf(before+1) {
		s.wheel.Set(s.number(c), due)
	}
}

// Remove takes the connection out of the table, releases its Control and frees
// the record. A connection with children stays, and so does one of another
// shard: Remove does nothing then and returns false.
func (s *Shard) Remove(c *Conn) bool {
	id := s.number(c)
	if c.Flags&inUse == 0 || s.table.pool.home(id) != s.num || s.table.Children(c) != 0 {
		return false
	}
	if c.Control != 0 {
		s.table.Release(c.Control)
	}
	s.drop(id, c)
	s.table.n.Add(-1)
	return true
}

// Advance says that it is now and calls fire for the connections whose time
// has come, never early and, while Advance is called once a tick
// ([wheel.Tick]) and does not hit limit, at most a tick late. fire removes the
// connection or arms it again; one it leaves alone is asked about again in the next
// tick at the latest. fire runs under the shard's lock.
//
// limit bounds the timers that are handled, those that only move in the wheel
// included. Advance returns their number; less than limit means that nothing
// is left to do. A time before the last one counts as the last one for the
// wheel, so nothing fires early when the clock steps back.
func (s *Shard) Advance(now int64, fire func(*Conn), limit int) int {
	now = min(now, MaxTime)
	budget := limit
	due := func(id uint32) int64 { return wheel.TickOf(s.record(id).Expires) }
	for {
		id := s.wheel.Next(now, &budget, due)
		if id == 0 {
			return limit - budget
		}
		c := s.record(id)
		if c.Expires <= now {
			fire(c)
		}
		if c.Flags&inUse != 0 && !s.wheel.IsSet(id) {
			// Not before the tick after now: the wheel may stand in the
			// middle of a jump to now.
			s.wheel.Set(id, wheel.TickOf(max(c.Expires, now+1)))
		}
	}
}

// claim gives the connection that waits for k's port that port and moves it
// here. The two locks are always taken in this order.
func (s *Shard) claim(hash uint64, k *Key) *Conn {
	w := s.table.NoCPort()
	if s == w {
		return nil
	}
	w.Lock()
	defer w.Unlock()
	for found := w.walk(s.table.Hash(k.Proto, k.Client, 0)); ; {
		old := found.more(w)
		if old == nil {
			return nil
		}
		if old.VirtualPort != k.VirtualPort || old.Proto != k.Proto || old.Client != k.Client || old.Virtual != k.Virtual {
			continue
		}
		id := s.take()
		if id == 0 {
			return nil
		}
		c, was := s.record(id), w.number(old)
		*c, s.table.rests[id] = *old, s.table.rests[was]
		c.ClientPort = k.ClientPort
		c.Flags &^= NoCPort
		s.enter(id, hash)
		if x := w.Ext(old); x != nil {
			c.Flags &^= extended
			c.ext = 0
			*s.Extend(c) = *x
		}
		s.movePort(c, Ref(was))
		if w.wheel.IsSet(was) {
			s.wheel.Set(id, wheel.TickOf(c.Expires))
		}
		w.drop(was, old)
		return c
	}
}

// waits reports whether this is the shard of NoCPort.
func (s *Shard) waits() bool { return s.num == uint32(len(s.table.shards)-1) }

// MaxTime is where the engine's clock ends for the table, in nanoseconds: nine
// years after its 0. Later times count as this one, so timers fire at once.
const MaxTime = (math.MaxUint32 - 1) * wheel.Tick

// hash returns what the connection is in the index under.
func (s *Shard) hash(c *Conn) uint64 {
	if c.Flags&Template != 0 && s.hasData(c) {
		var buf [MaxData]byte
		return s.table.HashData(s.Data(c, buf[:0]))
	}
	return s.table.Hash(c.Proto, c.Client, c.ClientPort)
}

// take returns the number of a record that is in use from now on, else zeroed and not in
// the index yet; 0 if the shard has its share.
func (s *Shard) take() uint32 {
	id := s.own.free
	if id != 0 {
		if s.own.free = s.record(id).ext; s.own.free != 0 {
			prefetch(s.record(s.own.free)) // for the shard's next connection
		}
	} else if id = s.own.take(&s.table.pool, s.num); id == 0 {
		return 0
	}
	c := s.record(id)
	c.ext, c.Flags = 0, inUse
	return id
}

// drop frees record c, which has that number.
func (s *Shard) drop(id uint32, c *Conn) {
	s.wheel.Del(id)
	s.leave(id, s.hash(c))
	s.freePort(c)
	if s.hasData(c) {
		s.data.release(s.exts.at(c.ext).data)
	}
	if c.Extended() {
		s.exts.release(c.ext)
	}
	*c, s.table.rests[id] = Conn{ext: s.own.free}, rest{}
	s.own.free = id
	if s.waits() {
		s.table.noCPort.Add(-1)
	}
}

// each calls f for all connections of the block of records that begins with that number,
// and reports false if f did.
func (s *Shard) each(block uint32, f func(*Conn) bool) bool {
	s.Lock()
	defer s.Unlock()
	for i := range s.records[block : block+blockLen] {
		if c := s.record(block + uint32(i)); c.Flags&inUse != 0 && !f(c) {
			return false
		}
	}
	return true
}

// bytes returns how much memory the shard has taken. Each connection takes at most one
// page of the index.
func (s *Shard) bytes() int {
	used := int(s.own.used)
	return shardSize + used*(connSize+restSize+nodeSize) + min(used*pageSize, len(s.index.lines)*lineSize) +
		s.more.bytes() + s.exts.bytes() + s.data.bytes()
}

// reserve counts one more connection unless the table is full.
func (t *Table) reserve() bool {
	for {
		n := t.n.Load()
		if n >= t.max {
			return false
		}
		if t.n.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

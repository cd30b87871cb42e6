package conntrack

import (
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"vsnat/conntrack/wheel"
)

// seeded returns a generator whose seed is in the test's log; CONNTRACK_SEED
// repeats a run.
func seeded(t *testing.T) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	if v := os.Getenv("CONNTRACK_SEED"); v != "" {
		var err error
		if seed, err = strconv.ParseUint(v, 0, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("CONNTRACK_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// mconn is a connection of the model. The server tells it from others with its key.
type mconn struct {
	Key
	dest     Addr
	destPort uint16
	flags    Flags
	server   uint32
	mark     uint32
	created  int64
	expires  int64
	timeout  int64
	asked    int64 // when fire left it alone; -1 is never since it was armed
	ext      bool  // has an extension, with the server's number in it
}

// model is the table as one list, newest first.
type model []*mconn

func (m model) find(match func(*mconn) bool) *mconn {
	if i := slices.IndexFunc(m, match); i >= 0 {
		return m[i]
	}
	return nil
}

func (m *model) insert(c *mconn) { *m = slices.Insert(*m, 0, c) }

func (m *model) remove(c *mconn) {
	*m = slices.DeleteFunc(*m, func(x *mconn) bool { return x == c })
}

// in is ip_vs_conn_in_get as the specification words it, with what the kernel
// does next to a connection that waited for its client's port.
func (m *model) in(k Key) *mconn {
	if k.ClientPort != 0 {
		if c := m.find(func(c *mconn) bool { return c.Key == k && c.flags&NoCPort == 0 }); c != nil {
			return c
		}
	}
	wild := k
	wild.ClientPort = 0
	c := m.find(func(c *mconn) bool { return c.Key == wild && c.flags&NoCPort != 0 })
	if c != nil {
		m.remove(c)
		c.ClientPort, c.flags = k.ClientPort, c.flags&^NoCPort
		m.insert(c)
	}
	return c
}

func (m model) out(proto uint8, src Addr, sport uint16, client Addr, cport uint16) *mconn {
	return m.find(func(c *mconn) bool {
		addr, port := c.Virtual, c.VirtualPort
		if c.flags&MethodMask == Flags(Masq) {
			addr, port = c.dest, c.destPort
		}
		return c.flags&(Template|NoCPort) == 0 && c.Proto == proto && c.Client == client && c.ClientPort == cport && addr == src && port == sport
	})
}

func (m model) template(k Key) *mconn {
	return m.find(func(c *mconn) bool { return c.flags&Template != 0 && c.Key == k })
}

// pair runs a table and its model side by side.
type pair struct {
	t     *testing.T
	rnd   *rand.Rand
	table *Table
	model model
	now   int64
	made  uint32 // connections
	space int    // how many of each there are: clients, ports
	fired int
}

func addr(net byte, i int) Addr {
	return Addr{10: 0xff, 11: 0xff, 12: net, 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)}
}

func (p *pair) key() Key {
	protos := [...]uint8{6, 17, 132}
	k := Key{
		Client:      addr(10, p.rnd.IntN(p.space)),
		Virtual:     addr(192, p.rnd.IntN(2)),
		ClientPort:  uint16(40000 + p.rnd.IntN(p.space)),
		VirtualPort: uint16(80 + p.rnd.IntN(2)),
		Proto:       protos[p.rnd.IntN(3)],
	}
	if p.rnd.IntN(50) == 0 {
		k.ClientPort = 0
	}
	return k
}

// home locks and returns the shard of a client, and its hash.
func (p *pair) home(proto uint8, client Addr, port uint16) (*Shard, uint64) {
	h := p.table.Hash(proto, client, port)
	s := p.table.Shard(h)
	s.Lock()
	return s, h
}

// same compares a connection of the table with the model's.
func (p *pair) same(what string, c *Conn, m *mconn) {
	p.t.Helper()
	switch {
	case c == nil && m == nil:
	case c == nil:
		p.t.Fatalf("%s: found nothing, want %+v", what, *m)
	case m == nil:
		p.t.Fatalf("%s: found %+v, want nothing", what, *c)
	default:
		got := mconn{
			Key{c.Client, c.Virtual, c.ClientPort, c.VirtualPort, c.Proto},
			c.Dest, c.DestPort, c.Flags &^ own, c.Server, p.table.Mark(c), p.table.Created(c), c.Expires, c.Timeout(), m.asked, p.extended(c),
		}
		if got != *m {
			p.t.Fatalf("%s: found\n%+v, want\n%+v", what, got, *m)
		}
	}
}

// extended reports whether the connection has an extension, which must be its
// own.
func (p *pair) extended(c *Conn) bool {
	x := p.table.HomeOf(c).Ext(c)
	if x != nil && *x != (Ext{In: SeqAdj{Pos: c.Server}, mark: p.table.Mark(c)}) {
		p.t.Fatalf("connection %d has the extension %+v", c.Server, *x)
	}
	return x != nil
}

func (p *pair) insert() {
	k := p.key()
	flags := Flags(p.rnd.IntN(4))
	wait := false
	switch p.rnd.IntN(8) {
	case 0:
		flags |= Template
		k.ClientPort = 0
	case 1:
		wait = true
		k.ClientPort = 0
	}
	s, h := p.home(k.Proto, k.Client, k.ClientPort)
	defer s.Unlock()
	if wait {
		s = p.table.NoCPort()
		s.Lock()
		defer s.Unlock()
	}
	c := s.Insert(h, &k, p.now)
	if (c == nil) != (len(p.model) == p.table.Max()) {
		p.t.Fatalf("insert with %d of %d connections gave %v", len(p.model), p.table.Max(), c)
	}
	if c == nil {
		return
	}
	if c.Flags&NoCPort != 0 != wait {
		p.t.Fatalf("flags %#x in a new connection", c.Flags)
	}
	p.made++
	c.Flags |= flags
	c.Server = p.made
	c.Dest, c.DestPort = addr(172, p.rnd.IntN(3)), uint16(8080+p.rnd.IntN(2))
	m := &mconn{Key: k, dest: c.Dest, destPort: c.DestPort, flags: c.Flags &^ own, server: p.made, created: p.now / wheel.Tick * wheel.Tick}
	if m.ext = p.rnd.IntN(4) == 0; m.ext {
		s.Extend(c).In.Pos = c.Server
	}
	p.remark(c, m)
	p.model.insert(m)
	p.arm(s, c, m)
	p.same("insert", c, m)
	if s.Get(p.table.Ref(c)) != c || p.table.HomeOf(c) != s {
		p.t.Fatalf("reference %#x does not lead to its connection", p.table.Ref(c))
	}
}

// remark gives a connection one of some marks, or none.
func (p *pair) remark(c *Conn, m *mconn) {
	marks := [...]uint32{0, 0, 7, 8, math.MaxUint32}
	m.mark = marks[p.rnd.IntN(len(marks))]
	p.table.SetMark(c, m.mark)
}

func (p *pair) timeout() int64 {
	timeouts := [...]int64{0, 1, wheel.Tick, 3e9, 10e9, 60e9, 120e9, 900e9, 3 * 86400e9}
	return timeouts[p.rnd.IntN(len(timeouts))]
}

func (p *pair) arm(s *Shard, c *Conn, m *mconn) {
	m.timeout, m.asked = p.timeout(), -1
	m.expires = p.now + m.timeout
	s.Arm(c, p.now, m.timeout)
	m.timeout = (m.timeout + jiffy - 1) / jiffy * jiffy
}

// look looks a key up in every way, with a connection's key half the time, and
// then perhaps arms or removes what it found.
func (p *pair) look() {
	k := p.key()
	src, sport := addr(172, p.rnd.IntN(3)), uint16(8080+p.rnd.IntN(2))
	if len(p.model) > 0 && p.rnd.IntN(2) == 0 {
		m := p.model[p.rnd.IntN(len(p.model))]
		k, src, sport = m.Key, m.dest, m.destPort
		if m.flags&MethodMask != Flags(Masq) {
			src, sport = m.Virtual, m.VirtualPort
		}
		if m.flags&NoCPort != 0 {
			k.ClientPort = uint16(40000 + p.rnd.IntN(p.space))
		}
	}
	s, h := p.home(k.Proto, k.Client, k.ClientPort)
	defer func() { s.Unlock() }()
	var c *Conn
	var m *mconn
	switch p.rnd.IntN(3) {
	case 0:
		c, m = s.In(h, &k), p.model.in(k)
		p.same("in", c, m)
	case 1:
		c, m = s.Out(Hint{}, h, &Key{Client: k.Client, Virtual: src, ClientPort: k.ClientPort, VirtualPort: sport, Proto: k.Proto}), p.model.out(k.Proto, src, sport, k.Client, k.ClientPort)
		p.same("out", c, m)
	case 2:
		k.ClientPort = 0
		c, m = nil, p.model.template(k)
		s.Unlock()
		s, h = p.home(k.Proto, k.Client, 0)
		c = s.Template(h, &k)
		p.same("template", c, m)
	}
	if c == nil {
		return
	}
	switch p.rnd.IntN(6) {
	case 0:
		p.remove(s, c, m)
	case 1:
		p.arm(s, c, m)
	case 2:
		p.remark(c, m)
	}
}

func (p *pair) remove(s *Shard, c *Conn, m *mconn) {
	ref := p.table.Ref(c)
	if !s.Remove(c) {
		p.t.Fatalf("could not remove %+v", *c)
	}
	if s.Get(ref) != nil || s.Remove(c) {
		p.t.Fatal("a removed connection is still there")
	}
	p.model.remove(m)
}

// step lets time go by and checks who fires.
func (p *pair) step() {
	steps := [...]int64{0, 1, wheel.Tick / 2, wheel.Tick, 5 * wheel.Tick, 2e9, 61e9, 3600e9, 10 * 86400e9}
	p.now += steps[p.rnd.IntN(len(steps))]
	for i := range p.table.Shards() {
		s := &p.table.Shards()[i]
		s.Lock()
		limit := 1 + p.rnd.IntN(50)
		for {
			n := s.Advance(p.now, func(c *Conn) { p.fire(s, c) }, limit)
			if n > limit {
				p.t.Fatalf("%d timers handled, limit %d", n, limit)
			}
			if n < limit {
				break
			}
		}
		s.Unlock()
	}
	for _, m := range p.model {
		if max(m.expires, m.asked) <= p.now-wheel.Tick {
			p.t.Fatalf("at %d a connection that expired at %d did not fire", p.now, m.expires)
		}
	}
}

func (p *pair) fire(s *Shard, c *Conn) {
	p.fired++
	m := p.model.find(func(m *mconn) bool { return m.server == c.Server })
	p.same("fire", c, m)
	if m.expires > p.now {
		p.t.Fatalf("at %d a connection that expires at %d fired", p.now, m.expires)
	}
	switch p.rnd.IntN(6) {
	case 0:
		p.arm(s, c, m)
	case 1:
		m.asked = p.now
	default:
		p.remove(s, c, m)
	}
}

// check compares all connections.
func (p *pair) check() {
	if got := p.table.Len(); got != len(p.model) {
		p.t.Fatalf("%d connections, want %d", got, len(p.model))
	}
	shown := map[uint32]bool{}
	p.table.Range(func(c *Conn) bool {
		shown[c.Server] = true
		return true
	})
	want := map[uint32]bool{}
	waiting := 0
	for _, m := range p.model {
		want[m.server] = true
		if m.flags&NoCPort != 0 {
			waiting++
		}
	}
	if !maps.Equal(shown, want) {
		p.t.Fatalf("Range showed %d connections, want %d", len(shown), len(want))
	}
	if got := p.table.noCPort.Load(); got != int64(waiting) {
		p.t.Fatalf("%d connections wait for their port, want %d", got, waiting)
	}
	for i := range p.table.shards {
		p.table.shards[i].verify(p.t)
	}
}

// verify checks that a shard's index and free list cover its records once.
func (s *Shard) verify(t *testing.T) {
	t.Helper()
	seen, spilt := map[uint32]bool{}, map[uint32]bool{}
	for i := range s.index.lines {
		l := &s.index.lines[i]
		check := func(e uint32) {
			id := e & s.index.ids
			c := s.record(id)
			if seen[id] || c.Flags&inUse == 0 || s.number(c) != id || s.table.block(id) != s || s.index.line(s.hash(c)) != l || e&^id != s.index.tag(s.hash(c)) {
				t.Fatalf("shard %d: record %d is in the wrong line: %+v", s.num, id, *c)
			}
			seen[id] = true
		}
		n := slices.Index(l[:], 0)
		if n < 0 {
			n = slots
			for o := l[slots]; o != 0; o = s.more.all[o].next {
				if spilt[o] {
					t.Fatalf("shard %d: spill %d is in use twice", s.num, o)
				}
				spilt[o] = true
				check(s.more.all[o].entry)
			}
		} else if !slices.Equal(l[n:], make([]uint32, len(l)-n)) {
			t.Fatalf("shard %d: line %d has gaps: %x", s.num, i, *l)
		}
		for _, e := range l[:n] {
			check(e)
		}
	}
	for o := s.more.own.free; o != 0; o = s.more.all[o].next {
		if spilt[o] {
			t.Fatalf("shard %d: spill %d is free and in use", s.num, o)
		}
		spilt[o] = true
	}
	if len(spilt) != int(s.more.own.used) {
		t.Fatalf("shard %d: %d spills are in use or free, want %d", s.num, len(spilt), s.more.own.used)
	}
	for id := range seen {
		if !s.wheel.IsSet(id) {
			t.Fatalf("shard %d: record %d has no timer", s.num, id)
		}
	}
	for id := s.own.free; id != 0; id = s.record(id).ext {
		if seen[id] || s.record(id).Flags != 0 || s.wheel.IsSet(id) {
			t.Fatalf("shard %d: record %d is free and in use", s.num, id)
		}
		seen[id] = true
	}
	exts := map[uint32]bool{0: true}
	for id := s.exts.own.free; id != 0; id = s.exts.at(id).data {
		if exts[id] {
			t.Fatalf("shard %d: extension %d is free twice", s.num, id)
		}
		exts[id] = true
	}
	for id := range seen {
		c := s.record(id)
		if !c.Extended() {
			continue
		}
		if exts[c.ext] {
			t.Fatalf("shard %d: extension %d of record %d is free or another's", s.num, c.ext, id)
		}
		exts[c.ext] = true
	}
	if len(exts)-1 != int(s.exts.own.used) {
		t.Fatalf("shard %d: %d extensions are in use or free, want %d", s.num, len(exts)-1, s.exts.own.used)
	}
	if len(seen) != int(s.own.used) {
		t.Fatalf("shard %d: %d records are in use or free, want %d", s.num, len(seen), s.own.used)
	}
}

func TestModel(t *testing.T) {
	rnd := seeded(t)
	for _, c := range []struct {
		shards, max, space, ops int
		lines                   int // of a shard's index; 0 are as many as there should be
	}{
		{1, 60, 2, 20_000, 0},  // equal keys, and the bound all the time
		{4, 300, 5, 20_000, 0}, // some
		{4, 300, 5, 20_000, 1}, // most are beyond the slots
		{1, 3000, 40, 12_000, 0},
		{16, 5000, 40, 12_000, 0},
	} {
		table, err := New(Config{Max: c.max, Shards: c.shards, Seed: rnd.Uint64()})
		if err != nil {
			t.Fatal(err)
		}
		for i := range table.shards {
			if x := &table.shards[i].index; c.lines > 0 {
				x.lines = x.lines[:c.lines]
			}
		}
		p := &pair{t: t, rnd: rnd, table: table, space: c.space, now: rnd.Int64N(1 << 57)}
		full := 0
		for i := range c.ops {
			switch op := rnd.IntN(200); {
			case op < 80:
				p.insert()
			case op < 199:
				p.look()
			default:
				p.step()
			}
			if len(p.model) == c.max {
				full++
			}
			if i%1000 == 0 {
				p.check()
			}
		}
		p.check()
		if p.fired == 0 || c.max < 1000 && full == 0 {
			t.Errorf("%+v: %d fired, full %d times: the test tests too little", c, p.fired, full)
		}
		// The end: everything goes, and the bound with it.
		for table.Len() > 0 {
			p.now += 4 * 86400e9
			p.step()
		}
		p.check()
	}
}

package conntrack

import (
	"math"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"vsnat/conntrack/wheel"
)

func newTable(t testing.TB, cfg Config) *Table {
	t.Helper()
	table, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// numbered returns one of many different keys.
func numbered(i int) Key {
	return Key{
		Client: addr(10, i/50000), ClientPort: uint16(1024 + i%50000),
		Virtual: addr(192, 0), VirtualPort: 80, Proto: 6,
	}
}

// add inserts and arms a connection. Its shard stays locked.
func add(t testing.TB, table *Table, k *Key, now, timeout int64) (*Shard, *Conn) {
	t.Helper()
	h := table.Hash(k.Proto, k.Client, k.ClientPort)
	s := table.Shard(h)
	s.Lock()
	c := s.Insert(h, k, now)
	if c == nil {
		t.Fatalf("no room with %d of %d connections", table.Len(), table.Max())
	}
	s.Arm(c, now, timeout)
	return s, c
}

func TestConfig(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		want string // part of the error
	}{
		{Config{}, ""},
		{Config{Max: 1, Shards: 1, Buckets: 256}, ""},
		{Config{Max: 100_000_000, Shards: 256, Buckets: 1 << 27}, ""},
		{Config{Max: -1}, "connections"},
		{Config{Max: 1<<22 + 1, Shards: 1}, "connections"},
		{Config{Shards: 3}, "shards"},
		{Config{Shards: -4}, "shards"},
		{Config{Shards: 512}, "shards"},
		{Config{Buckets: 128}, "table size"},
		{Config{Buckets: 5000}, "table size"},
		{Config{Buckets: 1 << 28}, "table size"},
	} {
		table, err := New(c.cfg)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%+v: %v", c.cfg, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%+v: error %v, want one about %q", c.cfg, err, c.want)
		case c.want == "" && c.cfg.Max == 0:
			if table.Max() != 1<<20 || table.Buckets() != 4096 || len(table.Shards()) != DefaultShards+1 {
				t.Errorf("defaults are %d connections, size %d, %d shards", table.Max(), table.Buckets(), len(table.Shards()))
			}
		}
	}
}

// TestHash checks that clients that differ in little spread over shards and
// buckets as evenly as chance does, and that the seed matters.
func TestHash(t *testing.T) {
	const n, bins = 1 << 16, 256
	table, other := newTable(t, Config{Shards: bins, Seed: 1}), newTable(t, Config{Shards: bins, Seed: 2})
	for name, client := range map[string]func(i int) (Addr, uint16){
		"ports of one client":       func(i int) (Addr, uint16) { return addr(10, 1), uint16(i) },
		"IPv4 clients of one port":  func(i int) (Addr, uint16) { return addr(10, i), 40000 },
		"IPv6 networks of one port": func(i int) (Addr, uint16) { return Addr{0: 0x20, 1: 1, 4: byte(i >> 8), 5: byte(i), 15: 1}, 40000 },
		"IPv6 hosts, port alike":    func(i int) (Addr, uint16) { return Addr{0: 0x20, 14: byte(i >> 8), 15: byte(i)}, uint16(i) },
	} {
		var shards, buckets, tags [bins]float64
		equal := 0
		for i := range n {
			a, port := client(i)
			h := table.Hash(6, a, port)
			shards[h>>56]++
			buckets[uint32(h)>>24]++
			tags[h>>32%bins]++
			for _, g := range []uint64{other.Hash(6, a, port), table.Hash(17, a, port)} {
				if g>>32 == h>>32 {
					equal++
				}
			}
		}
		if equal > 2 {
			t.Errorf("%s: %d hashes do not depend on seed or protocol", name, equal)
		}
		for part, counts := range map[string]*[bins]float64{"shards": &shards, "lines": &buckets, "tags": &tags} {
			chi2 := 0.0
			for _, c := range counts {
				chi2 += (c - n/bins) * (c - n/bins) / (n / bins)
			}
			// 255 degrees of freedom: deviation 22.6. Ports in steps come out
			// more even than chance, which is welcome.
			if chi2 > 255+8*22.6 {
				t.Errorf("%s, %s: chi square %.0f, want about 255", name, part, chi2)
			}
		}
	}
}

// TestFull finds every connection of a full table, and few are beyond the index's slots.
func TestFull(t *testing.T) {
	const n = 100_000
	table := newTable(t, Config{Max: n, Shards: 8, Seed: 7})
	for i := range n {
		k := numbered(i)
		s, c := add(t, table, &k, 0, 1e9)
		c.Server = uint32(i)
		for _, j := range []int{0, i / 3, i / 2, i} {
			old := numbered(j)
			h := table.Hash(old.Proto, old.Client, old.ClientPort)
			if o := table.Shard(h); o != s {
				continue
			}
			if f := s.In(h, &old); f == nil || f.Server != uint32(j) {
				t.Fatalf("with %d connections, number %d is %+v", i+1, j, f)
			}
		}
		s.Unlock()
	}
	beyond := 0
	for i := range table.shards {
		s := &table.shards[i]
		s.verify(t)
		for _, l := range s.index.lines {
			for o := l[slots]; o != 0; o = s.more.all[o].next {
				beyond++
			}
		}
	}
	if beyond > n/50 {
		t.Errorf("%d of %d connections are beyond the slots", beyond, n)
	}
}

// TestBytes checks what a connection costs, and that memory is used again.
func TestBytes(t *testing.T) {
	const n = 100_000
	table := newTable(t, Config{Max: n, Seed: 7})
	empty := table.Bytes()
	fill := func() int {
		for i := range n {
			k := numbered(i)
			s, _ := add(t, table, &k, 0, 1e9)
			s.Unlock()
		}
		return table.Bytes()
	}
	full := fill()
	if per := float64(full-empty) / n; per < 96+16+8+6 || per > 128 {
		t.Errorf("%.1f bytes a connection, want 112, 8 of timer, and 6.5 of index", per)
	}
	for i := range table.Shards() {
		s := &table.Shards()[i]
		s.Lock()
		s.Advance(1e12, func(c *Conn) { s.Remove(c) }, math.MaxInt)
		s.Unlock()
	}
	if table.Len() != 0 {
		t.Fatalf("%d connections are left", table.Len())
	}
	if again := fill(); again != full {
		t.Errorf("%d bytes when filled again, %d the first time", again, full)
	}
}

// TestArm checks that a timer that is put off costs the wheel nothing, and
// fires at the last time it was set to.
func TestArm(t *testing.T) {
	table := newTable(t, Config{})
	k := numbered(1)
	s, c := add(t, table, &k, 0, 60e9)
	defer s.Unlock()
	s.Arm(c, 1e9, 900e9)
	if c.Expires != 901e9 || c.Timeout() != 900e9 {
		t.Errorf("expires at %d, timeout %d", c.Expires, c.Timeout())
	}
	fired := 0
	fire := func(*Conn) { fired++ }
	if n := s.Advance(61e9, fire, 10); n == 0 || fired != 0 {
		t.Errorf("when the first time came %d timers were handled and %d fired, want some and 0", n, fired)
	}
	s.Arm(c, 100e9, 10e9)
	s.Advance(110e9-1, fire, 10)
	if fired != 0 {
		t.Error("fired early")
	}
	s.Advance(110e9+wheel.Tick, func(*Conn) { fired++; s.Remove(c) }, 10)
	if fired != 1 || table.Len() != 0 {
		t.Errorf("fired %d times, %d connections are left", fired, table.Len())
	}
}

// TestArmEnds arms for no time and for more than there is.
func TestArmEnds(t *testing.T) {
	table := newTable(t, Config{})
	k := numbered(1)
	now := int64(1 << 56)
	s, c := add(t, table, &k, now, math.MaxInt64)
	defer s.Unlock()
	if c.Expires != MaxTime {
		t.Errorf("expires at %d, want the end of time", c.Expires)
	}
	fired := 0
	fire := func(*Conn) { fired++ }
	s.Advance(now+1<<57, fire, math.MaxInt)
	if fired != 0 {
		t.Error("fired early")
	}
	now += 1 << 57
	s.Arm(c, now, -5)
	if c.Expires != now {
		t.Errorf("a negative timeout expires at %d, want now, %d", c.Expires, now)
	}
	s.Advance(now, fire, math.MaxInt)
	if fired != 0 {
		t.Error("fired in the tick it was armed in")
	}
	s.Advance(now+wheel.Tick, fire, math.MaxInt)
	if fired != 1 {
		t.Errorf("fired %d times in the next tick, want once", fired)
	}
	// Where the clock ends, timers fire.
	s.Arm(c, math.MaxInt64, 60e9)
	if n := s.Advance(math.MaxInt64, fire, 100); n == 100 || fired < 2 {
		t.Errorf("at the end of time %d timers were handled, and %d fired", n, fired)
	}
	if !s.Remove(c) {
		t.Error("a connection at the end of time cannot be removed")
	}
}

// TestClocksApart has two workers arm in turn, whose clocks are a little apart: the timer
// fires at the last time it was set to, be that in the tick of the time before or in an
// earlier one.
func TestClocksApart(t *testing.T) {
	for _, back := range []int64{1, 1000, wheel.Tick - 1, wheel.Tick, 3 * wheel.Tick} {
		for _, at := range []int64{100 * wheel.Tick, 100*wheel.Tick + 1, 100*wheel.Tick + 1000, 101*wheel.Tick - 1} {
			table := newTable(t, Config{})
			k := numbered(1)
			s, c := add(t, table, &k, 0, at)
			s.Arm(c, 0, at-back)
			s.Rearm(c, 0)
			s.Arm(c, 0, at-back)
			fired := 0
			fire := func(*Conn) { fired++; s.Remove(c) }
			due := wheel.TickOf(at-back) * wheel.Tick
			if s.Advance(due-1, fire, 10); fired != 0 && at-back > due-1 {
				t.Errorf("put forward by %d to %d it fired early", back, at-back)
			}
			if s.Advance(due, fire, 10); fired != 1 {
				t.Errorf("put forward by %d to %d it fired %d times by %d", back, at-back, fired, due)
			}
			s.Unlock()
		}
	}
}

// TestTimeStepsBack checks that nothing fires early then and nothing is lost.
func TestTimeStepsBack(t *testing.T) {
	table := newTable(t, Config{})
	k := numbered(1)
	s, c := add(t, table, &k, 1000e9, 10e9)
	defer s.Unlock()
	fired := 0
	fire := func(*Conn) { fired++ }
	s.Advance(1005e9, fire, 10)
	s.Arm(c, 900e9, 10e9)
	for now := int64(900e9); now < 910e9; now += 1e9 {
		s.Advance(now, fire, 10)
	}
	if fired != 0 {
		t.Fatalf("fired %d times before its time", fired)
	}
	s.Advance(1006e9, fire, 10)
	if fired != 1 {
		t.Errorf("fired %d times, want once", fired)
	}
}

// TestParent follows a template in one shard with children in others.
func TestParent(t *testing.T) {
	table := newTable(t, Config{Seed: 3})
	tk := numbered(0)
	tk.ClientPort = 0
	home, template := add(t, table, &tk, 0, 60e9)
	template.Flags |= Template
	ref := table.Ref(template)
	var children []*Conn
	for range 3 {
		table.Hold(ref)
	}
	home.Unlock()
	for i := range 3 {
		k := numbered(i)
		s, c := add(t, table, &k, 0, 60e9)
		c.Control = ref
		children = append(children, c)
		s.Unlock()
	}
	table.Assure(ref)
	remove := func(c *Conn) bool {
		s := table.HomeOf(c)
		s.Lock()
		defer s.Unlock()
		return s.Remove(c)
	}
	for i, c := range children {
		if got := table.Children(template); got != uint32(3-i) {
			t.Fatalf("%d children, want %d", got, 3-i)
		}
		if remove(template) {
			t.Fatal("a template with children was removed")
		}
		if !remove(c) {
			t.Fatalf("child %d was not removed", i)
		}
	}
	if twin := table.Copy(template); !table.Assured(template) || twin.StateName() != "ASSURED" {
		t.Error("the template is not assured")
	}
	if home.Get(ref) != template {
		t.Error("the reference was lost")
	}
	if !remove(template) || home.Get(ref) != nil {
		t.Error("the template without children was not removed")
	}
	// The record's next owner starts clean.
	s, c := add(t, table, &tk, 5, 60e9)
	defer s.Unlock()
	if c != template || table.Assured(c) || table.Children(c) != 0 || c.Control != 0 || c.Flags != inUse || table.Created(c) != 0 || s.Ext(c) != nil {
		t.Errorf("a record used again is %+v", *c)
	}
	if left := func() uint32 { table.Hold(table.Ref(c)); table.Hold(table.Ref(c)); return table.Release(table.Ref(c)) }(); left != 1 {
		t.Errorf("%d children are left, want 1", left)
	}
}

// TestGetNothing asks for references that name nothing here.
func TestGetNothing(t *testing.T) {
	table := newTable(t, Config{Shards: 2})
	k := numbered(1)
	s, c := add(t, table, &k, 0, 1e9)
	defer s.Unlock()
	for _, r := range []Ref{0, table.Ref(c) + 1, table.Ref(c) + blockLen, math.MaxUint32} {
		if s.Get(r) != nil {
			t.Errorf("reference %#x leads to a connection", r)
		}
	}
	if other := &table.Shards()[1-s.num]; other.Remove(c) || table.Len() != 1 {
		t.Error("another shard removed the connection")
	}
}

// TestRangeStops checks that Range ends when it is told to, with all unlocked.
func TestRangeStops(t *testing.T) {
	table := newTable(t, Config{})
	for i := range 100 {
		k := numbered(i)
		s, _ := add(t, table, &k, 0, 1e9)
		s.Unlock()
	}
	seen := 0
	table.Range(func(*Conn) bool { seen++; return seen < 42 })
	if seen != 42 {
		t.Errorf("saw %d connections after asking for 42", seen)
	}
	for i := range table.Shards() {
		if s := &table.Shards()[i]; !s.mu.TryLock() {
			t.Fatalf("shard %d stayed locked", i)
		} else {
			s.Unlock()
		}
	}
}

// TestBoundIsExact has several goroutines insert more than there is room for.
func TestBoundIsExact(t *testing.T) {
	const workers, limit = 4, 1000
	table := newTable(t, Config{Max: limit, Seed: 5})
	var done atomic.Int64
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range limit {
				k := numbered(w*limit + i)
				h := table.Hash(k.Proto, k.Client, k.ClientPort)
				s := table.Shard(h)
				s.Lock()
				if c := s.Insert(h, &k, 0); c != nil {
					s.Arm(c, 0, 1e9)
					done.Add(1)
				}
				s.Unlock()
			}
		})
	}
	wg.Wait()
	if done.Load() != limit || table.Len() != limit {
		t.Errorf("%d inserts worked and %d connections are there, want %d", done.Load(), table.Len(), limit)
	}
}

// TestTwoWorkers is for the race detector: workers that find, insert, hold and
// expire on all shards at once while somebody lists.
func TestTwoWorkers(t *testing.T) {
	const workers, rounds, keys = 2, 4000, 1500
	table := newTable(t, Config{Max: 1000, Shards: 4, Seed: 9})
	tk := numbered(0)
	tk.ClientPort = 0
	home, template := add(t, table, &tk, 0, math.MaxInt64)
	template.Flags |= Template
	ref := table.Ref(template)
	table.Hold(ref) // keeps it to the end
	home.Unlock()
	var now atomic.Int64
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range rounds {
				k := numbered(1 + (i*7+w*13)%keys)
				h := table.Hash(k.Proto, k.Client, k.ClientPort)
				s := table.Shard(h)
				s.Lock()
				c := s.In(h, &k)
				if c == nil {
					c = s.Insert(h, &k, now.Load())
					if c != nil {
						table.Hold(ref)
						c.Control = ref
						table.Assure(ref)
					}
				}
				if c != nil {
					c.InPkts++
					s.Arm(c, now.Load(), 20*wheel.Tick)
				}
				s.Unlock()
				switch i % 100 {
				case 0:
					at := now.Add(wheel.Tick)
					for j := range table.Shards() {
						s := &table.Shards()[j]
						s.Lock()
						s.Advance(at, func(c *Conn) { s.Remove(c) }, 100)
						s.Unlock()
					}
				case 20:
					wait := numbered(w)
					wait.ClientPort = 0
					n := table.NoCPort()
					n.Lock()
					if c := n.Insert(table.Hash(wait.Proto, wait.Client, 0), &wait, now.Load()); c != nil {
						n.Arm(c, now.Load(), wheel.Tick)
					}
					n.Unlock()
				case 50:
					table.Range(func(c *Conn) bool { return table.Children(c) > 0 || c.InPkts < math.MaxUint32 })
				}
			}
		})
	}
	wg.Wait()
	children := uint32(0)
	table.Range(func(c *Conn) bool {
		if c.Control == ref {
			children++
		}
		return true
	})
	if got := table.Children(template); got != children+1 {
		t.Errorf("the template counts %d children, want %d", got, children+1)
	}
	for i := range table.Shards() {
		table.Shards()[i].verify(t)
	}
}

func TestNoAllocs(t *testing.T) {
	const n = 2000
	table := newTable(t, Config{Seed: 1})
	now := int64(0)
	cycle := func() {
		for i := range n {
			k := numbered(i)
			h := table.Hash(k.Proto, k.Client, k.ClientPort)
			s := table.Shard(h)
			s.Lock()
			c := s.In(h, &k)
			if c == nil {
				c = s.Insert(h, &k, now)
			}
			s.Arm(c, now, int64(1+i%7)*60e9)
			s.Out(Hint{}, h, &Key{Client: k.Client, Virtual: k.Virtual, ClientPort: k.ClientPort, VirtualPort: k.VirtualPort, Proto: k.Proto})
			s.Template(h, &k)
			if s.Get(table.Ref(c)) != c {
				t.Fatal("lost")
			}
			if i%3 == 0 {
				s.Remove(c)
			}
			s.Unlock()
		}
		now += 100e9
		for i := range table.Shards() {
			s := &table.Shards()[i]
			s.Lock()
			s.Advance(now, func(c *Conn) { s.Remove(c) }, math.MaxInt)
			s.Unlock()
		}
		table.Range(func(c *Conn) bool { return c.Flags != 0 })
	}
	cycle()
	cycle()
	if got := testing.AllocsPerRun(20, cycle); got != 0 {
		t.Errorf("%v allocations, want none once warm", got)
	}
}

// TestShardFull fills one shard, with connections that the hash does not tell apart:
// it says so, the others go on, and it has room again for those that end.
func TestShardFull(t *testing.T) {
	table := newTable(t, Config{Max: 1 << 20, Shards: 64, Seed: 3})
	k := numbered(1)
	h := table.Hash(k.Proto, k.Client, k.ClientPort)
	s := table.Shard(h)
	s.Lock()
	n := 0
	var last *Conn
	for c := s.Insert(h, &k, 0); c != nil; c = s.Insert(h, &k, 0) {
		last = c
		n++
	}
	if least := 2 << 20 / 64; n < least || n > least+2*spareRecords || table.Len() != n {
		t.Errorf("a shard took %d connections, and %d are counted; want a few thousand more than %d", n, table.Len(), least)
	}
	if s.In(h, &k) != last {
		t.Error("the newest is not found")
	}
	s.Remove(last)
	if s.Insert(h, &k, 0) == nil || s.Insert(h, &k, 0) != nil {
		t.Error("there is not room for as many as before")
	}
	s.Unlock()
	for i := range 10_000 {
		k := numbered(i)
		h := table.Hash(k.Proto, k.Client, k.ClientPort)
		if o := table.Shard(h); o != s {
			o.Lock()
			if o.Insert(h, &k, 0) == nil {
				t.Fatalf("another shard has no room for connection %d", i)
			}
			o.Unlock()
		}
	}
}

// TestAllWait fills the table with connections that wait for their client's port, and
// then, when they have ended, with others: every shard has its own room.
func TestAllWait(t *testing.T) {
	const limit = 20_000
	table := newTable(t, Config{Max: limit, Shards: 4, Seed: 3})
	n := table.NoCPort()
	n.Lock()
	for i := range limit {
		k := Key{Client: addr(10, i), Virtual: addr(192, 0), VirtualPort: 20, Proto: 6}
		c := n.Insert(table.Hash(k.Proto, k.Client, 0), &k, 0)
		if c == nil {
			t.Fatalf("no room for connection %d of %d", i, limit)
		}
		n.Arm(c, 0, 1e9)
	}
	n.Advance(100e9, func(c *Conn) { n.Remove(c) }, math.MaxInt)
	n.Unlock()
	for i := range limit {
		k := numbered(i)
		s, _ := add(t, table, &k, 0, 1e9)
		s.Unlock()
	}
	if table.Len() != limit {
		t.Errorf("%d connections, want %d", table.Len(), limit)
	}
}

// TestShardKeepsTable collects garbage while only a shard of a table is known.
func TestShardKeepsTable(t *testing.T) {
	k := numbered(1)
	s, c := add(t, newTable(t, Config{}), &k, 0, 1e9)
	for range 3 {
		runtime.GC()
	}
	if c.Client != k.Client || !s.Remove(c) {
		t.Error("the connection is not as it was")
	}
	s.Unlock()
}

// TestShardOutOfNumbers pretends that a shard has had its share.
func TestShardOutOfNumbers(t *testing.T) {
	table := newTable(t, Config{Shards: 1})
	s := &table.Shards()[0]
	s.Lock()
	s.own.room = 0
	k := numbered(1)
	if c := s.Insert(1, &k, 0); c != nil || table.Len() != 0 {
		t.Errorf("insert gave %v, %d connections are counted", c, table.Len())
	}
	s.Unlock()
	// A connection that waits for its port goes on waiting.
	wait := k
	wait.ClientPort = 0
	n := table.NoCPort()
	n.Lock()
	if n.Insert(table.Hash(k.Proto, k.Client, 0), &wait, 0) == nil {
		t.Fatal("no room")
	}
	n.Unlock()
	s.Lock()
	defer s.Unlock()
	if c := s.In(table.Hash(k.Proto, k.Client, k.ClientPort), &k); c != nil || table.Len() != 1 || table.noCPort.Load() != 1 {
		t.Errorf("found %v, %d connections, %d waiting", c, table.Len(), table.noCPort.Load())
	}
}

// TestPopulate has memory taken ahead of the connections, however many there are.
func TestPopulate(t *testing.T) {
	table, err := New(Config{Max: 1 << 17, Shards: 1})
	if err != nil {
		t.Fatal(err)
	}
	table.Populate()
	if table.populated != ahead {
		t.Errorf("memory for %d records at first, want %d", table.populated, ahead)
	}
	for s := &table.shards[0]; ; {
		for range ahead / 4 {
			if s.own.take(&table.pool, 0) == 0 {
				return // the shard has had its share
			}
		}
		table.Populate()
		if used := int(table.pool.handedOut()); table.populated < min(used+ahead/2, len(table.records)) || table.populated > len(table.records) {
			t.Fatalf("memory for %d of %d records, with %d in use", table.populated, len(table.records), used)
		}
	}
}

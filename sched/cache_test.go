package sched

import (
	"encoding/binary"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// cacheModel is lblc and lblcr by maps and slices.
type cacheModel struct {
	replicate  bool
	expiration int64
	entries    map[Addr]*modelEntry
	byAddr     map[endpoint]*Server // the latest object of each server
}

type modelEntry struct {
	set              []endpoint // newest first
	lastUse, lastMod int64
}

func (m *cacheModel) pick(list []*Server, req *Request) *Server {
	wlc := func(servers []*Server, available bool) *Server {
		return smallest(servers, func(s *Server) *big.Rat {
			if s.Weight <= 0 || s.Overloaded.Load() || (available && !s.Available) {
				return nil
			}
			return big.NewRat(load(s), int64(s.Weight))
		})
	}
	busy := func(s *Server) bool {
		return s.Active.Load() > s.Weight &&
			slices.ContainsFunc(list, func(x *Server) bool { return 2*x.Active.Load() < x.Weight })
	}
	e := m.entries[req.Virtual]
	if e != nil {
		e.lastUse = req.Now
		set := m.objects(e)
		var s *Server
		if m.replicate {
			s = wlc(set, true)
		} else if set[0].Available && set[0].Weight > 0 {
			s = set[0]
		}
		if m.replicate && len(set) > 1 && req.Now > e.lastMod+m.expiration {
			most := smallest(set, func(s *Server) *big.Rat {
				if s.Weight == 0 {
					return nil
				}
				return big.NewRat(-load(s), int64(s.Weight))
			})
			if i := slices.Index(set, most); i >= 0 {
				e.set = slices.Delete(e.set, i, i+1)
				e.lastMod = req.Now
			}
		}
		if s != nil && !busy(s) {
			return s
		}
	}
	s := wlc(list, false)
	if s == nil {
		return nil
	}
	if e == nil {
		e = &modelEntry{lastUse: req.Now}
		m.entries[req.Virtual] = e
	}
	name := endpoint{s.Addr, s.Port}
	switch {
	case !m.replicate:
		e.set = []endpoint{name}
	case !slices.Contains(e.set, name):
		e.set = slices.Insert(e.set, 0, name)
		e.lastMod = req.Now
	}
	return s
}

func (m *cacheModel) objects(e *modelEntry) []*Server {
	var set []*Server
	for _, name := range e.set {
		set = append(set, m.byAddr[name])
	}
	return set
}

// collect is the half-hourly collection.
func (m *cacheModel) collect(now int64) {
	for key, e := range m.entries {
		if now-e.lastUse >= m.expiration {
			delete(m.entries, key)
		}
	}
}

func cacheOf(s Scheduler) *cache {
	if l, ok := s.(*lblc); ok {
		return &l.cache
	}
	return &s.(*lblcr).cache
}

// TestCacheModels drives both caches and their model through changes of the
// list, servers that come back as the same or another object, load and time.
func TestCacheModels(t *testing.T) {
	random := newRandom(t)
	for _, name := range []string{"lblc", "lblcr"} {
		var shared int // picks whose entry has more than one member
		for range 8 {
			s := newScheduler(t, name)
			m := &cacheModel{
				replicate: name == "lblcr", expiration: int64(40 * time.Minute),
				entries: map[Addr]*modelEntry{}, byAddr: map[endpoint]*Server{},
			}
			s.Init(nil)
			s.(Cache).SetExpiration(time.Duration(m.expiration))
			c := cacheOf(s)
			var servers []*Server
			var gone []endpoint
			now := int64(time.Hour)
			nextFull := now + int64(30*time.Minute)
			s.(Cache).Tick(now)
			for step := range 5000 {
				now += random.Int64N(int64(10 * time.Second))
				if random.IntN(500) == 0 {
					now += random.Int64N(int64(25 * time.Minute))
				}
				if random.IntN(2) == 0 {
					s.(Cache).Tick(now)
				}
				for ; now >= nextFull; nextFull += int64(30 * time.Minute) {
					m.collect(nextFull)
				}
				switch n := random.IntN(100); {
				case n < 3 && len(servers) < 10:
					servers, gone = joins(random, m, servers, gone)
					s.Changed(Add, servers[0], 0, servers)
				case n < 5 && len(servers) > 0:
					at := random.IntN(len(servers))
					sv := servers[at]
					sv.Available = false
					gone = append(gone, endpoint{sv.Addr, sv.Port})
					servers = slices.Delete(slices.Clone(servers), at, at+1)
					s.Changed(Delete, sv, at, servers)
				case n < 10 && len(servers) > 0:
					at := random.IntN(len(servers))
					servers[at].Weight = random.Int32N(6)
					s.Changed(Edit, servers[at], at, servers)
				case n < 60 && len(servers) > 0:
					sv := servers[random.IntN(len(servers))]
					sv.Active.Store(random.Int32N(10))
					sv.Total.Store(sv.Active.Load() + random.Int32N(10))
					sv.Overloaded.Store(random.IntN(5) == 0)
				}
				req := &Request{Virtual: destination(random.Uint32N(40)), Now: now}
				want := m.pick(servers, req)
				if got := s.Pick(servers, req); got != want {
					t.Fatalf("%s, step %d: picked index %d of %s, want %d", name, step,
						slices.Index(servers, got), show(servers), slices.Index(servers, want))
				}
				if c.count != len(m.entries) {
					t.Fatalf("%s, step %d: %d entries, want %d", name, step, c.count, len(m.entries))
				}
				if e := m.entries[req.Virtual]; e != nil && len(e.set) > 1 {
					shared++
				}
			}
			checkSeats(t, c, m, servers)
		}
		if name == "lblcr" && shared == 0 {
			t.Error("no set ever had two members: the model saw nothing")
		}
	}
}

// joins adds a new server, or one that is gone as the object it was or another.
func joins(random *rand.Rand, m *cacheModel, servers []*Server, gone []endpoint) ([]*Server, []endpoint) {
	sv := &Server{Addr: addr("192.168.10.0"), Port: uint16(len(m.byAddr))}
	if len(gone) > 0 && random.IntN(2) == 0 {
		i := random.IntN(len(gone))
		name := gone[i]
		gone = slices.Delete(gone, i, i+1)
		sv.Addr, sv.Port = name.addr, name.port
		if random.IntN(2) == 0 {
			sv = m.byAddr[name]
		}
	}
	sv.Weight, sv.Available = random.Int32N(6), true
	m.byAddr[endpoint{sv.Addr, sv.Port}] = sv
	return slices.Insert(slices.Clone(servers), 0, sv), gone
}

// checkSeats compares the uses of seats with the sets and the list.
func checkSeats(t *testing.T, c *cache, m *cacheModel, servers []*Server) {
	t.Helper()
	uses := map[endpoint]int32{}
	for _, s := range servers {
		uses[endpoint{s.Addr, s.Port}]++
	}
	for _, e := range m.entries {
		for _, name := range e.set {
			uses[name]++
		}
	}
	if len(c.seats.byAddr) != len(uses) {
		t.Errorf("%d seats are taken, want %d", len(c.seats.byAddr), len(uses))
	}
	for name, n := range uses {
		if seat := c.seats.byAddr[name]; c.seats.uses[seat] != n {
			t.Errorf("seat of %v has %d uses, want %d", name, c.seats.uses[seat], n)
		}
	}
}

func destination(n uint32) Addr {
	a := addr("192.0.0.0")
	binary.BigEndian.PutUint32(a[12:], 192<<24|n)
	return a
}

// TestCacheBounds fills a cache, and follows it through the collections after.
func TestCacheBounds(t *testing.T) {
	for _, name := range []string{"lblc", "lblcr"} {
		t.Run(name, func(t *testing.T) {
			s := newScheduler(t, name)
			servers := service(s, 1, 2)
			c := cacheOf(s)
			minute := func(n int64) int64 { return int64(time.Hour) + n*int64(time.Minute) }
			req := &Request{}
			pick := func(n uint32, now int64) {
				t.Helper()
				req.Virtual, req.Now = destination(n), now
				if s.Pick(servers, req) == nil {
					t.Fatalf("none picked for destination %d", n)
				}
			}
			for n := range uint32(cacheCap + 100) { // the last 100 are not remembered
				pick(n, minute(0))
			}
			if c.count != 24576 {
				t.Fatalf("the full cache has %d entries, want 24576", c.count)
			}
			const fresh = 4000
			for n := range uint32(fresh) {
				pick(n, minute(4))
			}
			s.(Cache).Tick(minute(5))
			if c.count != 24576 {
				t.Fatalf("%d entries after 5 minutes, want all", c.count)
			}
			// After 6 minutes the goal is min(8192*4/3, 8192); the bucket that
			// reaches it is finished.
			s.(Cache).Tick(minute(6))
			if removed := 24576 - c.count; removed < 8192 || removed > 8192+100 {
				t.Fatalf("%d entries went after 6 minutes, want 8192 and the rest of a bucket", removed)
			}
			s.(Cache).Tick(minute(7))
			if after := c.count; after < 16384-100 || after > 16384 {
				t.Fatalf("%d entries after 7 minutes, want those of 6", after)
			}
			for n := range uint32(fresh) {
				if key := destination(n); c.lookup(&key, minute(4)) == nil {
					t.Fatalf("destination %d, used 2 minutes before, is forgotten", n)
				}
			}
			// Records of removed entries serve new ones.
			next := uint32(1 << 20)
			if n := testing.AllocsPerRun(1, func() {
				for range 1000 {
					next++
					pick(next, minute(7))
				}
			}); n != 0 {
				t.Errorf("1000 new entries in freed records allocate %v times", n)
			}
			// A day later the half-hourly collection takes all.
			for n := int64(8); n < 24*60+40; n++ {
				s.(Cache).Tick(minute(n))
			}
			if c.count != 0 {
				t.Errorf("%d entries after a day", c.count)
			}
			for b, n := range c.buckets {
				if n != 0 {
					t.Fatalf("bucket %d is not empty", b)
				}
			}
		})
	}
}

// New entries of a cache that grows allocate a chunk now and then, no more.
func TestCacheGrowth(t *testing.T) {
	for _, name := range []string{"lblc", "lblcr"} {
		s := newScheduler(t, name)
		servers := service(s, 1, 2)
		var next uint32
		req := &Request{Now: 1}
		const picks = 8 * chunkLen
		allocs := testing.AllocsPerRun(1, func() {
			for range picks {
				next++
				req.Virtual = destination(next)
				s.Pick(servers, req)
			}
		})
		// A chunk of entries, one of members, and the two slices of chunks.
		if allocs > 4*picks/chunkLen {
			t.Errorf("%s: %d new entries allocate %v times", name, picks, allocs)
		}
	}
}

// A cache nobody came to for long forgets what is old in one collection.
func TestCacheLongIdle(t *testing.T) {
	s := newScheduler(t, "lblc")
	servers := service(s, 1, 2)
	c := cacheOf(s)
	for n := range uint32(100) {
		s.Pick(servers, &Request{Virtual: destination(n), Now: 1})
	}
	now := int64(90 * 365 * 24 * time.Hour)
	s.Pick(servers, &Request{Virtual: destination(0), Now: now})
	if c.count != 1 {
		t.Errorf("%d entries after years, want 1", c.count)
	}
	if c.due != now+collectEvery {
		t.Errorf("the next collection is due at %d, want %d", c.due, now+collectEvery)
	}
}

// The kernel's rule: an overloaded server keeps its destinations in lblc, not in
// lblcr.
func TestCacheOverloaded(t *testing.T) {
	for name, want := range map[string]int{"lblc": 2, "lblcr": 1} {
		s := newScheduler(t, name)
		servers := service(s, 1, 1)
		req := &Request{Virtual: destination(1), Now: 1}
		if got := number(s.Pick(servers, req)); got != 2 {
			t.Fatalf("%s picked %d first, want 2", name, got)
		}
		servers[0].Overloaded.Store(true)
		if got := number(s.Pick(servers, req)); got != want {
			t.Errorf("%s picked %d after overload, want %d", name, got, want)
		}
	}
}

// A deleted server of an older list is picked but not remembered, for it has no
// seat any more.
func TestCacheOlderList(t *testing.T) {
	for _, name := range []string{"lblc", "lblcr"} {
		s := newScheduler(t, name)
		older := service(s, 1, 1)
		now := older[1:]
		older[0].Available = false
		s.Changed(Delete, older[0], 0, now)
		if got := number(s.Pick(older, &Request{Virtual: destination(1), Now: 1})); got != 2 {
			t.Errorf("%s picked %d of the older list, want 2", name, got)
		}
		c := cacheOf(s)
		if c.count != 0 || c.seats.uses[0] != 1 {
			t.Errorf("%s made %d entries and uses the other's seat %d times, want 0 and 1", name, c.count, c.seats.uses[0])
		}
	}
}

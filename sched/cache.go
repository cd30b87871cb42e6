package sched

import (
	"math"
	"time"
)

// Cache is a scheduler that remembers servers for destination addresses and
// forgets them by time: lblc and lblcr. Its owner should call Tick every few
// seconds, under the service's lock; Pick makes up for it, at the cost of that
// packet.
type Cache interface {
	Scheduler
	// Tick does the collections that are due at now, nanoseconds on the clock
	// of Request.Now. The first time it or Pick learns of starts the clock.
	Tick(now int64)
	// SetExpiration changes Options.CacheExpiration; d must not be negative.
	SetExpiration(d time.Duration)
}

// The bounds and ages of a cache (ip_vs_lblc.c, ip_vs_lblcr.c).
const (
	cacheBits  = 10
	cacheSize  = 1 << cacheBits
	cacheLimit = 16 * cacheSize         // entries from which unused ones go early
	cacheCap   = cacheLimit * 3 / 2     // entries from which no new one is made
	unused     = int64(6 * time.Minute) // age at which they go early

	collectEvery = int64(time.Minute)
	fullEvery    = 30 // collections without need after which all buckets are looked at

	defaultExpiration = 24 * time.Hour
)

// cache maps destination addresses to sets of servers. At most cacheCap entries
// of at most one member for each server; the memory is taken in chunks as
// entries are made and kept for later ones.
type cache struct {
	seats   seats
	entries slab[entry]
	members slab[member]
	buckets [cacheSize]int32 // first entry of each chain, 0 for none
	count   int              // entries in buckets

	expiration int64
	due        int64 // time of the next collection, 0 until a time is known
	collected  int   // collections since the last full one, from 1
	rover      uint32
}

// entry is what the cache holds for one destination.
type entry struct {
	key     Addr
	lastUse int64
	lastMod int64 // last change of the set
	first   int32 // chain of members, newest first
	size    int32 // of that chain
}

// member is one server of an entry's set, by its seat.
type member struct{ seat int32 }

func (c *cache) Init(list []*Server) {
	*c = cache{expiration: c.expiration, collected: 1}
	c.seats.byAddr = make(map[endpoint]int32, len(list))
	for _, s := range list {
		c.seats.enter(s)
	}
}

// Changed leaves the entries alone: those of a deleted server are ignored until
// they are replaced or the server comes back.
func (c *cache) Changed(op Op, s *Server, _ int, _ []*Server) {
	switch op {
	case Add:
		c.seats.enter(s)
	case Delete:
		if seat, ok := c.seats.of(s); ok {
			c.seats.drop(seat)
		}
	}
}

func (c *cache) SetExpiration(d time.Duration) { c.expiration = int64(d) }

// lookup returns the entry for a destination and notes its use; nil if there
// is none.
func (c *cache) lookup(key *Addr, now int64) *entry {
	e := c.peek(key)
	if e != nil {
		e.lastUse = now
	}
	return e
}

// create makes an entry with an empty set; nil when the cache is full.
func (c *cache) create(key *Addr, now int64) *entry {
	if c.count >= cacheCap {
		return nil
	}
	n := c.entries.take()
	e := c.entries.at(n)
	e.record.key, e.record.lastUse = *key, now
	b := bucketOf(key)
	e.next = c.buckets[b]
	c.buckets[b] = n
	c.count++
	return &e.record
}

// insert puts the server of a seat at the head of a set.
func (c *cache) insert(e *entry, seat int32, now int64) {
	n := c.members.take()
	m := c.members.at(n)
	m.record.seat = seat
	c.seats.hold(seat)
	m.next = e.first
	e.first = n
	e.size++
	e.lastMod = now
}

// remove takes the member that link names, a set's first or another's next, out
// of the set.
func (c *cache) remove(e *entry, link *int32, now int64) {
	n := *link
	m := c.members.at(n)
	*link = m.next
	c.seats.drop(m.record.seat)
	c.members.release(n)
	e.size--
	e.lastMod = now
}

// server returns the server that a member names, listed or not.
func (c *cache) server(m *node[member]) *Server { return c.seats.servers[m.record.seat] }

func (c *cache) Tick(now int64) {
	switch {
	case c.due == 0:
		c.due = now + collectEvery
	case now-c.due >= fullEvery*collectEvery:
		// Nobody came for so long that a full collection was missed. One now
		// does the work of all.
		c.sweep(now, c.expiration, math.MaxInt)
		c.collected = 1
		c.due = now + collectEvery
	}
	for ; now >= c.due; c.due += collectEvery {
		c.collect(c.due)
	}
}

// collect is what the kernel does every minute.
func (c *cache) collect(now int64) {
	switch {
	case c.collected%fullEvery == 0:
		c.sweep(now, c.expiration, math.MaxInt)
		c.collected = 1
	case c.count <= cacheLimit:
		c.collected++
	default:
		c.sweep(now, unused, min((c.count-cacheLimit)*4/3, cacheLimit/2))
	}
}

// sweep goes over the buckets, from where the last sweep stopped, and removes
// the entries not used for age, until goal entries or more are gone.
func (c *cache) sweep(now, age int64, goal int) {
	for range cacheSize {
		c.rover = (c.rover + 1) % cacheSize
		link := &c.buckets[c.rover]
		for *link != 0 {
			n := *link
			e := c.entries.at(n)
			if now-e.record.lastUse < age {
				link = &e.next
				continue
			}
			for e.record.first != 0 {
				c.remove(&e.record, &e.record.first, now)
			}
			*link = e.next
			c.entries.release(n)
			c.count--
			goal--
		}
		if goal <= 0 {
			return
		}
	}
}

func bucketOf(key *Addr) uint32 { return hash32(fold(key), cacheBits) }

// tooBusy reports whether a cached server has more active connections than its
// weight while some server of the list, usable or not, has fewer than half.
func tooBusy(s *Server, list []*Server) bool {
	if s.Active.Load() <= s.Weight {
		return false
	}
	for _, x := range list {
		if 2*int64(x.Active.Load()) < int64(x.Weight) {
			return true
		}
	}
	return false
}

// clone returns a cache like this one that names the twins of its servers.
func (c *cache) clone(twin func(*Server) *Server) cache {
	o := *c
	o.entries, o.members, o.seats = c.entries.clone(), c.members.clone(), c.seats.clone(twin)
	return o
}

// peek returns the entry for a destination, or nil, and does not note its use.
func (c *cache) peek(key *Addr) *entry {
	for n := c.buckets[bucketOf(key)]; n != 0; {
		e := c.entries.at(n)
		if e.record.key == *key {
			return &e.record
		}
		n = e.next
	}
	return nil
}

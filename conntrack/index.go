package conntrack

import "sync/atomic"

const (
	// firstBuckets is the size a shard's index starts with.
	firstBuckets = 64
	// splitsPerInsert is how many buckets an insert moves while the index
	// grows. Two would do: the index is doubled when it is half full, and has
	// to be through with its n old buckets before n/2 inserts later it is half
	// full again.
	splitsPerInsert = 4
)

// index finds records by hash: chains, newest first, that hang in buckets. It
// doubles when it is half full; the chains move to the new buckets a few with
// every insert, so that no insert takes long.
type index struct {
	n     int
	cur   []uint32 // first record of each chain; changed only atomically
	old   []uint32 // the smaller array that cur grows from; nil when it is through
	moved uint32   // old buckets below this one have moved

	// hints is cur, for who looks without the shard's lock.
	hints atomic.Pointer[[]uint32]
}

func (x *index) init() { x.start(firstBuckets) }

// start makes a new, empty cur.
func (x *index) start(buckets int) {
	x.cur = make([]uint32, buckets)
	cur := x.cur
	x.hints.Store(&cur)
}

// hint returns the first record of hash's chain, or another one, or 0. It needs
// no lock: it is right most of the time.
func (x *index) hint(hash uint32) uint32 {
	cur := *x.hints.Load()
	return atomic.LoadUint32(&cur[hash&uint32(len(cur)-1)])
}

// head returns where the chain of hash begins.
func (x *index) head(hash uint32) *uint32 {
	if x.old != nil {
		if b := hash & uint32(len(x.old)-1); b >= x.moved {
			return &x.old[b]
		}
	}
	return &x.cur[hash&uint32(len(x.cur)-1)]
}

// insert puts record c, number id, at the front of its hash's chain.
func (x *index) insert(s *Shard, c *Conn, hash, id uint32) {
	x.n++
	if x.old == nil && x.n > len(x.cur)/2 {
		x.old, x.moved = x.cur, 0
		x.start(2 * len(x.cur))
	}
	for range splitsPerInsert {
		if x.old != nil {
			x.split(s)
		}
	}
	p := x.head(hash)
	c.next = *p
	atomic.StoreUint32(p, id)
}

// remove takes record c, number id, out of its chain.
func (x *index) remove(s *Shard, c *Conn, id uint32) {
	x.n--
	p := x.head(s.hash(c))
	if *p == id {
		atomic.StoreUint32(p, c.next)
		return
	}
	for *p != id {
		p = &s.record(*p).next
	}
	*p = c.next
}

// split moves one old bucket's chain to the two buckets it falls into, in
// order.
func (x *index) split(s *Shard) {
	size := uint32(len(x.old))
	var head [2]uint32
	tail := [2]*uint32{&head[0], &head[1]}
	for id := x.old[x.moved]; id != 0; {
		c := s.record(id)
		half := 0
		if s.hash(c)&size != 0 {
			half = 1
		}
		*tail[half] = id
		tail[half] = &c.next
		id = c.next
	}
	*tail[0], *tail[1] = 0, 0
	atomic.StoreUint32(&x.cur[x.moved], head[0])
	atomic.StoreUint32(&x.cur[x.moved+size], head[1])
	if x.moved++; x.moved == size {
		x.old = nil
	}
}

func (x *index) bytes() int { return 4 * (len(x.cur) + len(x.old)) }

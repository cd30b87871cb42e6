package conntrack

import (
	"encoding/binary"
	"math/bits"
	"sync"
	"sync/atomic"
)

// The book of ports says which connection has which of the director's own ports
// towards which destination: what comes back to such a port has no client in it
// by which the connection could be found. It is a table of fixed size without
// pointers. A port towards a destination has one bucket in which it may stand,
// so that a search reads one cache line; where that bucket is full, the port
// counts as taken and the caller tries another.

const (
	bookSlots = 8   // of a bucket
	bookLocks = 256 // for those who write

	// portRest is how long a port rests whose TCP connection was taken out of the
	// table before it was over: as long as a host keeps TIME_WAIT (TCP_TIMEWAIT_LEN in
	// include/net/tcp.h), in nanoseconds. resetRest is for those that a reset ended.
	portRest  = 60e9
	resetRest = 1e9

	// noteUnit is what the book keeps time in, about a second.
	noteUnit = 1 << 30
)

// PortKey is what the book finds a connection by: the packets that it sends to its
// destination, the far end, seen from the director.
type PortKey struct {
	Local, Remote         Addr
	LocalPort, RemotePort uint16 // host byte order
	Proto                 uint8
}

// bucket is two cache lines; a search needs the first.
type bucket struct {
	// who is the hash's upper half and the connection's Ref; with Ref 0 the port
	// rests. All 0 is nothing.
	who [bookSlots]atomic.Uint64
	// note is a sequence number and a time in noteUnit. Of a resting port it is when
	// it may be had again. Of one with a connection the time is 0, or if the
	// connection is over, when that was noted, and the sequence number is the next
	// that the far end awaits.
	note [bookSlots]atomic.Uint64
}

// Book is a table's book of ports. Its methods may be called from any goroutine.
type Book struct {
	seed    [4]uint64
	buckets []bucket
	lock    [bookLocks]sync.Mutex // of the buckets, by their number's lowest bits
	used    atomic.Int64          // ports that connections have

	// original is the book that an excerpt's stands for: ports that are taken or rest
	// there are not to be had here either. Of others it is nil.
	original *Book
}

func newBook(conns int, seed [4]uint64) *Book {
	n := 1
	for n*bookSlots/2 < conns {
		n *= 2
	}
	return &Book{seed: seed, buckets: make([]bucket, n)}
}

// Hash returns what the other methods want to know of a key. Its lowest bits
// choose the bucket, its upper half tells the ports in it apart: of two keys that
// these do not tell apart only one can be in the book.
func (b *Book) Hash(k *PortKey) uint64 {
	le := binary.LittleEndian
	return b.HashWords(k.Proto, [2]uint64{le.Uint64(k.Local[:8]), le.Uint64(k.Local[8:])}, k.LocalPort,
		[2]uint64{le.Uint64(k.Remote[:8]), le.Uint64(k.Remote[8:])}, k.RemotePort)
}

// HashWords is [Book.Hash] of addresses whose halves are these, read little endian.
func (b *Book) HashWords(proto uint8, local [2]uint64, localPort uint16, remote [2]uint64, remotePort uint16) uint64 {
	hi, lo := bits.Mul64(local[0]^remote[0]^b.seed[0], remote[1]^b.seed[1])
	hi, lo = bits.Mul64(hi^lo^local[1]^b.seed[2], uint64(localPort)<<32^uint64(remotePort)<<8^uint64(proto)^b.seed[3])
	return hi ^ lo
}

func (b *Book) bucket(hash uint64) *bucket { return &b.buckets[hash&uint64(len(b.buckets)-1)] }

func (b *Book) mutex(hash uint64) *sync.Mutex {
	return &b.lock[hash&uint64(len(b.buckets)-1)%bookLocks]
}

// mark is the part of who that the hash gives; never 0.
func mark(hash uint64) uint64 { return (hash | 1<<32) &^ (1<<32 - 1) }

// Find returns the connection that has the port, 0 if none has. It takes no lock;
// the caller looks under the connection's lock whether that is the one.
func (b *Book) Find(hash uint64) Ref {
	m, u := mark(hash), b.bucket(hash)
	for i := range u.who {
		if w := u.who[i].Load(); w&^(1<<32-1) == m {
			return Ref(uint32(w))
		}
	}
	return 0
}

// Used returns how many ports connections have.
func (b *Book) Used() int { return int(b.used.Load()) }

// Bytes returns how much memory the book holds.
func (b *Book) Bytes() int { return len(b.buckets) * bucketSize }

// take gives the port to the connection. It reports false if the port is taken,
// rests, or has no room in its bucket.
func (b *Book) take(hash uint64, ref Ref, now int64) bool {
	if b.original != nil && !b.original.mayTake(hash, now) {
		return false
	}
	return b.enter(hash, ref, now)
}

// mayTake reports whether take would give the port away.
func (b *Book) mayTake(hash uint64, now int64) bool {
	m, u, l := mark(hash), b.bucket(hash), b.mutex(hash)
	l.Lock()
	defer l.Unlock()
	room := false
	for i := range u.who {
		w := u.who[i].Load()
		free := w == 0 || Ref(w) == 0 && int64(uint32(u.note[i].Load()))*noteUnit <= now
		if w&^(1<<32-1) == m && !free {
			return false
		}
		room = room || free
	}
	return room
}

// enter is take, whatever the original has.
func (b *Book) enter(hash uint64, ref Ref, now int64) bool {
	m, u, l := mark(hash), b.bucket(hash), b.mutex(hash)
	l.Lock()
	defer l.Unlock()
	room := -1
	for i := range u.who {
		w := u.who[i].Load()
		free := w == 0 || Ref(w) == 0 && int64(uint32(u.note[i].Load()))*noteUnit <= now
		switch {
		case w&^(1<<32-1) == m && !free:
			return false
		case free && (room < 0 || w&^(1<<32-1) == m):
			room = i
		}
	}
	if room < 0 {
		return false
	}
	u.note[room].Store(0)
	u.who[room].Store(m | uint64(ref))
	b.used.Add(1)
	return true
}

// takeOver gives the connection a port whose own connection is over, and returns
// the sequence number that its far end may still await.
func (b *Book) takeOver(hash uint64, ref Ref, now int64) (next uint32, ok bool) {
	if b.original != nil && b.Find(hash) == 0 {
		next, ok = b.original.over(hash, now)
		return next, ok && b.enter(hash, ref, now)
	}
	m, u, l := mark(hash), b.bucket(hash), b.mutex(hash)
	l.Lock()
	defer l.Unlock()
	for i := range u.who {
		if w := u.who[i].Load(); w&^(1<<32-1) == m {
			note := u.note[i].Load()
			if !wasOver(w, note, now) {
				return 0, false
			}
			u.note[i].Store(0)
			u.who[i].Store(m | uint64(ref))
			return uint32(note >> 32), true
		}
	}
	return 0, false
}

// over reports whether takeOver would give the port away, and what that returns.
func (b *Book) over(hash uint64, now int64) (next uint32, ok bool) {
	m, u, l := mark(hash), b.bucket(hash), b.mutex(hash)
	l.Lock()
	defer l.Unlock()
	for i := range u.who {
		if w := u.who[i].Load(); w&^(1<<32-1) == m {
			note := u.note[i].Load()
			return uint32(note >> 32), wasOver(w, note, now)
		}
	}
	return 0, false
}

// wasOver reports whether an entry is of a connection that was over by then.
func wasOver(who, note uint64, then int64) bool {
	over := int64(uint32(note)) * noteUnit
	return Ref(who) != 0 && over != 0 && over <= then
}

// change has f change the entry of the port if the connection has it.
func (b *Book) change(hash uint64, ref Ref, f func(who, note *atomic.Uint64)) bool {
	m, u, l := mark(hash), b.bucket(hash), b.mutex(hash)
	l.Lock()
	defer l.Unlock()
	for i := range u.who {
		if u.who[i].Load() == m|uint64(ref) {
			f(&u.who[i], &u.note[i])
			return true
		}
	}
	return false
}

// free takes the port from the connection, if that has it, and lets it rest until
// then.
func (b *Book) free(hash uint64, ref Ref, until int64) {
	b.change(hash, ref, func(who, note *atomic.Uint64) {
		note.Store(uint64(uint32(max(until+noteUnit-1, 0) / noteUnit)))
		who.Store(mark(hash))
		b.used.Add(-1)
	})
}

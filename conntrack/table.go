package conntrack

import (
	"fmt"
	"math/bits"
	"runtime"
	"sync/atomic"

	"vsnat/conntrack/wheel"
)

// Defaults and bounds of [Config].
const (
	DefaultMax     = 1 << 20
	DefaultShards  = 128
	DefaultBuckets = 1 << 12 // conn_tab_bits 12
	MaxShards      = 256

	// maxPerShard is how many connections a table may be made for, by shard: so many
	// that a Ref can number all records.
	maxPerShard = 1 << 22

	// spareRecords is how many more connections than twice its part of [Config.Max] a
	// shard may have. Chance does not come near: it spreads clients over shards as coin
	// tosses do, whose deviation is the root of a shard's part. What comes to one shard
	// otherwise is what the hash does not tell apart: connections from one port of one
	// client, to many services, and its templates.
	spareRecords = 1 << 12
)

// What the kernel lets a connection's timer be, in nanoseconds.
const (
	// FirstTimeout is a new connection's until its first state is known
	// (ip_vs_conn_new: 3 s).
	FirstTimeout = 3e9
	// ParentTimeout is set, for good, when the timer of a connection that has
	// children fires (ip_vs_conn_expire: 60 s).
	ParentTimeout = 60e9
)

// Key is what a connection is found by from the client's side. Ports are in
// host byte order; ClientPort is 0 in a template's key, and so is Proto in the
// key of a firewall mark's template, whose Virtual is the mark as an
// IPv4-mapped address.
type Key struct {
	Client, Virtual         Addr
	ClientPort, VirtualPort uint16
	Proto                   uint8
}

// Config is what a table is made with. The zero value of a field but Seed
// stands for its default.
type Config struct {
	// Max bounds the number of connections, templates included.
	Max int
	// Shards is how many locks the table is split under: a power of two.
	Shards int
	// Buckets is the table size that listings show as "size="; it changes
	// nothing else. A power of two from 2^8 to
	// 2^27, as of the kernel's conn_tab_bits.
	Buckets int
	// Seed is the hash's secret. Draw it anew for every table.
	Seed uint64
}

// Table is a connection table. Its methods may be called from any goroutine
// unless they say otherwise.
type Table struct {
	seed    [4]uint64 // immutable
	shift   uint      // immutable: the hash's bits below those of the shard
	max     int64     // immutable
	buckets int       // immutable
	shards  []Shard   // immutable; the last is the one of NoCPort

	// Records of all shards, and what pool their numbers are from; their entries without
	// a slot, and their extensions. The slices are immutable.
	records   []Conn
	rests     []rest
	nodes     []wheel.Node
	lines     []line // of the index, but that of NoCPort
	spills    []spill
	exts      []Ext
	pool      pool
	spillPool pool
	extsPool  pool

	noCPort atomic.Int64         // connections in the last shard
	book    atomic.Pointer[Book] // nil unless it was opened
	locals  *roster[Addr]        // immutable pointers
	marks   *roster[uint32]

	populated int // records; for Populate alone

	_ [64]byte // what follows is written by all workers, what precedes is read
	n atomic.Int64
	_ [56]byte
}

// New returns an empty table. It reserves memory for as many records as the shards may
// ever have, of which only those take any that are used; a system that does not grant
// that is an error.
func New(cfg Config) (*Table, error) { return build(cfg, true) }

// build is New, and says whether huge pages are to be used.
func build(cfg Config, huge bool) (*Table, error) {
	if cfg.Max == 0 {
		cfg.Max = DefaultMax
	}
	if cfg.Shards == 0 {
		cfg.Shards = DefaultShards
	}
	if cfg.Buckets == 0 {
		cfg.Buckets = DefaultBuckets
	}
	switch {
	case cfg.Shards < 1 || cfg.Shards > MaxShards || cfg.Shards&(cfg.Shards-1) != 0:
		return nil, fmt.Errorf("conntrack: %d shards: want a power of two from 1 to %d", cfg.Shards, MaxShards)
	case cfg.Max < 1 || cfg.Max > cfg.Shards*maxPerShard:
		return nil, fmt.Errorf("conntrack: at most %d connections: want 1 to %d with %d shards", cfg.Max, cfg.Shards*maxPerShard, cfg.Shards)
	case cfg.Buckets < 1<<8 || cfg.Buckets > 1<<27 || cfg.Buckets&(cfg.Buckets-1) != 0:
		return nil, fmt.Errorf("conntrack: table size %d: want a power of two from 2^8 to 2^27", cfg.Buckets)
	}
	t := &Table{
		seed:    spread(cfg.Seed),
		shift:   uint(65 - bits.Len(uint(cfg.Shards))),
		max:     int64(cfg.Max),
		buckets: cfg.Buckets,
		shards:  make([]Shard, cfg.Shards+1),
		locals:  new(roster[Addr]),
		marks:   new(roster[uint32]),
	}
	share := min(cfg.Max, 2*cfg.Max/cfg.Shards+spareRecords)
	blocks := cfg.Shards*blocksOf(share) + blocksOf(cfg.Max) // all may wait for their client's port
	var mem memory
	t.records = reserve[Conn](&mem, blocks*blockLen, huge)
	t.rests = reserve[rest](&mem, blocks*blockLen, false)
	t.spills = reserve[spill](&mem, blocks*blockLen, false)
	t.exts = reserve[Ext](&mem, blocks*blockLen, false)
	t.nodes = reserve[wheel.Node](&mem, blocks*blockLen, false)
	lines := cfg.Max/(cfg.Shards*perLine) + 1 // of a shard
	t.lines = reserve[line](&mem, cfg.Shards*lines, huge)
	waiting := reserve[line](&mem, cfg.Max/perLine+1, false)
	if mem.err != nil {
		mem.release()
		return nil, fmt.Errorf("conntrack: a table of %d connections: %w", cfg.Max, mem.err)
	}
	// Who has a connection has its shard, which leads to the table.
	runtime.AddCleanup(t, memory.release, mem)
	t.pool.owner, t.spillPool.owner, t.extsPool.owner = make([]uint16, blocks), make([]uint16, blocks), make([]uint16, blocks)
	for i := range t.shards {
		if i == cfg.Shards {
			t.shards[i].init(t, uint32(i), cfg.Max, waiting, t.nodes)
			break
		}
		t.shards[i].init(t, uint32(i), share, t.lines[i*lines:(i+1)*lines], t.nodes)
	}
	return t, nil
}

// blocksOf returns how many blocks of numbers so many connections need. One number is
// no connection's.
func blocksOf(conns int) int { return conns/blockLen + 1 }

// Shard returns the shard of a client with this hash.
func (t *Table) Shard(hash uint64) *Shard { return &t.shards[hash>>t.shift] }

// NoCPort returns the shard of the connections whose client port is not known
// yet (a passive FTP data connection before its first packet). A connection
// inserted there, with the hash of client port 0, has the flag NoCPort;
// [Shard.In] moves it to its own shard when a packet shows the port. It must
// not have children.
func (t *Table) NoCPort() *Shard { return &t.shards[len(t.shards)-1] }

// Shards returns all shards, the one of NoCPort included. Whoever advances
// time advances each of them.
func (t *Table) Shards() []Shard { return t.shards }

// Len returns the number of connections, templates included.
func (t *Table) Len() int { return int(t.n.Load()) }

// Max returns the bound on the number of connections.
func (t *Table) Max() int { return int(t.max) }

// Buckets returns the table size that listings show.
func (t *Table) Buckets() int { return t.buckets }

// Bytes returns how much memory the table holds. Memory that was taken stays
// for later connections.
func (t *Table) Bytes() int {
	sum := tableSize
	if b := t.Book(); b != nil {
		sum += b.Bytes()
	}
	for i := range t.shards {
		s := &t.shards[i]
		s.Lock()
		sum += s.bytes()
		s.Unlock()
	}
	return sum
}

// Range calls f for every connection until it returns false, a few at a time
// under their shard's lock: f must be quick, must not keep the pointer, insert,
// remove or lock. Connections that come or go meanwhile may be missed.
func (t *Table) Range(f func(*Conn) bool) {
	for id := uint32(0); id < t.pool.handedOut(); id += blockLen {
		if !t.block(id).each(id, f) {
			return
		}
	}
}

// Ref returns the connection's reference, 0 if it is none of the table.
func (t *Table) Ref(c *Conn) Ref { return Ref(numberOf(c, t.records)) }

// Home returns the shard that r's connection is in.
func (t *Table) Home(r Ref) *Shard { return t.block(uint32(r)) }

// HomeOf returns the shard that the connection is in, which is one of the table.
func (t *Table) HomeOf(c *Conn) *Shard { return t.Home(t.Ref(c)) }

// block returns the shard that has the record with that number, which was handed out.
func (t *Table) block(id uint32) *Shard { return &t.shards[t.pool.home(id)] }

// Hold counts one more child of parent. It is called under the parent's lock,
// as nothing else keeps the parent there until it is counted; the lock may be
// given up then, and parent stored as the child's Control.
func (t *Table) Hold(parent Ref) { atomic.AddUint32(&t.rests[parent].family, oneChild) }

// Release takes back a Hold and returns how many children are left. No lock is
// needed. With 0 left the parent may vanish at any time.
func (t *Table) Release(parent Ref) uint32 {
	return atomic.AddUint32(&t.rests[parent].family, ^uint32(oneChild-1)) / oneChild
}

// Assure marks a template, held by the caller's connection, as one whose child
// a server answered. No lock is needed.
func (t *Table) Assure(parent Ref) {
	// Most packets find it done: they only read.
	if a := &t.rests[parent].family; atomic.LoadUint32(a)&assured == 0 {
		atomic.OrUint32(a, assured)
	}
}

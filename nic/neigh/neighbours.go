package neigh

import (
	"maps"

	"golang.org/x/sys/unix"

	"vsnat/nic"
)

// neighKey names a neighbour: its address on a link.
type neighKey struct {
	ip    ip
	index int32
}

// neighbour is what a lookup needs of a neighbour.
type neighbour struct {
	state nic.HopState // HopResolved, HopUnresolved or HopFailed
	fixed bool         // PERMANENT or NOARP: the kernel does not resolve it
	mac   [6]byte
}

// nudUsable are the states in which the kernel itself would use the link-layer address, even
// though it may be about to verify it (NUD_VALID in include/net/neighbour.h; RFC 4861 section
// 7.3.2).
const nudUsable = unix.NUD_REACHABLE | unix.NUD_STALE | unix.NUD_DELAY | unix.NUD_PROBE | nudFixed

const nudFixed = unix.NUD_PERMANENT | unix.NUD_NOARP

func (r *neighRecord) neighbour() neighbour {
	switch {
	case r.state&nudUsable != 0:
		return neighbour{nic.HopResolved, r.state&nudFixed != 0, r.mac}
	case r.state&unix.NUD_FAILED != 0:
		return neighbour{state: nic.HopFailed}
	}
	return neighbour{state: nic.HopUnresolved}
}

// shards is how many parts the neighbours are divided into. A change copies
// the part it falls into, so that it costs little however many there are.
const shards = 256

// neighTable is an immutable set of neighbours. A nil shard is empty.
type neighTable [shards]map[neighKey]neighbour

func (k neighKey) shard() int { return int((k.ip.spread() + uint64(k.index)) % shards) }

// get returns the neighbour; one that the kernel does not know is unresolved.
func (t *neighTable) get(k neighKey) neighbour {
	if n, ok := t[k.shard()][k]; ok {
		return n
	}
	return neighbour{state: nic.HopUnresolved}
}

// neighEditor makes the next neighTable out of the last one. The zero value
// starts with none.
type neighEditor struct {
	table   neighTable
	own     [shards]bool // copied since the last snapshot
	changed bool         // differs from the last snapshot
}

// shard returns the shard for writing.
func (e *neighEditor) shard(k neighKey) map[neighKey]neighbour {
	i := k.shard()
	if !e.own[i] {
		e.table[i] = maps.Clone(e.table[i])
		e.own[i] = true
	}
	if e.table[i] == nil {
		e.table[i] = map[neighKey]neighbour{}
	}
	return e.table[i]
}

// set takes the neighbour in. Most messages tell of a state that makes no
// difference here, such as from REACHABLE to STALE.
func (e *neighEditor) set(k neighKey, n neighbour) {
	if n.state == nic.HopUnresolved {
		e.remove(k) // as good as unknown
		return
	}
	if old, ok := e.table[k.shard()][k]; ok && old == n {
		return
	}
	e.shard(k)[k] = n
	e.changed = true
}

// remove forgets the neighbour.
func (e *neighEditor) remove(k neighKey) {
	if _, ok := e.table[k.shard()][k]; ok {
		delete(e.shard(k), k)
		e.changed = true
	}
}

// reset replaces all neighbours by those of a dump.
func (e *neighEditor) reset(dump []neighRecord) {
	*e = neighEditor{changed: true}
	for i := range dump {
		e.set(dump[i].key, dump[i].neighbour())
	}
}

// snapshot returns the neighbours as they are, never to be changed again.
func (e *neighEditor) snapshot() *neighTable {
	t := e.table
	clear(e.own[:])
	e.changed = false
	return &t
}

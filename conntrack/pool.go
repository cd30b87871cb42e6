package conntrack

import (
	"sync"
	"sync/atomic"
)

// blockLen is how many numbers a shard takes at a time. Of records that is two pages,
// and no two shards write to the same cache line.
const blockLen = 64

// pool hands out numbers of records, or of what else a table has one large slice of, to
// the shards, a block of them at a time. What is in use is thus together at the slice's
// beginning, in few pages, however many shards there are, while every shard finds a
// number of its own without asking another. A block stays with its shard.
type pool struct {
	mu    sync.Mutex
	next  atomic.Uint32 // blocks handed out; those before it have an owner
	owner []uint16      // of each block: a shard's number
}

// handedOut returns the first number that no shard has. It needs no lock.
func (p *pool) handedOut() uint32 { return p.next.Load() * blockLen }

// home returns the number of the shard that has a number which was handed out. It needs
// no lock.
func (p *pool) home(id uint32) uint32 { return uint32(p.owner[id/blockLen]) }

// numbers are what a shard has of a pool. Number 0 is never used.
type numbers struct {
	free  uint32 // the first of those that were given back, which the user chains; 0 is none
	fresh uint32 // the next that was never used, if it is not end
	end   uint32 // of the block that fresh is in
	room  uint32 // how many more blocks the shard may take
	used  uint32 // how many numbers were ever used
}

// take returns a number that was never used; 0 if the shard has had its share.
func (n *numbers) take(p *pool, shard uint32) uint32 {
	if n.fresh == n.end {
		if n.room == 0 {
			return 0
		}
		n.room--
		p.mu.Lock()
		block := p.next.Load()
		p.owner[block] = uint16(shard)
		p.next.Store(block + 1)
		p.mu.Unlock()
		n.fresh, n.end = block*blockLen, (block+1)*blockLen
		if block == 0 {
			n.fresh = 1
		}
	}
	id := n.fresh
	n.fresh++
	n.used++
	return id
}

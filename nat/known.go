package nat

import (
	"slices"
	"sync/atomic"
)

// knownDests are the servers by number, as control has them: workers look here
// for one that their snapshot does not have yet. Control writes one by one and
// never copies all. The zero value is empty.
type knownDests struct {
	chunks atomic.Pointer[[]*knownChunk]
}

type knownChunk [256]atomic.Pointer[dest]

// get returns the server of that number, or nil.
func (k *knownDests) get(id uint32) *dest {
	chunks := k.chunks.Load()
	if i := int(id / uint32(len(knownChunk{}))); chunks != nil && i < len(*chunks) {
		return (*chunks)[i][id%uint32(len(knownChunk{}))].Load()
	}
	return nil
}

// set makes d the server of that number. One goroutine at a time calls it.
func (k *knownDests) set(id uint32, d *dest) {
	var chunks []*knownChunk
	if p := k.chunks.Load(); p != nil {
		chunks = *p
	}
	i := int(id / uint32(len(knownChunk{})))
	if i >= len(chunks) {
		chunks = slices.Clone(chunks)
		for len(chunks) <= i {
			chunks = append(chunks, new(knownChunk))
		}
		k.chunks.Store(&chunks)
	}
	chunks[i][id%uint32(len(knownChunk{}))].Store(d)
}

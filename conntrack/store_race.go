//go:build race

package conntrack

import "sync/atomic"

// store sets a word of the index, which others may be reading for a hint, so that the
// race detector bears it.
func store(p *uint32, v uint32) { atomic.StoreUint32(p, v) }

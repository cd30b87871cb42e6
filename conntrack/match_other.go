//go:build !amd64 || race

package conntrack

import (
	"math/bits"
	"sync/atomic"
)

// match returns which entries of a line have these bits above their numbers: bit i is
// entry i. Entries of 0 are among them if the tag is 0.
func match(l *line, tag, ids uint32) (found uint32) {
	for i := range l {
		if e := atomic.LoadUint32(&l[i]); e&^ids == tag {
			found |= 1 << i
		}
	}
	return found
}

// bringNear answers the first n queries, at least one: it notes for each the newest
// record with its tag, and asks for that.
func bringNear(q *queries, n int, ids uint32, spills []spill, records []Conn) {
	for i, l := range q.lines[:n] {
		first := bits.TrailingZeros32(match(l, q.tags[i], ids) | 1<<slots)
		e := atomic.LoadUint32(&l[first])
		if first == slots {
			e = atomic.LoadUint32(&spills[e].entry)
		}
		q.ids[i] = e & ids
		prefetch(&records[q.ids[i]])
	}
}

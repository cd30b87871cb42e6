package conntrack

import "sync/atomic"

// prefetchAtOnce is how many are on their way at a time.
const prefetchAtOnce = 64

// queries are hashes that a record is looked for. The assembler knows the layout.
type queries struct {
	lines [prefetchAtOnce]*line
	tags  [prefetchAtOnce]uint32
	ids   [prefetchAtOnce]uint32 // the answers: a record that probably is the one, 0 if there is none
}

// Hint is the record that probably is a hash's, and what its shard had entered before
// that was found. If it has entered none since, it is the newest that may have the hash.
type Hint struct{ id, entered uint32 }

// Prefetch brings near what looking up connections with these hashes needs, so
// that the waits for memory overlap: first where the index has them, then the
// connections. It changes nothing and needs no lock. For each hash it leaves a hint.
func (t *Table) Prefetch(hashes []uint64, hints []Hint) {
	var q queries
	for len(hashes) > 0 {
		n := min(len(hashes), prefetchAtOnce)
		for i, h := range hashes[:n] {
			x := &t.Shard(h).index
			hints[i].entered = atomic.LoadUint32(&x.entered)
			q.lines[i], q.tags[i] = x.line(h), x.tag(h)
		}
		bringNear(&q, n, t.shards[0].index.ids, t.spills, t.records)
		for i, id := range q.ids[:n] {
			hints[i].id = id
		}
		hashes, hints = hashes[n:], hints[n:]
	}
}

// hinted returns the record that the hint names, as long as no newer one can have its
// key; else record 0, which is nobody's.
func (s *Shard) hinted(h Hint) *Conn {
	if h.entered != s.index.entered {
		h.id = 0
	}
	return s.record(h.id)
}

// PrefetchPorts does the same for ports of the book with these hashes, and replaces each
// by the Ref that [Book.Find] returns for it. The book is open.
func (t *Table) PrefetchPorts(hashes []uint64) {
	b := t.Book()
	for _, h := range hashes {
		prefetchBucket(b.bucket(h))
	}
	for i, h := range hashes {
		ref := b.Find(h)
		if hashes[i] = uint64(ref); ref != 0 {
			prefetch(&t.records[ref])
		}
	}
}

package conntrack

// prefetchAtOnce is how many are on their way at a time.
const prefetchAtOnce = 64

// Prefetch brings near what looking up connections with these hashes needs, so
// that the waits for memory overlap: first where their chains begin, then the
// connections there. It changes nothing and needs no lock.
func (t *Table) Prefetch(hashes []uint64) {
	var first [prefetchAtOnce]uint32
	for len(hashes) > 0 {
		n := min(len(hashes), prefetchAtOnce)
		for i, h := range hashes[:n] {
			first[i] = t.Shard(h).index.hint(uint32(h))
		}
		for _, id := range first[:n] {
			if id != 0 {
				prefetch(&t.records[id])
			}
		}
		hashes = hashes[n:]
	}
}

// PrefetchPorts does the same for ports of the book with these hashes. The book is
// open.
func (t *Table) PrefetchPorts(hashes []uint64) {
	b := t.Book()
	for _, h := range hashes {
		prefetchBucket(b.bucket(h))
	}
	for _, h := range hashes {
		if ref := b.Find(h); ref != 0 {
			prefetch(t.at(ref))
		}
	}
}

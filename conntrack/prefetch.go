package conntrack

// Prefetch brings near what looking up connections with these hashes needs, so
// that the waits for memory overlap: first where their chains begin, then the
// connections there. It changes nothing and needs no lock.
func (t *Table) Prefetch(hashes []uint64) {
	const atOnce = 64
	var first [atOnce]uint32
	for len(hashes) > 0 {
		n := min(len(hashes), atOnce)
		for i, h := range hashes[:n] {
			first[i] = t.Shard(h).index.hint(uint32(h))
		}
		for i, h := range hashes[:n] {
			if first[i] != 0 {
				prefetch(t.Shard(h).seen(first[i]))
			}
		}
		hashes = hashes[n:]
	}
}

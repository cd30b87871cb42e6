package conntrack

import (
	"sync"
	"testing"
)

// The hint of a connection that alone has its bucket, and of one that came last
// to it, is the connection itself, also while the index grows.
func TestHint(t *testing.T) {
	table := newTable(t, Config{Seed: 1})
	wrong := 0
	const n = 20_000
	for i := range n {
		k := numbered(i)
		s, c := add(t, table, &k, 0, 60e9)
		if s.index.hint(uint32(table.Hash(k.Proto, k.Client, k.ClientPort))) != uint32(c.ref) {
			wrong++ // its bucket has not moved yet
		}
		s.Unlock()
	}
	if wrong > n/2 {
		t.Errorf("%d of %d hints are wrong", wrong, n)
	}
}

// Prefetch may run while connections come, go and make the index grow.
func TestPrefetchBesideChanges(t *testing.T) {
	table := newTable(t, Config{Seed: 1, Shards: 2})
	var hashes []uint64
	for i := range 300 {
		k := numbered(i)
		hashes = append(hashes, table.Hash(k.Proto, k.Client, k.ClientPort))
	}
	var done sync.WaitGroup
	done.Go(func() {
		for i := range 5000 {
			k := numbered(i)
			s, c := add(t, table, &k, 0, 60e9)
			if i%3 == 0 {
				s.Remove(c)
			}
			s.Unlock()
		}
	})
	for range 300 {
		table.Prefetch(hashes)
	}
	done.Wait()
	if n := testing.AllocsPerRun(10, func() { table.Prefetch(hashes) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

package conntrack

import (
	"reflect"
	"sync"
	"testing"
)

// The assembler has these figures too.
func TestQueryLayout(t *testing.T) {
	q := reflect.TypeFor[queries]()
	tags, _ := q.FieldByName("tags")
	ids, _ := q.FieldByName("ids")
	size := reflect.TypeFor[uintptr]().Size()
	got := [...]uintptr{tags.Offset, ids.Offset, reflect.TypeFor[line]().Size(), reflect.TypeFor[spill]().Size(), reflect.TypeFor[Conn]().Size()}
	if want := [...]uintptr{64 * size, 64*size + 256, 64, 8, 96}; got != want {
		t.Errorf("tags are at byte %d, answers at %d, a line has %d bytes, a spill %d, a record %d", got[0], got[1], got[2], got[3], got[4])
	}
}

// A query is answered with the newest connection that has its hash, when the table is
// full with nearly no exception; and with nothing if there is none.
func TestBringNear(t *testing.T) {
	const n = 20_000
	table := newTable(t, Config{Max: n, Seed: 1})
	var q queries
	ask := func(first, count int) {
		for i := range count {
			k := numbered(first + i)
			h := table.Hash(k.Proto, k.Client, k.ClientPort)
			x := &table.Shard(h).index
			q.lines[i], q.tags[i] = x.line(h), x.tag(h)
		}
		bringNear(&q, count, table.shards[0].index.ids, table.spills, table.records)
	}
	for i := range n {
		k := numbered(i)
		if ask(i, 1); i < 1000 && q.ids[0] != 0 {
			t.Fatalf("of %d connections, number %d seems to be one that is not there", i, q.ids[0])
		}
		s, c := add(t, table, &k, 0, 60e9)
		if ask(i, 1); q.ids[0] != uint32(table.Ref(c)) {
			t.Fatalf("the newest connection is number %d, the answer is %d", table.Ref(c), q.ids[0])
		}
		s.Unlock()
	}
	wrong := 0
	for first := 0; first < n; first += prefetchAtOnce {
		count := min(prefetchAtOnce, n-first)
		ask(first, count)
		for i, id := range q.ids[:count] {
			k := numbered(first + i)
			h := table.Hash(k.Proto, k.Client, k.ClientPort)
			if c := table.Shard(h).In(h, &k); id != uint32(table.Ref(c)) {
				wrong++
			}
		}
	}
	if wrong > n/50 {
		t.Errorf("%d of %d answers are wrong", wrong, n)
	}
}

// Prefetch may run while connections come and go.
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

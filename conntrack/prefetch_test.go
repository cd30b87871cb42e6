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
	hints := make([]Hint, 300)
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
		table.Prefetch(hashes, hints)
	}
	done.Wait()
	if n := testing.AllocsPerRun(10, func() { table.Prefetch(hashes, hints) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A search with a hint finds what one without finds, however old the hint is: of
// connections that come and go, with equal keys and in lines with more than their slots.
func TestHint(t *testing.T) {
	rnd := seeded(t)
	const keys = 60
	table := newTable(t, Config{Seed: 1, Shards: 2})
	for i := range table.shards {
		x := &table.shards[i].index
		x.lines = x.lines[:1]
	}
	var hashes []uint64
	for i := range keys {
		k := numbered(i)
		hashes = append(hashes, table.Hash(k.Proto, k.Client, k.ClientPort))
	}
	hints := make([]Hint, keys)
	found, newer := 0, 0
	for range 20_000 {
		i := rnd.IntN(keys)
		k := numbered(i)
		s := table.Shard(hashes[i])
		s.Lock()
		want := s.Known(Hint{}, hashes[i], &k)
		if got := s.Known(hints[i], hashes[i], &k); got != want {
			t.Fatalf("with a hint found %+v, without %+v", got, want)
		}
		if c := s.hinted(hints[i]); c == want {
			found++
		} else if want != nil {
			newer++
		}
		if want != nil {
			want.Dest, want.DestPort = addr(172, i), 80
			back := Key{Client: k.Client, Virtual: want.Dest, ClientPort: k.ClientPort, VirtualPort: 80, Proto: k.Proto}
			if got := s.Out(hints[i], hashes[i], &back); got != want {
				t.Fatalf("with a hint found %+v to answer, want %+v", got, want)
			}
		}
		switch rnd.IntN(40) {
		case 0:
			s.Arm(s.Insert(hashes[i], &k, 0), 0, 60e9)
		case 1:
			if want != nil {
				s.Remove(want)
			}
		}
		s.Unlock()
		if rnd.IntN(10) == 0 {
			table.Prefetch(hashes, hints)
		}
	}
	if found == 0 || newer == 0 {
		t.Errorf("hints were right %d times and of no use %d times: the test tests too little", found, newer)
	}
}

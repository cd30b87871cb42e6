package conntrack

import "testing"

func TestScanSeesEachConnectionOnce(t *testing.T) {
	table, err := New(Config{Max: 5000, Shards: 8, Seed: 7})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3000 {
		k := Key{Client: Addr{15: byte(i), 14: byte(i >> 8)}, ClientPort: uint16(i), VirtualPort: 80, Proto: 6}
		h := table.Hash(k.Proto, k.Client, k.ClientPort)
		s := table.Shard(h)
		s.Lock()
		s.Insert(h, &k, 1)
		s.Unlock()
	}
	for _, limit := range []int{1, 7, 100, 10000} {
		seen := map[uint16]int{}
		for cursor := uint64(0); ; {
			n := 0
			cursor = table.Scan(cursor, limit, func(c *Conn) { seen[c.ClientPort]++; n++ })
			if n > limit {
				t.Fatalf("%d connections at once, limit %d", n, limit)
			}
			if cursor == 0 {
				break
			}
		}
		if len(seen) != 3000 {
			t.Fatalf("limit %d: %d connections seen", limit, len(seen))
		}
		for p, n := range seen {
			if n != 1 {
				t.Fatalf("limit %d: connection %d seen %d times", limit, p, n)
			}
		}
	}
	// What is removed on the way does not lead the walk astray.
	seen := 0
	for cursor := uint64(0); ; {
		cursor = table.Scan(cursor, 7, func(c *Conn) {
			if seen++; c.ClientPort%3 == 0 && !table.HomeOf(c).Remove(c) {
				t.Error("a connection cannot be removed")
			}
		})
		if cursor == 0 {
			break
		}
	}
	if seen != 3000 || table.Len() != 2000 {
		t.Errorf("%d connections seen, %d left", seen, table.Len())
	}
}

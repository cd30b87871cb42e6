package conntrack

import (
	"fmt"
	"testing"
)

// filled returns a table with n connections.
func filled(b *testing.B, n int) *Table {
	table := newTable(b, Config{Max: n + 1, Seed: 1})
	for i := range n {
		k := numbered(i)
		s, _ := add(b, table, &k, 0, 900e9)
		s.Unlock()
	}
	return table
}

// BenchmarkIn finds connections in random order: hash, lock, look up, re-arm,
// unlock, as for an established connection's packet.
func BenchmarkIn(b *testing.B) {
	for _, n := range []int{1_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			table := filled(b, n)
			x := uint64(1)
			for i := 0; b.Loop(); i++ {
				x = x*6364136223846793005 + 1442695040888963407
				k := numbered(int(x >> 33 % uint64(n)))
				h := table.Hash(k.Proto, k.Client, k.ClientPort)
				s := table.Shard(h)
				s.Lock()
				c := s.In(h, &k)
				s.Arm(c, int64(i), 900e9)
				s.Unlock()
			}
		})
	}
}

// BenchmarkInsertRemove is a connection's beginning and end, with a million
// others there.
func BenchmarkInsertRemove(b *testing.B) {
	for _, n := range []int{1_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			table := filled(b, n)
			for i := 0; b.Loop(); i++ {
				k := numbered(n + i&0xfffff)
				h := table.Hash(k.Proto, k.Client, k.ClientPort)
				s := table.Shard(h)
				s.Lock()
				c := s.Insert(h, &k, 0)
				s.Arm(c, 0, 60e9)
				s.Remove(c)
				s.Unlock()
			}
		})
	}
}

func BenchmarkHash(b *testing.B) {
	table := newTable(b, Config{Seed: 1})
	sum := uint64(0)
	for i := 0; b.Loop(); i++ {
		sum += table.Hash(6, Addr{15: byte(i)}, uint16(i))
	}
	if sum == 0 {
		b.Fatal("the hash is always 0")
	}
}

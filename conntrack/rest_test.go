package conntrack

import (
	"math"
	"testing"
)

// TestCountsAreLong counts more bytes than the record itself has room for.
func TestCountsAreLong(t *testing.T) {
	table := newTable(t, Config{})
	k := numbered(1)
	s, c := add(t, table, &k, 0, 60e9)
	defer s.Unlock()
	in, out := uint64(0), uint64(0)
	for _, n := range []uint32{40, math.MaxUint32, 1500, 1 << 31, math.MaxUint32, 0, 1} {
		table.CountIn(c, n)
		in += uint64(n)
		table.CountOut(c, n/3)
		out += uint64(n / 3)
		if twin := table.Copy(c); twin.InBytes != in || twin.OutBytes != out {
			t.Fatalf("after %d more %d bytes in and %d out, want %d and %d", n, twin.InBytes, twin.OutBytes, in, out)
		}
	}
	if in>>33 == 0 {
		t.Fatal("the test counts too little")
	}
	s.Remove(c)
	if c = s.Insert(table.Hash(k.Proto, k.Client, k.ClientPort), &k, 0); table.Copy(c).InBytes != 0 {
		t.Error("the record's next owner has bytes of the last")
	}
}

// TestRef finds the number of every record that there is, and none of others.
func TestRef(t *testing.T) {
	table := newTable(t, Config{Shards: 2, Max: 300})
	for i := range table.records {
		if got := table.Ref(&table.records[i]); got != Ref(i) {
			t.Fatalf("record %d has the number %d", i, got)
		}
	}
	other := newTable(t, Config{})
	for _, c := range []*Conn{new(Conn), &other.records[1], &other.records[len(other.records)-1]} {
		if got := table.Ref(c); got != 0 {
			t.Errorf("a record of elsewhere has the number %d", got)
		}
	}
}

package conntrack

import (
	"reflect"
	"testing"
)

// TestExt follows an extension through its connection's life.
func TestExt(t *testing.T) {
	table := newTable(t, Config{Shards: 1})
	k := numbered(1)
	s, c := add(t, table, &k, 0, 60e9)
	defer s.Unlock()
	if s.Ext(c) != nil {
		t.Fatal("a new connection has an extension")
	}
	before := table.shards[0].bytes()
	x := s.Extend(c)
	x.Helper, x.Out = 3, SeqAdj{Pos: 7, After: -2}
	if s.Extend(c) != x || s.Ext(c) != x {
		t.Fatal("the connection has two extensions")
	}
	if table.shards[0].bytes() <= before {
		t.Error("extensions are not counted as memory")
	}
	s.Remove(c)
	c = s.Insert(table.Hash(k.Proto, k.Client, k.ClientPort), &k, 0)
	if s.Ext(c) != nil {
		t.Error("the record's next owner has the extension of the last")
	}
	if y := s.Extend(c); y != x || *y != (Ext{}) {
		t.Errorf("an extension used again is %+v", *y)
	}
}

// TestExtFollows has a connection find its client's port, and with it another
// record.
func TestExtFollows(t *testing.T) {
	table := newTable(t, Config{})
	k := numbered(1)
	wait := k
	wait.ClientPort = 0
	n := table.NoCPort()
	n.Lock()
	c := n.Insert(table.Hash(k.Proto, k.Client, 0), &wait, 0)
	n.Extend(c).Helper = 9
	n.Unlock()
	h := table.Hash(k.Proto, k.Client, k.ClientPort)
	s := table.Shard(h)
	s.Lock()
	defer s.Unlock()
	if c = s.In(h, &k); c == nil || s.Ext(c) == nil || s.Ext(c).Helper != 9 {
		t.Error("the extension was left behind")
	}
}

func TestExtLayout(t *testing.T) {
	if size := reflect.TypeFor[Ext]().Size(); size != 64 {
		t.Errorf("an extension has %d bytes, want 64", size)
	}
}

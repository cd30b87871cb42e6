package conntrack

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"testing"
)

// TestTemplateData holds templates with data to a map, while they come and go in
// any order and ordinary templates and connections of the same clients stand among
// them.
func TestTemplateData(t *testing.T) {
	table := newTable(t, Config{Shards: 2})
	r := rand.New(rand.NewPCG(3, 4))
	type named struct {
		key  Key
		data string
	}
	have := map[named]Ref{}
	var list []named
	for i := range 20000 {
		if len(list) > 300 || len(list) > 0 && r.IntN(3) == 0 {
			k := r.IntN(len(list))
			n := list[k]
			s := table.Home(have[n])
			s.Lock()
			c := s.TemplateOf(table.HashData([]byte(n.data)), &n.key, []byte(n.data))
			if c == nil || table.Ref(c) != have[n] || string(s.Data(c, nil)) != n.data {
				t.Fatalf("%q is not found", n.data)
			}
			if s.Template(table.Hash(n.key.Proto, n.key.Client, 0), &n.key) != nil {
				t.Fatal("a template with data is found without them")
			}
			s.Remove(c)
			if s.TemplateOf(table.HashData([]byte(n.data)), &n.key, []byte(n.data)) != nil {
				t.Fatal("a template is found after its end")
			}
			s.Unlock()
			delete(have, n)
			list[k] = list[len(list)-1]
			list = list[:len(list)-1]
			continue
		}
		n := named{numbered(r.IntN(4)), string(bytes.Repeat([]byte{byte('a' + r.IntN(26))}, 1+r.IntN(MaxData)))}
		n.key.ClientPort = 0
		if _, ok := have[n]; ok {
			continue
		}
		h := table.HashData([]byte(n.data))
		s := table.Shard(h)
		s.Lock()
		if s.TemplateOf(h, &n.key, []byte(n.data)) != nil {
			t.Fatalf("step %d: %q is found before it was there", i, n.data)
		}
		c := s.InsertTemplate(h, &n.key, []byte(n.data), 0)
		s.Arm(c, 0, 1e9)
		have[n] = table.Ref(c)
		list = append(list, n)
		// Another one, which has no data, has the same key.
		k := n.key
		k.ClientPort = uint16(i)
		s.Unlock()
		other, c := add(t, table, &k, 0, 60e9)
		other.Remove(c)
		other.Unlock()
	}
	if table.Len() != len(have) {
		t.Errorf("%d templates, want %d", table.Len(), len(have))
	}
	before := table.Bytes()
	for n, ref := range have {
		s := table.Home(ref)
		s.Lock()
		s.Remove(s.Get(ref))
		s.Unlock()
		_ = n
	}
	if table.Len() != 0 || table.Bytes() != before {
		t.Errorf("%d are left, %d bytes of %d", table.Len(), table.Bytes(), before)
	}
}

func TestTemplateDataIsSpread(t *testing.T) {
	table := newTable(t, Config{Shards: 64})
	var shards [64]int
	for i := range 6400 {
		data := []byte{byte(i), byte(i >> 8), '@', 'h', 'o', 's', 't'}
		shards[table.Shard(table.HashData(data)).num]++
	}
	for i, n := range shards {
		if n < 50 || n > 160 {
			t.Errorf("shard %d got %d of 6400", i, n)
		}
	}
	a, b := table.HashData([]byte("a")), table.HashData([]byte("a\x00"))
	if a == b {
		t.Error("data of other lengths have the same hash")
	}
}

func TestDataLayout(t *testing.T) {
	if size := reflect.TypeFor[dataBlock]().Size(); size != 64 {
		t.Errorf("a block has %d bytes, want 64", size)
	}
}

func TestTemplateDataAllocatesNothing(t *testing.T) {
	table := newTable(t, Config{Shards: 1})
	data := bytes.Repeat([]byte("x"), MaxData)
	k := numbered(1)
	h := table.HashData(data)
	s := table.Shard(h)
	s.Lock()
	defer s.Unlock()
	run := func() {
		c := s.InsertTemplate(h, &k, data, 0)
		if s.TemplateOf(h, &k, data) != c {
			t.Fatal("not found")
		}
		s.Remove(c)
	}
	run()
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

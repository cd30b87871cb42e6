package conntrack

import (
	"math/rand/v2"
	"reflect"
	"testing"
)

// TestCopyIsWhole sets every field and finds it in the copy.
func TestCopyIsWhole(t *testing.T) {
	var c Conn
	v := reflect.ValueOf(&c).Elem()
	random := rand.New(rand.NewPCG(1, 2))
	for _, f := range reflect.VisibleFields(v.Type()) {
		p := v.FieldByIndex(f.Index)
		p = reflect.NewAt(p.Type(), p.Addr().UnsafePointer()).Elem()
		switch p.Kind() {
		case reflect.Array:
			p.Index(3).SetUint(7)
		case reflect.Int64:
			p.SetInt(random.Int64())
		default:
			p.SetUint(1 + random.Uint64N(100))
		}
	}
	table := newTable(t, Config{})
	c.ext = 0
	table.SetMark(&c, 1<<31)
	copied := table.Copy(&c)
	if copied.Mark != 1<<31 {
		t.Errorf("the copy's mark is %d", copied.Mark)
	}
	copied.ext = c.ext
	twin := reflect.ValueOf(copied.Conn)
	for _, f := range reflect.VisibleFields(v.Type()) {
		if !twin.FieldByIndex(f.Index).Equal(v.FieldByIndex(f.Index)) {
			t.Errorf("%s: the copy has another", f.Name)
		}
	}
}

// TestExcerpt copies what belongs to one client out of a table of many, and finds
// it all, and finds the table as it was whatever happens to the copies.
func TestExcerpt(t *testing.T) {
	table := newTable(t, Config{Max: 200})
	for i := range 150 {
		k := numbered(i + 10)
		s, _ := add(t, table, &k, 0, 60e9)
		s.Unlock()
	}
	k := numbered(1)
	template := Key{Client: k.Client, Virtual: k.Virtual, Proto: k.Proto}
	s, parent := add(t, table, &template, 5e9, 300e9)
	parent.Flags |= Template
	table.Hold(table.Ref(parent))
	control := table.Ref(parent)
	s.Unlock()
	s, old := add(t, table, &k, 6e9, 60e9) // two of the same key, the newer with a parent
	old.State = 9
	s.Unlock()
	s, c := add(t, table, &k, 7e9, 60e9)
	c.Control, c.State, c.Dest = control, 1, addr(172, 1)
	s.Extend(c).Helper = 5
	s.Unlock()
	waits := Key{Client: k.Client, Virtual: k.Virtual, VirtualPort: 4000, Proto: k.Proto}
	n := table.NoCPort()
	n.Lock()
	n.Arm(n.Insert(table.Hash(k.Proto, k.Client, 0), &waits, 0), 0, 60e9)
	n.Unlock()

	before := table.Len()
	o, err := table.Excerpt([]Key{k, template}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if o.Len() != 4 {
		t.Fatalf("%d connections, want 4", o.Len())
	}
	h := o.Hash(k.Proto, k.Client, k.ClientPort)
	s = o.Shard(h)
	s.Lock()
	twin := s.In(h, &k)
	if twin == nil || twin.State != 1 || twin.Dest != addr(172, 1) || o.Created(twin) != table.Created(c) || s.Ext(twin) == nil || s.Ext(twin).Helper != 5 {
		t.Fatalf("the connection's copy is %+v", twin)
	}
	th := o.Hash(template.Proto, template.Client, 0)
	tt := s.Template(th, &template)
	if tt == nil || twin.Control != o.Ref(tt) || o.Children(tt) != 1 {
		t.Fatalf("the copy's template is %+v", tt)
	}
	claimed := waits
	claimed.ClientPort = k.ClientPort
	if s.In(h, &claimed) == nil {
		t.Error("a connection that waits for its client's port is not there")
	}
	if !s.Remove(twin) || s.In(h, &k) == nil || s.In(h, &k).State != 9 {
		t.Error("the older connection does not stand behind the newer")
	}
	if o.Children(tt) != 0 {
		t.Error("the template is not let go")
	}
	s.Unlock()
	room := 0
	for i := range 100 {
		k := numbered(i + 1000)
		s.Lock()
		if s.Insert(o.Hash(k.Proto, k.Client, k.ClientPort), &k, 0) != nil {
			room++
		}
		s.Unlock()
	}
	if room != 200-before+1 {
		t.Errorf("room for %d more, want %d", room, 200-before+1)
	}
	s = table.Shard(table.Hash(k.Proto, k.Client, k.ClientPort))
	s.Lock()
	defer s.Unlock()
	if table.Len() != before || s.Get(table.Ref(c)) != c || c.State != 1 || table.noCPort.Load() != 1 || table.Children(&table.records[control]) != 1 {
		t.Error("the table has changed")
	}
}

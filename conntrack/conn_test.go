package conntrack

import (
	"reflect"
	"testing"
)

// TestLayout holds a record and its rest to 96 and 16 bytes without a pointer, and
// addresses to multiples of 16.
func TestLayout(t *testing.T) {
	conn := reflect.TypeFor[Conn]()
	if size, rest := conn.Size(), reflect.TypeFor[rest]().Size(); size != 96 || rest != 16 {
		t.Errorf("a Conn has %d bytes and a rest %d, want 96 and 16", size, rest)
	}
	end := uintptr(0)
	for i := range conn.NumField() {
		f := conn.Field(i)
		if f.Offset != end {
			t.Errorf("%d bytes of padding before %s", f.Offset-end, f.Name)
		}
		end = f.Offset + f.Type.Size()
		kind := f.Type.Kind()
		if kind == reflect.Array {
			kind = f.Type.Elem().Kind()
		}
		if kind < reflect.Int || kind > reflect.Uint64 {
			t.Errorf("%s is of kind %v, want a fixed-size integer", f.Name, kind)
		}
	}
	for name, want := range map[string]uintptr{"Client": 0, "Virtual": 16, "Dest": 32, "Expires": 64} {
		if f, _ := conn.FieldByName(name); f.Offset != want {
			t.Errorf("%s is at byte %d, want %d", name, f.Offset, want)
		}
	}
}

// TestShardLayout holds what every search needs to one cache line, which no other shard
// has a part of.
func TestShardLayout(t *testing.T) {
	shard := reflect.TypeFor[Shard]()
	if f, _ := shard.FieldByName("table"); f.Offset != 64 {
		t.Errorf("the first %d bytes are for searches, want 64", f.Offset)
	}
	if shard.Size()%64 != 0 {
		t.Errorf("a shard has %d bytes, %d more than whole cache lines", shard.Size(), shard.Size()%64)
	}
}

func TestStateName(t *testing.T) {
	for _, c := range []struct {
		conn Copy
		want string
	}{
		{Copy{Conn: Conn{Proto: 6, State: 1}}, "ESTABLISHED"},
		{Copy{Conn: Conn{Proto: 17}}, "UDP"},
		{Copy{Conn: Conn{Proto: 6, State: 99}}, "ERR!"},
		{Copy{Conn: Conn{Proto: 6, State: 1, Flags: Template}}, "NONE"},
		{Copy{Conn: Conn{Proto: 6, Flags: Template}, Assured: true}, "ASSURED"},
		{Copy{Conn: Conn{Flags: Template}}, "NONE"},
	} {
		if got := c.conn.StateName(); got != c.want {
			t.Errorf("protocol %d, state %d, flags %#x: %q, want %q", c.conn.Proto, c.conn.State, c.conn.Flags, got, c.want)
		}
	}
}

func TestMethod(t *testing.T) {
	c := Conn{Flags: NoOutput | Inactive | Flags(Direct)}
	if c.Method() != Direct {
		t.Errorf("method %d, want %d", c.Method(), Direct)
	}
}

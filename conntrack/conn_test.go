package conntrack

import (
	"reflect"
	"testing"
)

// TestLayout holds the record to two cache lines without a pointer, and the
// fields that finding and rewriting need to the first.
func TestLayout(t *testing.T) {
	conn := reflect.TypeFor[Conn]()
	if conn.Size() != 128 {
		t.Errorf("a Conn has %d bytes, want 128", conn.Size())
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
	if f, _ := conn.FieldByName("Expires"); f.Offset != 64 {
		t.Errorf("Expires is at byte %d; the first 64 belong to finding and rewriting", f.Offset)
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
		conn Conn
		want string
	}{
		{Conn{Proto: 6, State: 1}, "ESTABLISHED"},
		{Conn{Proto: 17}, "UDP"},
		{Conn{Proto: 6, State: 99}, "ERR!"},
		{Conn{Proto: 6, State: 1, Flags: Template}, "NONE"},
		{Conn{Proto: 6, Flags: Template, family: assured}, "ASSURED"},
		{Conn{Flags: Template}, "NONE"},
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

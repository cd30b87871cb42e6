package frag

import (
	"math/rand/v2"
	"testing"
)

// fragment is a part of a datagram, in units of 8 bytes; the last one ends 3
// bytes short.
type fragment struct {
	from, to int
	last     bool
}

func (f fragment) bytes() (from, to int) {
	if from, to = 8*f.from, 8*f.to; f.last {
		to -= 3
	}
	return from, to
}

func TestParts(t *testing.T) {
	for _, c := range []struct {
		name     string
		frags    []fragment
		want     []Part
		complete bool
	}{
		{"in order", []fragment{{0, 2, false}, {2, 4, false}, {4, 5, true}}, []Part{Fresh, Fresh, Fresh}, true},
		{"in reverse", []fragment{{4, 5, true}, {2, 4, false}, {0, 2, false}}, []Part{Fresh, Fresh, Fresh}, true},
		{"the middle last", []fragment{{0, 2, false}, {4, 5, true}, {2, 4, false}}, []Part{Fresh, Fresh, Fresh}, true},
		{"one is missing", []fragment{{0, 2, false}, {4, 5, true}}, []Part{Fresh, Fresh}, false},
		{"the last is missing", []fragment{{0, 2, false}, {2, 4, false}}, []Part{Fresh, Fresh}, false},
		{"sent again", []fragment{{0, 2, false}, {0, 2, false}, {2, 3, true}}, []Part{Fresh, Duplicate, Fresh}, true},
		{"sent again in pieces", []fragment{{0, 4, false}, {1, 2, false}}, []Part{Fresh, Duplicate}, false},
		{"overlap", []fragment{{0, 2, false}, {1, 3, false}, {3, 4, true}}, []Part{Fresh, Refused, Refused}, false},
		{"overlap to the left", []fragment{{2, 4, false}, {0, 3, false}}, []Part{Fresh, Refused}, false},
		{"around", []fragment{{2, 3, false}, {1, 4, false}}, []Part{Fresh, Refused}, false},
		{"from the same offset, but more", []fragment{{2, 3, false}, {2, 4, false}}, []Part{Fresh, Refused}, false},
		{"behind the end", []fragment{{2, 3, true}, {3, 4, false}}, []Part{Fresh, Refused}, false},
		{"another end", []fragment{{2, 3, true}, {3, 4, true}}, []Part{Fresh, Refused}, false},
		{"an end before others", []fragment{{4, 5, false}, {2, 3, true}}, []Part{Fresh, Refused}, false},
		{"empty", []fragment{{2, 2, false}}, []Part{Refused}, false},
		{"too long", []fragment{{8190, 8193, true}}, []Part{Refused}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var d Datagram[int]
			for i, f := range c.frags {
				from, to := f.bytes()
				if got := d.Add(from, to, f.last); got != c.want[i] {
					t.Errorf("fragment %d: %d, want %d", i, got, c.want[i])
				}
			}
			if d.Complete() != c.complete {
				t.Errorf("complete: %v", d.Complete())
			}
		})
	}
	var d Datagram[int]
	if d.Add(0, 12, false) != Refused {
		t.Error("a fragment of 12 bytes that others follow")
	}
}

// TestPartsAgainstBytes holds Add against a map of every byte.
func TestPartsAgainstBytes(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 5000 {
		var d Datagram[int]
		have := map[int]bool{}
		end, spoilt, gaps := 0, false, false
		for range rnd.IntN(40) {
			f := fragment{from: rnd.IntN(40)}
			f.to = f.from + 1 + rnd.IntN(3)
			f.last = rnd.IntN(20) == 0
			from, to := f.bytes()
			old, most := 0, 0
			for b := range have {
				if b >= from && b < to {
					old++
				}
				most = max(most, b+1)
			}
			got := d.Add(from, to, f.last)
			want := Fresh
			switch {
			case spoilt, end != 0 && (to > end || f.last && to != end), f.last && most > to:
				want = Refused
			case old == to-from:
				want = Duplicate
			case old > 0:
				want = Refused
			}
			if want == Fresh && got == Refused && d.n == maxParts {
				gaps = true
			}
			if got != want && !gaps {
				t.Fatalf("%d to %d: %d, want %d", from, to, got, want)
			}
			spoilt = spoilt || got == Refused
			if got == Fresh {
				for b := from; b < to; b++ {
					have[b] = true
				}
				if f.last {
					end = to
				}
			}
		}
		if d.Complete() != (!spoilt && end != 0 && len(have) == end) {
			t.Fatalf("complete: %v with %d bytes of %d", d.Complete(), len(have), end)
		}
	}
}

func TestManyGaps(t *testing.T) {
	var d Datagram[int]
	for i := range maxParts {
		if d.Add(16*i, 16*i+8, false) != Fresh {
			t.Fatal("a part is refused")
		}
	}
	if d.Add(16*maxParts, 16*maxParts+8, false) != Refused || d.Add(0, 8, false) != Refused {
		t.Error("more gaps than are kept track of")
	}
}

func TestTable(t *testing.T) {
	tab := New[int](4, 99)
	key := func(id uint32) *Key { return &Key{ID: id, Src: [16]byte{15: byte(id)}} }
	if tab.Find(key(1), 0) != nil {
		t.Error("an empty table finds something")
	}
	tab.Done(key(1))
	for id := range uint32(4) {
		d, displaced := tab.Make(key(id), int64(id))
		if d.Fate = int(id); displaced {
			t.Error("displaced one of an empty table")
		}
	}
	tab.Done(key(2))
	for id := range uint32(4) {
		if d := tab.Find(key(id), 10); (d != nil) != (id != 2) || d != nil && d.Fate != int(id) {
			t.Errorf("%d: %+v", id, d)
		}
	}
	if _, displaced := tab.Make(key(5), 20); !displaced || tab.Find(key(0), 20) != nil || tab.Len() != 3 {
		t.Error("the oldest should have gone")
	}
	if tab.Find(key(3), 3+Timeout-1) == nil || tab.Find(key(3), 3+Timeout) != nil || tab.Len() != 2 {
		t.Error("the timeout is another")
	}
	if _, displaced := tab.Make(key(6), 2*Timeout); displaced {
		t.Error("displaced one that had timed out")
	}
}

// TestTableAgainstMap does random things to a table that is never full and to a
// map.
func TestTableAgainstMap(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	tab := New[int](64, rnd.Uint64())
	model := map[Key]int{}
	for i := range 100_000 {
		k := Key{ID: uint32(rnd.IntN(40)), Proto: uint8(rnd.IntN(2)), Dst: [16]byte{8: byte(rnd.IntN(2))}}
		want, there := model[k]
		d := tab.Find(&k, 1)
		if (d != nil) != there || d != nil && d.Fate != want {
			t.Fatalf("step %d: found %+v, want %v %v", i, d, want, there)
		}
		switch {
		case there && rnd.IntN(2) == 0:
			tab.Done(&k)
			delete(model, k)
		case !there && len(model) < 30:
			d, displaced := tab.Make(&k, 1)
			if displaced {
				// The oldest had its turn. Which that was only the table knows.
				for m := range model {
					if tab.Find(&m, 1) == nil {
						delete(model, m)
					}
				}
			}
			d.Fate = i
			model[k] = i
		}
		if tab.Len() != len(model) {
			t.Fatalf("step %d: %d datagrams, want %d", i, tab.Len(), len(model))
		}
	}
}

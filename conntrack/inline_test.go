package conntrack

import (
	"math"
	"testing"
)

// TestInline gives connections marks and ports of the director's own in every order,
// with few addresses and with more than have numbers in a record, with and without an
// extension for something else.
func TestInline(t *testing.T) {
	local, most := addr(10, 7), make([]Addr, maxInline+1)
	for _, addrs := range [][]Addr{nil, most} {
		table := newTable(t, Config{})
		table.locals.list.Store(&addrs)
		k := numbered(1)
		s, c := add(t, table, &k, 0, 60e9)
		steps := map[string]func(){
			"port":      func() { s.setLocal(c, local, 4000) },
			"mark":      func() { table.SetMark(c, math.MaxUint32) },
			"unmark":    func() { table.SetMark(c, 0) },
			"extension": func() { s.Extend(c).Helper = 9 },
		}
		for _, order := range [][]string{
			{"port"},
			{"mark"},
			{"port", "mark"},
			{"mark", "port"},
			{"mark", "unmark", "port"},
			{"port", "mark", "unmark"},
			{"extension", "mark", "port"},
			{"mark", "extension", "port"},
			{"port", "extension", "mark"},
			{"mark", "port", "extension"},
		} {
			has := map[string]bool{}
			for _, step := range order {
				steps[step]()
				has[step] = true
				want := uint32(0)
				if has["mark"] && !has["unmark"] {
					want = math.MaxUint32
				}
				if got := table.Mark(c); got != want {
					t.Fatalf("%v, after %s: mark %d, want %d", order, step, got, want)
				}
				if twin := table.Copy(c); twin.Mark != want {
					t.Fatalf("%v, after %s: the copy's mark is %d, want %d", order, step, twin.Mark, want)
				}
				a, port := s.Local(c)
				if has["port"] != (port == 4000) || has["port"] && *a != local || !has["port"] && a != nil {
					t.Fatalf("%v, after %s: port %d of %v", order, step, port, a)
				}
				if x := s.Ext(c); has["extension"] && (x == nil || x.Helper != 9) {
					t.Fatalf("%v, after %s: the extension is %+v", order, step, x)
				}
			}
			few := len(addrs) == 0 || !has["port"]
			if want := has["extension"] || !few || has["mark"] && has["port"] && order[1] != "unmark"; c.Extended() != want {
				t.Errorf("%v, %d addresses before: it has an extension: %v, want %v", order, len(addrs), c.Extended(), want)
			}
			s.Remove(c)
			c = s.Insert(table.Hash(k.Proto, k.Client, k.ClientPort), &k, 0)
			if _, port := s.Local(c); port != 0 || table.Mark(c) != 0 || c.Extended() {
				t.Fatalf("%v: the record's next owner is %+v", order, *c)
			}
		}
		s.Unlock()
	}
}

package conntrack

import (
	"cmp"

	"vsnat/conntrack/arena"
)

// memory is what a table has reserved, and what went wrong.
type memory struct {
	free []func()
	err  error
}

// reserve reserves memory for n elements.
func reserve[T any](m *memory, n int, huge bool) []T {
	s, free, err := arena.Make[T](n, huge)
	if err != nil {
		m.err = cmp.Or(m.err, err)
		return nil
	}
	m.free = append(m.free, free)
	return s
}

func (m memory) release() {
	for _, free := range m.free {
		free()
	}
}

// ahead is for how many connections more than there ever were at once [Table.Populate]
// takes memory.
const ahead = 1 << 15

// Populate takes memory from the system for connections to come, so that their packets
// do not wait for it: of the index at once, and of records some more than are in use.
// One goroutine calls it, before there are packets and then now and again.
func (t *Table) Populate() {
	if t.populated == 0 {
		arena.Populate(t.lines, 0, len(t.lines))
	}
	end := min(int(t.pool.handedOut())+ahead, len(t.records))
	if end < len(t.records) && end-t.populated < ahead/2 {
		return
	}
	arena.Populate(t.records, t.populated, end)
	arena.Populate(t.rests, t.populated, end)
	arena.Populate(t.nodes, t.populated, end)
	t.populated = end
}

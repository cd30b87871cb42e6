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

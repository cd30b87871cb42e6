package conntrack

import (
	"slices"
	"sync"
	"sync/atomic"
)

// roster numbers values of which there are few, so that connections need only have the
// number: the addresses that any connection has had a port on, the marks that any has
// had. They only become more. The zero value is empty.
type roster[T comparable] struct {
	mu   sync.Mutex // of who adds one
	list atomic.Pointer[[]T]
}

// number returns the value's number.
func (r *roster[T]) number(v T) uint32 {
	if i := slices.Index(r.all(), v); i >= 0 {
		return uint32(i)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.all()
	if i := slices.Index(all, v); i >= 0 {
		return uint32(i)
	}
	more := append(slices.Clone(all), v)
	r.list.Store(&more)
	return uint32(len(all))
}

func (r *roster[T]) all() []T {
	if p := r.list.Load(); p != nil {
		return *p
	}
	return nil
}

package sched

// A slab holds records under numbers from 1 up, chained by number: no pointer
// for the garbage collector to follow. It grows by a chunk at a time, the only
// allocation, and uses freed records again. The zero value is empty.
type slab[T any] struct {
	chunks []*[chunkLen]node[T]
	taken  int32 // numbers ever given out
	free   int32 // first of the chain of freed records
}

const (
	chunkBits = 10
	chunkLen  = 1 << chunkBits
)

// node is a record and the number of the next in its chain; 0 ends a chain.
type node[T any] struct {
	record T
	next   int32
}

// at returns the record of a number that was taken.
func (s *slab[T]) at(n int32) *node[T] {
	return &s.chunks[n>>chunkBits][n&(chunkLen-1)]
}

// take gives out a number; its record is zero. It allocates once in chunkLen
// calls while the slab is larger than ever before, otherwise never.
func (s *slab[T]) take() int32 {
	if n := s.free; n != 0 {
		r := s.at(n)
		s.free = r.next
		*r = node[T]{}
		return n
	}
	s.taken++
	if int(s.taken)>>chunkBits == len(s.chunks) {
		s.chunks = append(s.chunks, new([chunkLen]node[T]))
	}
	return s.taken
}

// release takes a number back.
func (s *slab[T]) release(n int32) {
	s.at(n).next = s.free
	s.free = n
}

// clone returns a copy.
func (s *slab[T]) clone() slab[T] {
	c := *s
	c.chunks = make([]*[chunkLen]node[T], len(s.chunks))
	for i, chunk := range s.chunks {
		twin := *chunk
		c.chunks[i] = &twin
	}
	return c
}

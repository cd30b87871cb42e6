package conntrack

// Scan walks the table in pieces: it calls f, under the shard's lock, for the
// records from cursor on, at most limit of them, and returns where to go on; 0
// at the end. A walk begins with cursor 0. Connections that come or go between
// two calls may be missed or seen; others are seen once. f may arm and remove
// the connection that it is given, and must not lock, insert or keep the
// pointer.
func (t *Table) Scan(cursor uint64, limit int, f func(*Conn)) (next uint64) {
	i, id := cursor>>32, uint32(cursor)
	if i >= uint64(len(t.shards)) {
		return 0
	}
	s := &t.shards[i]
	s.Lock()
	defer s.Unlock()
	for id = max(id, 1); id < s.fresh; id++ {
		if limit == 0 {
			return i<<32 | uint64(id)
		}
		if c := s.record(id); c.ref != 0 {
			f(c)
			limit--
		}
	}
	if i++; i == uint64(len(t.shards)) {
		return 0
	}
	return i << 32
}

package conntrack

// scanBlocks is how many blocks of records one piece of a walk looks at if few of them
// are in use.
const scanBlocks = 64

// Scan walks the table in pieces: it calls f, under the shard's lock, for the
// connections from cursor on, at most limit of them, and returns where to go on; 0
// at the end. A walk begins with cursor 0. Connections that come or go between
// two calls may be missed or seen; others are seen once. f may arm and remove
// the connection that it is given, and must not lock, insert or keep the
// pointer.
func (t *Table) Scan(cursor uint64, limit int, f func(*Conn)) (next uint64) {
	id := uint32(cursor)
	for range scanBlocks {
		if id >= t.pool.handedOut() {
			return 0
		}
		if id, limit = t.block(id).scan(id, limit, f); limit == 0 {
			break
		}
	}
	return uint64(id)
}

// scan does so with the rest of one block, and returns where to go on and how many
// connections are left to see.
func (s *Shard) scan(id uint32, limit int, f func(*Conn)) (next uint32, left int) {
	s.Lock()
	defer s.Unlock()
	for end := (id/blockLen + 1) * blockLen; id < end && limit > 0; id++ {
		if c := s.record(id); c.Flags&inUse != 0 {
			f(c)
			limit--
		}
	}
	return id, limit
}

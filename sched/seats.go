package sched

import (
	"maps"
	"slices"
)

// seats number the servers of a cache. A seat belongs to an address and port,
// not to an object: a server that is deleted and added again is found again by
// the entries that name it, as in the kernel, where an entry keeps the deleted
// object alive. A seat is given up when its server is not listed and nothing
// names it.
type seats struct {
	byAddr  map[endpoint]int32
	servers []*Server // by seat
	uses    []int32   // by seat: members that name it, and 1 while it is listed
	vacant  []int32
}

type endpoint struct {
	addr Addr
	port uint16
}

// of returns a server's seat; false if it has none, being of an older list.
func (t *seats) of(s *Server) (seat int32, ok bool) {
	seat, ok = t.byAddr[endpoint{s.Addr, s.Port}]
	return seat, ok
}

// enter gives a server that joins the list its seat.
func (t *seats) enter(s *Server) {
	seat, known := t.byAddr[endpoint{s.Addr, s.Port}]
	if !known {
		if n := len(t.vacant); n > 0 {
			seat, t.vacant = t.vacant[n-1], t.vacant[:n-1]
		} else {
			seat = int32(len(t.servers))
			t.servers = append(t.servers, nil)
			t.uses = append(t.uses, 0)
			// Room for every seat, so that drop never allocates.
			t.vacant = slices.Grow(t.vacant, len(t.servers))
		}
		t.byAddr[endpoint{s.Addr, s.Port}] = seat
	}
	t.servers[seat] = s
	t.uses[seat]++
}

// hold counts a use of a seat.
func (t *seats) hold(seat int32) { t.uses[seat]++ }

// drop ends a use of a seat.
func (t *seats) drop(seat int32) {
	if t.uses[seat]--; t.uses[seat] > 0 {
		return
	}
	s := t.servers[seat]
	delete(t.byAddr, endpoint{s.Addr, s.Port})
	t.servers[seat] = nil
	t.vacant = append(t.vacant, seat)
}

// clone returns a copy with the servers' twins.
func (t *seats) clone(twin func(*Server) *Server) seats {
	c := seats{byAddr: maps.Clone(t.byAddr), servers: make([]*Server, len(t.servers)), uses: slices.Clone(t.uses), vacant: slices.Clone(t.vacant)}
	twins(c.servers, t.servers, twin)
	return c
}

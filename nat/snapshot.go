package nat

// snapshot is what workers look things up in: immutable, replaced whole.
type snapshot struct {
	services map[ServiceKey]*service
	// vips has every address that services have, or had while connections of
	// theirs are left.
	vips map[Addr]struct{}
	// owned has the VIP endpoints, and servers the real servers' endpoints,
	// whose frames the guard keeps from the host.
	owned, servers map[Endpoint]struct{}
	dests          []*dest // by server number; 0 is none
}

func (s *snapshot) dest(id uint32) *dest {
	if int(id) < len(s.dests) {
		return s.dests[id]
	}
	return nil
}

func (s *snapshot) vip(a Addr) bool {
	_, ok := s.vips[a]
	return ok
}

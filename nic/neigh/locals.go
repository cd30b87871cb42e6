package neigh

import "vsnat/nic"

// Locals implements [nic.Routes].
func (s *snapshot) Locals() []nic.Addr {
	var all []nic.Addr
	for _, t := range s.fib.local {
		for _, l := range t.levels {
			if l.bits != 128 {
				continue
			}
			for a, c := range l.routes {
				if c.route.verdict == local {
					all = append(all, a.addr())
				}
			}
		}
	}
	return all
}

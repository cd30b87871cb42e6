package nat

import (
	"encoding/binary"

	"vsnat/conntrack"
	"vsnat/nic"
)

const hopSlots = 1024

// hopCache remembers the next hops of the addresses last asked for, so that
// not every packet searches the routes. It holds for one routes snapshot.
type hopCache struct {
	slot [hopSlots]hopSlot
	gen  uint32
}

type hopSlot struct {
	addr Addr
	gen  uint32
	hop  nic.Hop
}

func (c *hopCache) clear() { c.gen++ }

// hop returns the next hop towards addr.
func (w *Worker) hop(addr *Addr) *nic.Hop {
	// The low 32 bits tell IPv4 hosts, and those of one network, apart.
	n := binary.BigEndian.Uint32(addr[12:]) * 0x9e3779b1 >> 22
	s := &w.hops.slot[n%hopSlots]
	if s.gen != w.hops.gen || !conntrack.Same(&s.addr, addr) {
		s.addr, s.gen, s.hop = *addr, w.hops.gen, w.routes.Lookup(*addr)
	}
	return &s.hop
}

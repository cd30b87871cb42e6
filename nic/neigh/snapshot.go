package neigh

import (
	"vsnat/nic"
)

// snapshot is the kernel's state at one moment. It implements [nic.Routes].
type snapshot struct {
	fib        *fib
	neighbours *neighTable
}

var _ nic.Routes = (*snapshot)(nil)

// Lookup implements [nic.Routes]. Index, MTU, Src and SrcMAC are valid
// whenever there is a route to another host, whatever the neighbour's state.
func (s *snapshot) Lookup(dst nic.Addr) nic.Hop {
	a := fromAddr(dst)
	hop := nic.Hop{State: nic.HopNoRoute, NextHop: dst}
	if !a.routable() {
		return hop
	}
	r := find(s.fib.steps[family(!a.is4())], a)
	if r == nil || r.verdict == refuse {
		return hop
	}
	if r.verdict == local {
		hop.State = nic.HopLocal
		return hop
	}
	hop.Prefix = r.bits
	if a.is4() {
		hop.Prefix -= v4Bits
	}
	p := r.pick(a)
	if !p.gw.isZero() {
		a = p.gw
		hop.NextHop = a.addr()
	}
	hop.Index, hop.MTU, hop.SrcMAC = p.index, p.mtu, p.srcMAC
	if !p.src.isZero() {
		hop.Src = p.src.addr()
	}
	if p.bare {
		hop.State = nic.HopResolved
		return hop
	}
	n := s.neighbours.get(neighKey{a, int32(p.index)})
	hop.State, hop.DstMAC = n.state, n.mac
	return hop
}

// Local implements [nic.Routes].
func (s *snapshot) Local(addr nic.Addr) bool { return s.fib.isLocal(fromAddr(addr)) }

// Link implements [nic.Routes].
func (s *snapshot) Link(index int) (nic.Link, bool) {
	if i, ok := s.fib.place(index); ok {
		return s.fib.links[i], true
	}
	return nic.Link{}, false
}

// Links implements [nic.Routes].
func (s *snapshot) Links() []nic.Link { return s.fib.links }

// Forwarding implements [nic.Routes]. For IPv6 it is the namespace's
// net.ipv6.conf.all.forwarding, whatever the interface's own switch; of the
// interface's force_forwarding (since Linux 6.17) rtnetlink does not tell, so
// that it is not seen.
func (s *snapshot) Forwarding(index int, ipv6 bool) bool {
	i, ok := s.fib.place(index)
	return ok && s.fib.traits[i].forward[family(ipv6)]
}

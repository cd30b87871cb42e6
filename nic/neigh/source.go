package neigh

import (
	"math/bits"

	"golang.org/x/sys/unix"
)

// sources are the host's addresses, from which one is chosen for a route that
// names none.
type sources struct {
	all    []addrRecord
	byLink map[int][]addrRecord
}

func newSources(addrs []addrRecord) *sources {
	s := &sources{all: addrs, byLink: map[int][]addrRecord{}}
	for _, a := range addrs {
		s.byLink[a.index] = append(s.byLink[a.index], a)
	}
	return s
}

// choose returns the address that the host would use on path p of route r,
// zero if it has none.
func (s *sources) choose(r *routeRecord, p *pathRecord) ip {
	switch {
	case !r.src.isZero():
		return r.src
	case r.v6:
		return s.choose6(p.index, r.dst, r.bits)
	}
	return s.choose4(p.index, p.gw, r.scope)
}

// choose4 does as the kernel does (inet_select_addr in net/ipv4/devinet.c): a
// primary address of the link of no narrower scope than the route, best one in
// the gateway's subnet; else one of another link.
func (s *sources) choose4(index int, gw ip, scope uint8) (first ip) {
	for _, a := range s.byLink[index] {
		if !a.ip.is4() || a.flags&unix.IFA_F_SECONDARY != 0 || min(a.scope, unix.RT_SCOPE_LINK) > scope {
			continue
		}
		if !gw.is4() || gw.within(a.ip, a.bits) {
			return a.ip
		}
		if first.isZero() {
			first = a.ip
		}
	}
	if !first.isZero() {
		return first
	}
	for _, a := range s.all {
		if a.ip.is4() && a.flags&unix.IFA_F_SECONDARY == 0 && a.scope != unix.RT_SCOPE_LINK && a.scope <= scope {
			return a.ip
		}
	}
	return ip{}
}

// choose6 follows RFC 6724 section 5 as far as the route's prefix, dst/length,
// tells of the destination: scope, not deprecated, of the link, unique local
// to unique local, not temporary, longest common prefix.
func (s *sources) choose6(index int, dst ip, length uint8) (best ip) {
	near := dst.linkLocal6() && length >= 10
	top := -1
	for _, a := range s.all {
		const unusable = unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED
		if a.ip.is4() || a.scope == unix.RT_SCOPE_HOST || a.flags&unusable != 0 && a.flags&unix.IFA_F_OPTIMISTIC == 0 {
			continue
		}
		onLink := a.index == index
		if !onLink && (near || a.ip.linkLocal6()) {
			continue
		}
		rank := 0
		for _, better := range []bool{
			a.ip.linkLocal6() == near,
			a.flags&unix.IFA_F_DEPRECATED == 0,
			onLink,
			a.ip.uniqueLocal6() == (dst.uniqueLocal6() && length >= 7),
			a.flags&unix.IFA_F_TEMPORARY == 0,
		} {
			rank <<= 1
			if better {
				rank |= 1
			}
		}
		rank = rank<<8 | int(min(commonBits(a.ip, dst), a.bits, length))
		if rank > top {
			top, best = rank, a.ip
		}
	}
	return best
}

// commonBits is the length of the longest prefix that a and b share.
func commonBits(a, b ip) uint8 {
	if n := bits.LeadingZeros64(a.hi ^ b.hi); n < 64 {
		return uint8(n)
	}
	return uint8(64 + bits.LeadingZeros64(a.lo^b.lo))
}

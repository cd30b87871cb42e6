package nat

import "encoding/binary"

// The kernel's defaults for ICMP errors: net.ipv4.icmp_ratelimit (1000 ms a
// message and peer, bursts of 6: XRLIM_BURST_FACTOR in net/ipv4/icmp.c),
// icmp_msgs_per_sec and icmp_msgs_burst.
const (
	icmpPeerGap    = 1e9
	icmpPeerBurst  = 6
	icmpGlobalRate = 1000
	icmpGlobalMax  = 50
	icmpPeers      = 1024
)

// icmpLimit is a worker's limit on the ICMP errors it sends: token buckets, in
// nanoseconds, one for all and one for each of the peers last seen.
type icmpLimit struct {
	credit int64
	last   int64
	peer   [icmpPeers]icmpPeer
}

type icmpPeer struct {
	addr   Addr
	credit int64
	last   int64
}

// allow reports whether an error may go to a peer that is due one each gap
// nanoseconds, and counts it.
func (l *icmpLimit) allow(to Addr, gap, now int64) bool {
	p := &l.peer[binary.BigEndian.Uint32(to[12:])*0x9e3779b1>>22]
	if p.addr != to {
		*p = icmpPeer{addr: to, credit: icmpPeerBurst * gap, last: now}
	}
	const all = 1e9 / icmpGlobalRate
	l.credit = min(l.credit+now-l.last, icmpGlobalMax*all)
	l.last = now
	p.credit = min(p.credit+now-p.last, icmpPeerBurst*gap)
	p.last = now
	if l.credit < all || p.credit < gap {
		return false
	}
	l.credit -= all
	p.credit -= gap
	return true
}

// errorGap returns the nanoseconds in which one ICMP error may go to the host. In
// IPv6 it is the shorter the wider the route is that leads there
// (icmpv6_xrlim_allow in net/ipv6/icmp.c).
func (w *Worker) errorGap(to Addr) int64 {
	if is4(&to) {
		return icmpPeerGap
	}
	return icmpPeerGap >> ((128 - int(w.hop(&to).Prefix)) >> 5)
}

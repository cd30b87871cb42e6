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

func (l *icmpLimit) allow(to Addr, now int64) bool {
	p := &l.peer[binary.BigEndian.Uint32(to[12:])*0x9e3779b1>>22]
	if p.addr != to {
		*p = icmpPeer{addr: to, credit: icmpPeerBurst * icmpPeerGap, last: now}
	}
	const all = 1e9 / icmpGlobalRate
	l.credit = min(l.credit+now-l.last, icmpGlobalMax*all)
	l.last = now
	p.credit = min(p.credit+now-p.last, icmpPeerBurst*icmpPeerGap)
	p.last = now
	if l.credit < all || p.credit < icmpPeerGap {
		return false
	}
	l.credit -= all
	p.credit -= icmpPeerGap
	return true
}

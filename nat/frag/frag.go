// Package frag keeps track of datagrams that come in fragments. It holds no
// payload: the first fragment, which has the ports, decides what becomes of all
// of them, and the later ones follow it one by one. What the package remembers of
// a datagram is which parts of it came, so that parts that overlap are told
// apart from parts that are sent again.
//
// It reads no clock: the caller says what time it is.
package frag

import "vsnat/nat/wire"

const (
	// Timeout is how long a datagram is remembered after its first sight, in
	// nanoseconds (net.ipv4.ipfrag_time: 30 s).
	Timeout = 30e9

	// maxParts is how many parts with gaps between them are told apart. In order,
	// or in reverse, fragments make one.
	maxParts = 16

	// maxLen is the largest payload of an IP packet, in bytes.
	maxLen = 1<<16 - 1
)

// Key is what the fragments of a datagram have in common (RFC 791, section 3.2;
// RFC 8200, section 4.5). Addresses are in network byte order, IPv4 as
// IPv4-mapped; IPv6 has no Proto.
type Key struct {
	Src, Dst [16]byte
	ID       uint32
	Proto    uint8
}

// Part says what a fragment brings to its datagram.
type Part uint8

// What fragments bring. The zero value is invalid.
const (
	_         Part = iota
	Fresh          // bytes that were not there
	Duplicate      // bytes that are all there
	Refused        // overlaps, contradicts or exceeds what is there: the datagram is spoilt
)

// Datagram is one datagram in fragments. Fate is the caller's.
type Datagram[F any] struct {
	Fate F

	key    Key
	since  int64
	spoilt bool
	n      uint8          // parts
	part   [maxParts]part // by offset, with gaps between them
	length int32          // of the whole, once the last fragment came; 0 before

	next, prev uint32 // in the chain of its bucket
}

type part struct{ from, to int32 }

// Add notes a fragment with the payload from offset from to to, in bytes; last
// says that none follows.
func (d *Datagram[F]) Add(from, to int, last bool) Part {
	if d.spoilt {
		return Refused
	}
	switch {
	case from >= to, to > maxLen, !last && to%8 != 0, d.length != 0 && (to > int(d.length) || last && to != int(d.length)),
		last && d.n > 0 && int(d.part[d.n-1].to) > to:
		d.spoilt = true
		return Refused
	}
	f, t := int32(from), int32(to)
	at := 0 // of the first part that ends at or behind from
	for at < int(d.n) && d.part[at].to < f {
		at++
	}
	joinsLeft := at < int(d.n) && d.part[at].to == f
	right := at // of the first part that may follow
	if joinsLeft {
		right++
	}
	if at < int(d.n) && !joinsLeft && d.part[at].from <= f && t <= d.part[at].to {
		return Duplicate
	}
	if right < int(d.n) && d.part[right].from < t {
		// RFC 5722: whoever makes fragments overlap wants different receivers to
		// see different datagrams.
		d.spoilt = true
		return Refused
	}
	joinsRight := right < int(d.n) && d.part[right].from == t
	switch {
	case joinsLeft && joinsRight:
		d.part[at].to = d.part[right].to
		copy(d.part[right:d.n-1], d.part[right+1:d.n])
		d.n--
	case joinsLeft:
		d.part[at].to = t
	case joinsRight:
		d.part[right].from = f
	case d.n == maxParts:
		d.spoilt = true
		return Refused
	default:
		copy(d.part[at+1:d.n+1], d.part[at:d.n])
		d.part[at] = part{f, t}
		d.n++
	}
	if last {
		d.length = t
	}
	return Fresh
}

// Complete reports whether every byte of the datagram came.
func (d *Datagram[F]) Complete() bool {
	return !d.spoilt && d.length != 0 && d.n == 1 && d.part[0] == part{0, d.length}
}

// KeyOf returns the key of a fragment that was parsed.
func KeyOf(p *wire.Packet) Key {
	k := Key{Src: p.Src, Dst: p.Dst, ID: p.FragID, Proto: p.Proto}
	if p.V6 {
		k.Proto = 0
	}
	return k
}

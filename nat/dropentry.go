package nat

import (
	"vsnat/conntrack"
	"vsnat/conntrack/state"
)

// drop_entry: when memory is short, connections that are hardly used make room
// (ip_vs_random_dropentry). Each second the kernel looks at random buckets, a
// thirty-second of the table; here a thirty-second of the records has its turn.

const (
	// dropPieces is into how many parts the table is divided.
	dropPieces = 32
	// dropRecent is how long ago, in nanoseconds, a connection must have had its
	// last packet to be dropped for having had few.
	dropRecent = 60e9
	// dropPackets is what few means. Of connections with n packets one in n goes.
	dropPackets = 8
)

// entryDropper is where the defence stands. It is Expire's.
type entryDropper struct {
	cursor  uint64
	counter [dropPackets + 1]int // by number of packets: until the next that goes
}

// dropEntries ends connections in one part of the table.
func (e *Engine) dropEntries(snap *snapshot, now int64) {
	left := max(e.table.Len()/dropPieces, 1)
	for left > 0 {
		from := e.dropper.cursor
		e.dropper.cursor = e.table.Scan(from, min(left, sweepPiece), func(c *conntrack.Conn) {
			left--
			if e.table.Children(c) == 0 && e.dropper.dispensable(e, snap, c, now) {
				e.removeWithParent(snap, c)
			}
		})
		e.endParents(snap, false)
		if e.dropper.cursor == 0 {
			return // the rest is the next second's
		}
	}
}

// dispensable reports whether the connection goes.
func (x *entryDropper) dispensable(e *Engine, snap *snapshot, c *conntrack.Conn, now int64) bool {
	switch {
	case c.Flags&conntrack.Template != 0:
		if d := e.destOf(snap, c.Server); d != nil && d.service.Load().spec.Load().OnePacket {
			return x.unlucky(c, now)
		}
		return !e.table.Assured(c)
	case c.Proto == ProtoSCTP:
		switch state.SCTP(c.State) {
		case state.SCTPInit1, state.SCTPInit:
			return true
		case state.SCTPEstablished:
			return x.unlucky(c, now)
		}
		return false
	case c.Proto != ProtoTCP:
		return x.unlucky(c, now)
	}
	switch state.TCP(c.State) {
	case state.TCPSynRecv, state.TCPSynAck:
		return true
	case state.TCPEstablished:
		return x.unlucky(c, now)
	}
	return false
}

// unlucky reports whether it is the turn of a connection that had few packets
// (todrop_entry).
func (x *entryDropper) unlucky(c *conntrack.Conn, now int64) bool {
	if now-(c.Expires-c.Timeout()) < dropRecent || c.InPkts < 1 || c.InPkts > dropPackets {
		return false
	}
	n := &x.counter[c.InPkts]
	if *n--; *n > 0 {
		return false
	}
	*n = int(c.InPkts)
	return true
}

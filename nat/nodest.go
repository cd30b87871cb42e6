package nat

import (
	"vsnat/conntrack"
	"vsnat/conntrack/state"
)

// What becomes of connections whose server is gone, or to be left
// (expire_nodest_conn), or whose client begins anew (conn_reuse_mode).

// outlived reports whether the connection, of server d, does not count for this
// packet of its client, which is scheduled anew then, and if so whether the connection
// ends (ip_vs_in_hook).
func (w *Worker) outlived(j *job, c *conntrack.Conn, d *dest) (outlived, ends bool) {
	set := &w.snap.settings
	if (set.ExpireNodestConn || set.ConnReuseMode != 0) && w.begins(j) &&
		(set.ExpireNodestConn && d != nil && d.quiesced.Load() || reusable(c, set.ConnReuseMode)) {
		return true, w.e.table.Children(c) == 0
	}
	gone := set.ExpireNodestConn && d != nil && !d.available.Load()
	return gone, gone
}

// reusable reports whether a SYN or INIT on this connection's addresses and ports
// starts another one (is_new_conn_expected).
func reusable(c *conntrack.Conn, mode int) bool {
	if mode == 0 || c.Control != 0 {
		return false
	}
	if c.Proto == ProtoSCTP {
		return state.SCTP(c.State) == state.SCTPClosed
	}
	switch state.TCP(c.State) {
	case state.TCPTimeWait, state.TCPClose:
		return true
	case state.TCPFinWait:
		return mode&2 != 0 && c.Flags&conntrack.NoOutput != 0
	}
	return false
}

// sweepPiece is how many connections a sweep looks at before it gives up the
// shard's lock.
const sweepPiece = 1024

// sweep lets those go that a policy for the life of servers has move, and ends
// the connections whose servers were deleted, and their templates with the last
// of them (ip_vs_expire_nodest_conn_flush). Those that control others are left
// alone. At most about limit of the table is looked at.
func (e *Engine) sweep(snap *snapshot, now int64, limit int) {
	nodest, lives := e.sweepDue.Swap(false), e.lifeSweep.Swap(false)
	if nodest || lives {
		e.sweeping, e.sweepFrom = true, 0
		e.nodest = e.nodest || nodest
	}
	for e.sweeping && limit > 0 {
		e.sweepFrom = e.table.Scan(e.sweepFrom, sweepPiece, func(c *conntrack.Conn) {
			limit--
			d := e.destOf(snap, c.Server)
			if f := d.doomed(); f != nil && letMove(e.table.HomeOf(c), c, d, f, now) {
				return
			}
			if !e.nodest || d == nil || d.available.Load() || e.table.Children(c) != 0 {
				return
			}
			e.removeWithParent(snap, c)
		})
		e.endParents(snap, true)
		if e.sweepFrom == 0 {
			e.sweeping, e.nodest = false, false
		}
	}
}

// removeWithParent takes a connection without children out of the table, and
// leaves its parent, if that has no other child, to endParents. Its shard is
// locked, and its parent in another one, which is why that comes later.
func (e *Engine) removeWithParent(snap *snapshot, c *conntrack.Conn) {
	if c.Control != 0 {
		e.parents = append(e.parents, c.Control) // still held
		c.Control = 0
	}
	e.remove(snap, e.table.HomeOf(c), c)
}

// endParents ends what removeWithParent has left. No shard is locked. Not all of them
// end: assured templates are spared unless all is set.
func (e *Engine) endParents(snap *snapshot, all bool) {
	for _, parent := range e.parents {
		e.endParent(snap, parent, all)
	}
	e.parents = e.parents[:0]
}

// endParent lets go of a connection's parent and ends it if that was its last
// child, but for an assured template unless all go (ip_vs_conn_expire). No shard is
// locked.
func (e *Engine) endParent(snap *snapshot, parent conntrack.Ref, all bool) {
	s := e.table.Home(parent)
	s.Lock()
	defer s.Unlock()
	c := s.Get(parent) // there, as it was held
	if e.table.Release(parent) == 0 && (all || c.Flags&conntrack.Template == 0 || !e.table.Assured(c)) {
		e.remove(snap, s, c)
	}
}

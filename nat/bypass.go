package nat

import (
	"vsnat/conntrack"
	"vsnat/nat/wire"
)

// Cache bypass (cache_bypass): the servers of a mark's service are caches, and when
// none of them is there a client's packets go on to where they were sent. Their
// connection has no server.

// bypassing is what noServer says of a packet that goes on so. It is no verdict on
// a frame.
var bypassing = Verdict{Kind: 255}

// bypasses reports whether the packet, for which the service has no server, goes on
// to its destination (ip_vs_leave).
func (w *Worker) bypasses(j *job, spec *ServiceSpec) bool {
	dst := &w.pkt.Dst
	return w.snap.settings.CacheBypass && spec.Key.Mark != 0 && !j.aboutError && unicast(dst) && !w.routes.Local(*dst)
}

// bypass makes a connection without a server for the packet. The shard s is locked.
func (w *Worker) bypass(j *job, s *conntrack.Shard, hash uint64, key *conntrack.Key, old conntrack.Ref) (*conntrack.Conn, Verdict) {
	if c := s.In(hash, key); c != nil && w.e.table.Ref(c) != old {
		return c, Verdict{} // another worker made it meanwhile
	}
	spec := w.snap.service(w.mark(j), w.pkt).spec.Load()
	c := w.connection(s, hash, key, spec, nil)
	if c == nil {
		return nil, drop(TableFull)
	}
	c.Flags |= conntrack.Flags(conntrack.Bypass)
	c.SetWhy(conntrack.Bypassed)
	w.watch.made(c, nil)
	if !w.pkt.V6 {
		c.Dest = wire.Mapped([4]byte{})
	}
	return c, Verdict{}
}

// goal returns where the connection's packets from its client go.
func goal(c *conntrack.Conn) Addr {
	if c.Method() == conntrack.Bypass {
		return c.Virtual
	}
	return c.Dest
}

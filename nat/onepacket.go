package nat

import "vsnat/conntrack"

// One-packet scheduling: each datagram of such a service is scheduled by
// itself. Its connection is never in the table, and ends with the datagram.

// oncePerPacket reports whether the service schedules every packet of the
// protocol (ip_vs_schedule).
func (s *ServiceSpec) oncePerPacket(proto uint8) bool { return s.OnePacket && proto == ProtoUDP }

// connection returns a new connection without a server: one of the table, or
// nil when that is full; for one-packet scheduling the worker's own, which
// [Worker.settle] ends. To a server of the method full one is always of the table: it
// has a port there, by which answers are found.
func (w *Worker) connection(s *conntrack.Shard, hash uint64, key *conntrack.Key, spec *ServiceSpec, d *dest) *conntrack.Conn {
	if !spec.oncePerPacket(key.Proto) || d.pooled() {
		return s.Insert(hash, key, w.now)
	}
	w.once = conntrack.Conn{
		Client: key.Client, ClientPort: key.ClientPort, Virtual: key.Virtual, VirtualPort: key.VirtualPort,
		Proto: key.Proto, Flags: conntrack.OnePacket,
	}
	return &w.once
}

// settle ends the worker's own connection.
func (w *Worker) settle(c *conntrack.Conn, d *dest) {
	if d != nil {
		d.unbind(c)
	}
	if c.Control != 0 {
		w.e.table.Release(c.Control)
	}
}

package conntrack

// Deadline is what arms timers: worked out once for all the packets of a batch that
// give their connections the same timeout.
type Deadline struct {
	at      int64
	timeout uint32
}

// In returns the deadline that is timeout nanoseconds from now. The timeout is
// rounded as by [Conn.SetTimeout].
func In(now, timeout int64) Deadline {
	var c Conn
	c.SetTimeout(timeout)
	now = min(now, MaxTime)
	at := now + min(c.Timeout(), MaxTime-now)
	return Deadline{at, c.timeout}
}

// Of gives the deadline to a copy of a connection.
func (d *Deadline) Of(c *Conn) { c.Expires, c.timeout = d.at, d.timeout }

// ArmAs is [Shard.Arm] with a deadline.
func (s *Shard) ArmAs(c *Conn, d *Deadline) {
	c.timeout = d.timeout
	s.expire(c, d.at)
}

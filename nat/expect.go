package nat

import (
	"vsnat/conntrack"
	"vsnat/conntrack/state"
	"vsnat/nat/alg"
)

// Expected connections: what a control connection has announced goes to the same
// server, and is controlled by it (ip_vs_control_add).

// agreement is a connection that is to be expected as soon as no shard is locked,
// as it may be in any.
type agreement struct {
	key      conntrack.Key
	control  conntrack.Ref // held
	server   uint32
	dest     Addr
	destPort uint16
	mark     uint32
	helper   uint8
}

// agree notes what the helper of that number has connection c, whose shard is
// locked, expect. c stays there at least until expectAgreed.
func (w *Worker) agree(c *conntrack.Conn, number uint8, e alg.Expectation) {
	w.e.table.Hold(w.e.table.Ref(c))
	w.agreed = append(w.agreed, agreement{
		key: conntrack.Key{
			Client: c.Client, ClientPort: e.ClientPort, Virtual: c.Virtual, VirtualPort: e.VirtualPort, Proto: c.Proto,
		},
		control: w.e.table.Ref(c), server: c.Server, dest: c.Dest, destPort: e.ServerPort, mark: w.e.table.Mark(c), helper: number,
	})
}

// expectAgreed makes connections of what was agreed upon. No shard is locked, and
// the packet that agreed upon it has not left.
func (w *Worker) expectAgreed() {
	for i := range w.agreed {
		a := &w.agreed[i]
		n := &w.e.helped[a.helper-1]
		if w.expect(a) {
			n.expected.Add(1)
		} else {
			n.refused.Add(1)
		}
	}
	w.agreed = w.agreed[:0]
}

// expect makes one, or renews the one there is. It reports false when there is no
// room.
func (w *Worker) expect(a *agreement) bool {
	t := w.e.table
	hash := t.Hash(a.key.Proto, a.key.Client, a.key.ClientPort)
	s := t.Shard(hash)
	if a.key.ClientPort == 0 {
		s = t.NoCPort()
	}
	d := w.e.destOf(w.snap, a.server)
	s.Lock()
	defer s.Unlock()
	c := s.Expected(hash, &a.key, &a.dest, a.destPort, a.control)
	if c != nil || d == nil {
		t.Release(a.control)
	}
	if d == nil {
		return false
	}
	if c == nil {
		if c = s.Insert(hash, &a.key, w.now); c == nil {
			t.Release(a.control)
			return false
		}
		d.bind()
		c.Control, c.Server, c.Dest, c.DestPort = a.control, a.server, a.dest, a.destPort
		t.SetMark(c, a.mark)
		c.Flags |= conntrack.Inactive | conntrack.NFCT // and masquerading, as its control connection
		c.SetWhy(conntrack.FromHelper)
		w.e.tell(c, false)
	}
	timeout := w.e.timeouts.Load().UDP
	if a.key.Proto == ProtoTCP {
		c.State = uint8(state.TCPListen)
		d.recount(c)
		timeout = w.e.timeouts.Load().TCP[state.TCPListen]
	}
	c.SetTimeout(timeout)
	s.Rearm(c, w.now)
	return true
}

// takenPort reports whether a service of its own has that port of the address of the
// connection in w.seg: no data connection may take its clients away.
func (w *Worker) takenPort(port uint16) bool {
	c := w.seg.Conn
	return w.snap.services[Endpoint{Proto: c.Proto, Addr: c.Virtual, Port: port}] != nil
}

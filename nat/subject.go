package nat

import "vsnat/nat/wire"

// Subject says which packet a frame was, as it came, and whose.
type Subject struct {
	Proto            uint8
	Src, Dst         Addr
	SrcPort, DstPort uint16 // host order; 0 where the protocol has none
	TCPFlags         uint8
	Length           int // of the frame in bytes, padding left out
	// Service and Server are those of the connection that it belonged to, if
	// Owned.
	Owned   bool
	Service ServiceKey
	Server  Endpoint
}

// Subject returns the subject of the batch's frame i, whose verdict was Forward
// or Reply. It is valid until Commit.
func (w *Worker) Subject(i int) Subject {
	if q := &w.plains[i]; q.ok {
		return w.plainSubject(q)
	}
	p, j := &w.pkts[i], &w.jobs[i]
	s := Subject{
		Proto: p.Proto, Src: p.Src, Dst: p.Dst, SrcPort: p.SrcPort, DstPort: p.DstPort,
		TCPFlags: p.TCPFlags, Length: p.End,
	}
	w.own(&s, j.server)
	return s
}

// plainSubject is Subject for a packet that went the express way.
func (w *Worker) plainSubject(q *plain) Subject {
	k := q.portKey()
	s := Subject{
		Proto: k.Proto, Src: k.Remote, Dst: k.Local, SrcPort: k.RemotePort, DstPort: k.LocalPort,
		TCPFlags: q.flags, Length: wire.EthernetLen + q.length,
	}
	w.own(&s, q.server)
	return s
}

// own says whose the subject is: the server of that number; 0 is none.
func (w *Worker) own(s *Subject, server uint32) {
	if d := w.e.destOf(w.snap, server); d != nil {
		s.Owned = true
		s.Server = Endpoint{Proto: s.Proto, Addr: d.key.Addr, Port: d.key.Port}
		if svc := d.service.Load(); svc != nil {
			s.Service = svc.spec.Load().Key
		}
	}
}

package nat

import (
	"encoding/binary"

	"vsnat/conntrack"
	"vsnat/nat/wire"
)

// Persistence: the connections of one client, or of one network of clients, go
// to the same server as long as a template says so (ip_vs_sched_persist). A
// template is an entry of the connection table that no packet belongs to. It is
// found by the client without its port, so that it is in another shard than
// the connections it controls.

// retiredPort is the virtual and server port of a template that was rejected,
// which is found no more and dies by its timer.
const retiredPort = 0xffff

// persistent makes a connection to the server of the client's template. The
// shard s of the connection is locked before and after, but not in between: old
// is the connection that the caller found there and gave up, if any.
func (w *Worker) persistent(j *job, s *conntrack.Shard, hash uint64, key *conntrack.Key, old conntrack.Ref, svc *service, spec *ServiceSpec) (*conntrack.Conn, Verdict) {
	s.Unlock()
	parent, d, why, v := w.template(j, svc, spec)
	s.Lock()
	if d == nil {
		return nil, v
	}
	if c := s.In(hash, key); c != nil && w.e.table.Ref(c) != old {
		// Another worker made it meanwhile.
		w.e.table.Release(parent)
		return c, Verdict{}
	}
	c := w.connection(s, hash, key, spec, d)
	if c == nil {
		w.e.table.Release(parent)
		return nil, drop(TableFull)
	}
	if !d.admit() {
		s.Remove(c)
		w.e.table.Release(parent)
		return nil, drop(ServerGone)
	}
	c.Control = parent
	port := w.pkt.DstPort
	if port == spec.Key.Port && d.key.Port != 0 {
		port = d.key.Port
	}
	w.attach(j, c, d, port, why)
	return c, Verdict{}
}

// template finds or makes the template of the packet's client. It returns the
// server, why it is that, and the template held for a connection that has it as its
// Control, or no server and what becomes of the packet.
func (w *Worker) template(j *job, svc *service, spec *ServiceSpec) (conntrack.Ref, *dest, conntrack.Why, Verdict) {
	data, ok := w.peData(j, spec)
	if !ok {
		return 0, nil, 0, drop(NoCallID)
	}
	key := templateKey(w.pkt, spec)
	hash, s := w.templateHome(&key, data)
	s.Lock()
	defer s.Unlock()
	c := findTemplate(s, hash, &key, data)
	w.watch.looked(c)
	var d *dest
	why := conntrack.Scheduled
	if c != nil {
		d = w.e.destOf(w.snap, c.Server)
		var r ruling
		if f := d.doomed(); f != nil {
			var v Verdict
			if r, v = w.ruledTemplate(j, s, c, d, f); r == ends {
				return 0, nil, 0, v
			}
			if r == givesUp {
				why = conntrack.MovedByPolicy
			}
		}
		if r == rulesNot && !w.attracts(d) {
			retire(c)
			r = givesUp
		}
		if r == givesUp {
			w.watch.rejected()
			c = nil
		}
	}
	if c != nil {
		why = conntrack.FromTemplate
	} else {
		var v Verdict
		svc.mu.Lock()
		d, v = w.pick(j, svc, spec)
		svc.mu.Unlock()
		if d == nil {
			return 0, nil, 0, v
		}
		if c = w.insertTemplate(s, hash, &key, data, spec, d); c == nil {
			return 0, nil, 0, drop(TableFull)
		}
		w.e.table.SetMark(c, w.mark(j))
		if key.VirtualPort != 0 {
			c.DestPort = d.key.Port
		}
		c.SetWhy(why)
	}
	if spec.oncePerPacket(w.pkt.Proto) {
		c.InPkts++ // in its connections' stead
	}
	w.watch.named(c)
	w.e.table.Hold(w.e.table.Ref(c))
	// Only a new connection renews a template.
	s.Rearm(c, w.now)
	return w.e.table.Ref(c), d, why, Verdict{}
}

// retire has a template found no more.
func retire(c *conntrack.Conn) { c.VirtualPort, c.DestPort = retiredPort, retiredPort }

// attracts reports whether templates of the server bring it new connections
// (ip_vs_check_template). Being overloaded does not matter.
func (w *Worker) attracts(d *dest) bool {
	return d != nil && d.available.Load() && !(w.snap.settings.ExpireQuiescentTemplate && d.quiesced.Load())
}

// templateKey is what the template of the packet's client is found by. A
// template that stands for several ports, those of FTP among them, has port 0;
// that of a mark has the mark as its address, in IPv6 as the first 32 bits of it.
func templateKey(p *wire.Packet, spec *ServiceSpec) conntrack.Key {
	key := conntrack.Key{Client: p.Src, Virtual: p.Dst, Proto: p.Proto}
	maskClient(&key.Client, spec.Netmask)
	switch {
	case p.DstPort == spec.Key.Port:
		if p.DstPort != ftpPort {
			key.VirtualPort = p.DstPort
		}
	case spec.Key.Mark != 0:
		key.Proto = 0
		key.Virtual = Addr{}
		mark := key.Virtual[:4]
		if !p.V6 {
			key.Virtual[10], key.Virtual[11] = 0xff, 0xff
			mark = key.Virtual[12:]
		}
		binary.BigEndian.PutUint32(mark, spec.Key.Mark)
	}
	return key
}

// maskClient clears what [ServiceSpec.Netmask] does not tell apart.
func maskClient(a *Addr, mask uint32) {
	if is4(a) {
		v4 := a[12:]
		binary.BigEndian.PutUint32(v4, binary.BigEndian.Uint32(v4)&mask)
		return
	}
	// A shift by 64 gives 0.
	hi, lo := a[:8], a[8:]
	binary.BigEndian.PutUint64(hi, binary.BigEndian.Uint64(hi)&^(^uint64(0)>>min(mask, 64)))
	binary.BigEndian.PutUint64(lo, binary.BigEndian.Uint64(lo)&^(^uint64(0)>>(max(mask, 64)-64)))
}

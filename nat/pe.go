package nat

import (
	"fmt"
	"syscall"

	"vsnat/conntrack"
	"vsnat/nat/sip"
	"vsnat/nat/wire"
)

// Persistence engines: what keeps connections together is in the packets, and not
// who sent them (ip_vs_pe.c). There is one: sip, by which all messages of a call go
// to one server (ip_vs_pe_sip.c).

// PESIP is the name of the persistence engine for SIP.
const PESIP = "sip"

func checkPE(op string, spec *ServiceSpec) error {
	if spec.PE != "" && spec.PE != PESIP {
		return refuse(op, spec.Key, syscall.ENOENT, fmt.Sprintf("there is no persistence engine %q, only %q", spec.PE, PESIP))
	}
	return nil
}

// peData returns what the service's persistence engine goes by in the packet, a part
// of it; ok is false if there is no such thing, and the packet is dropped then.
// Without an engine there is nothing, and that is right.
func (w *Worker) peData(j *job, spec *ServiceSpec) (data []byte, ok bool) {
	if spec.PE == "" {
		return nil, true
	}
	if j.proto != ProtoUDP || len(j.l4) < wire.UDPLen {
		return nil, false
	}
	return sip.CallID(j.l4[wire.UDPLen:])
}

// templateHome returns the hash of a template with the key and data, and the shard
// of it.
func (w *Worker) templateHome(key *conntrack.Key, data []byte) (uint64, *conntrack.Shard) {
	hash := w.e.table.Hash(key.Proto, key.Client, key.ClientPort)
	if data != nil {
		hash = w.e.table.HashData(data)
	}
	return hash, w.e.table.Shard(hash)
}

// findTemplate finds a template in its shard s, which is locked.
func findTemplate(s *conntrack.Shard, hash uint64, key *conntrack.Key, data []byte) *conntrack.Conn {
	if data != nil {
		return s.TemplateOf(hash, key, data)
	}
	return s.Template(hash, key)
}

// insertTemplate makes a template to server d, or returns nil when the table is
// full. Its shard s is locked.
func (w *Worker) insertTemplate(s *conntrack.Shard, hash uint64, key *conntrack.Key, data []byte, spec *ServiceSpec, d *dest) *conntrack.Conn {
	var c *conntrack.Conn
	if data != nil {
		c = s.InsertTemplate(hash, key, data, w.now)
	} else {
		c = s.Insert(hash, key, w.now)
	}
	if c == nil {
		return nil
	}
	c.Flags |= conntrack.Template | d.connFlags()
	c.Server, c.Dest = d.ID, d.key.Addr
	c.SetTimeout(int64(spec.Timeout) * 1e9)
	d.templates.Add(1)
	return c
}

// peServers lists the servers from whose endpoint a datagram of no connection begins
// one (ip_vs_find_real_service): masquerading ones of UDP services that have an
// engine and a port. Of several the one that was added last.
func (s *snapshot) peServers(services []*service) {
	for _, svc := range services {
		spec := svc.spec.Load()
		if spec.PE == "" || spec.Key.Proto != ProtoUDP || spec.Key.Port == 0 {
			continue
		}
		for _, d := range svc.dests {
			if conntrack.Method(d.method.Load()) != conntrack.Masq {
				continue
			}
			ep := Endpoint{Proto: ProtoUDP, Addr: d.key.Addr, Port: d.key.Port}
			if s.talkers == nil {
				s.talkers = make(map[Endpoint]*dest)
			}
			if s.talkers[ep] == nil {
				s.talkers[ep] = d
			}
		}
	}
}

// talks deals with a datagram of no connection from a server that begins one of its
// own, by what the service's engine finds in it (ip_vs_new_conn_out). It reports
// false when it does not.
func (w *Worker) talks(j *job) (v Verdict, ok bool) {
	p := w.pkt
	if len(w.snap.talkers) == 0 || p.Proto != ProtoUDP || w.routes.Local(p.Dst) {
		return v, false
	}
	d := w.snap.talkers[Endpoint{Proto: ProtoUDP, Addr: p.Src, Port: p.SrcPort}]
	if d == nil {
		return v, false
	}
	spec := d.service.Load().spec.Load()
	data, ok := w.peData(j, spec)
	if !ok || data == nil {
		return v, false
	}
	parent := w.templateOut(spec, d, data)
	if parent == 0 {
		return v, false
	}
	s := w.e.table.Shard(j.hash)
	s.Lock()
	defer s.Unlock()
	key := answerKey(p)
	c := s.Out(conntrack.Hint{}, j.hash, &key)
	if c != nil { // another worker made it meanwhile
		w.e.table.Release(parent)
		return w.reply(j, s, c), true
	}
	c = w.connection(s, j.hash, &conntrack.Key{
		Client: p.Dst, ClientPort: p.DstPort, Virtual: spec.Key.Addr, VirtualPort: spec.Key.Port, Proto: p.Proto,
	}, spec, d)
	if c == nil || !d.admit() {
		if c != nil {
			s.Remove(c)
		}
		w.e.table.Release(parent)
		return v, false
	}
	c.Control = parent
	w.attach(j, c, d, p.SrcPort, conntrack.FromTemplate)
	w.e.table.SetMark(c, 0)
	v = w.reply(j, s, c)
	switch {
	case c.Flags&conntrack.OnePacket != 0:
		w.settle(c, d)
	case c.Expires == 0:
		s.Arm(c, w.now, conntrack.FirstTimeout)
	}
	return v, true
}

// templateOut finds or makes the template of a datagram from server d, and returns
// it held; 0 when the table is full.
func (w *Worker) templateOut(spec *ServiceSpec, d *dest, data []byte) conntrack.Ref {
	key := conntrack.Key{Client: w.pkt.Dst, Virtual: spec.Key.Addr, VirtualPort: spec.Key.Port, Proto: ProtoUDP}
	maskClient(&key.Client, spec.Netmask)
	hash, s := w.templateHome(&key, data)
	s.Lock()
	defer s.Unlock()
	c := findTemplate(s, hash, &key, data)
	if c != nil && (c.Server != d.ID || !w.attracts(d)) {
		retire(c)
		c = nil
	}
	if c == nil {
		if c = w.insertTemplate(s, hash, &key, data, spec, d); c == nil {
			return 0
		}
		c.DestPort = w.pkt.SrcPort
		c.SetWhy(conntrack.Scheduled)
	}
	w.e.table.Hold(w.e.table.Ref(c))
	s.Rearm(c, w.now)
	return w.e.table.Ref(c)
}

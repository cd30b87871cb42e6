package nat

import (
	"vsnat/conntrack"
	"vsnat/nat/wire"
	"vsnat/sched"
)

// excerpt makes an engine of copies, for a few packets: of one packet's connections,
// and of the services and servers that it and they concern. What happens there
// does not happen here. All else it has in common with the engine is never changed
// in place: the snapshot's sets, routes, policies.
type excerpt struct {
	from     *Engine
	to       *Engine
	worker   *Worker // of to
	services map[*service]*service
	dests    map[*sched.Server]*dest // by the original's
}

// excerpt returns one that judges the packet p, with that mark, as e would. The
// copies are made one after the other, each as it stands at that moment.
func (e *Engine) excerpt(p *wire.Packet, mark uint32) (*excerpt, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	x := &excerpt{from: e, services: make(map[*service]*service), dests: make(map[*sched.Server]*dest)}
	clients := []conntrack.Key{
		{Proto: p.Proto, Client: p.Src, ClientPort: p.SrcPort},
		{Proto: p.Proto, Client: p.Dst, ClientPort: p.DstPort}, // if a server sent it
	}
	var concerned []*service
	for _, s := range e.services {
		if !s.mayTake(p, mark) {
			continue
		}
		concerned = append(concerned, s)
		if spec := s.spec.Load(); spec.Persistent {
			key := templateKey(p, spec)
			clients = append(clients, key)
		}
	}
	// If it comes back to a port of a pool.
	ports := []conntrack.PortKey{{Local: p.Dst, LocalPort: p.DstPort, Remote: p.Src, RemotePort: p.SrcPort, Proto: p.Proto}}
	table, err := e.table.Excerpt(clients, ports)
	if err != nil {
		return nil, err
	}
	if err := x.engine(table); err != nil {
		return nil, err
	}
	for i := len(concerned) - 1; i >= 0; i-- { // the newest first, as there
		x.service(concerned[i])
	}
	table.Range(func(c *conntrack.Conn) bool {
		if d := e.destOf(e.snap.Load(), c.Server); d != nil {
			x.dest(d)
		}
		return true
	})
	x.publish()
	return x, nil
}

// mayTake reports whether the packet may be given to the service, if it begins a
// connection (see [snapshot.service]).
func (s *service) mayTake(p *wire.Packet, mark uint32) bool {
	if s.key.Mark != 0 {
		return s.key.Mark == mark
	}
	return s.key.Proto == p.Proto && s.key.Addr == p.Dst &&
		(s.key.Port == p.DstPort || s.key.Port == ftpPort || s.key.Port == 0)
}

// engine makes the engine, without services.
func (x *excerpt) engine(table *conntrack.Table) error {
	e := x.from
	to, err := New(Options{Conns: conntrack.Config{Shards: 1}})
	if err != nil {
		return err
	}
	to.opt, to.table = e.opt, table
	to.routes.Store(e.routes.Load())
	to.timeouts.Store(e.timeouts.Load())
	to.dropCounter.Store(e.dropCounter.Load())
	to.settings, to.defences, to.rules = e.settings, e.defences, e.rules
	to.pools, to.masquerades, to.helperPorts = e.pools, e.masquerades, e.helperPorts
	to.host.index.Store(e.host.index.Load())
	to.tunnelIDs.Store(e.tunnelIDs.Load())
	to.memory, to.memoryKnown = e.memory, e.memoryKnown
	to.dests = make([]*dest, len(e.dests))
	x.to = to
	return nil
}

// service copies a service with its servers and its scheduler, once.
func (x *excerpt) service(s *service) *service {
	if twin := x.services[s]; twin != nil {
		return twin
	}
	twin := &service{key: s.key}
	x.services[s] = twin
	s.mu.Lock()
	defer s.mu.Unlock()
	twin.spec.Store(s.spec.Load())
	twin.deleted = s.deleted
	for _, d := range s.dests {
		twin.dests = append(twin.dests, x.destLocked(d))
	}
	twin.relist()
	twin.sched = s.sched.Clone(x.server)
	observer, _ := twin.sched.(sched.Observer)
	twin.observer.Store(&observer)
	x.to.services = append([]*service{twin}, x.to.services...)
	if !s.deleted {
		x.to.byKey[s.key] = twin
	}
	return twin
}

// dest copies a server, once: with its service, of which it may be none any more.
func (x *excerpt) dest(d *dest) *dest {
	s := d.service.Load()
	x.service(s)
	s.mu.Lock()
	defer s.mu.Unlock()
	return x.destLocked(d)
}

// destLocked is dest while the server's service is locked.
func (x *excerpt) destLocked(d *dest) *dest {
	if twin := x.dests[&d.Server]; twin != nil {
		return twin
	}
	twin := &dest{key: d.key, weight: d.weight}
	d.Copy(&twin.Server)
	twin.service.Store(x.services[d.service.Load()])
	twin.method.Store(d.method.Load())
	twin.available.Store(d.available.Load())
	twin.doom.Store(d.doom.Load())
	twin.quiesced.Store(d.quiesced.Load())
	twin.upper.Store(d.upper.Load())
	twin.lower.Store(d.lower.Load())
	twin.templates.Store(d.templates.Load())
	twin.tunnel.store(d.tunnel.load())
	twin.pathMTU.mtu.Store(d.pathMTU.mtu.Load())
	twin.pathMTU.until.Store(d.pathMTU.until.Load())
	twin.pool.Store(d.pool.Load())
	twin.life.down, twin.life.event, twin.life.since, twin.life.swept = d.life.down, d.life.event, d.life.since, d.life.swept
	x.dests[&d.Server] = twin
	for len(x.to.dests) <= int(d.ID) {
		x.to.dests = append(x.to.dests, nil)
	}
	x.to.dests[d.ID] = twin
	return twin
}

// server returns the copy of a server that a scheduler knows: also of one that is
// nobody's any more.
func (x *excerpt) server(s *sched.Server) *sched.Server {
	if twin := x.dests[s]; twin != nil {
		return &twin.Server
	}
	twin := new(sched.Server)
	s.Copy(twin)
	return twin
}

// publish gives the engine the snapshot of the original, with copies in place of
// the services and servers.
func (x *excerpt) publish() {
	snap := *x.from.snap.Load()
	snap.services = make(map[Endpoint]*service)
	snap.marked = make(map[markKey]*service)
	snap.dests = x.to.dests
	for s, twin := range x.services {
		switch {
		case s.deleted:
		case s.key.Mark != 0:
			snap.marked[markKey{s.key.Mark, s.key.V6}] = twin
		default:
			snap.services[Endpoint{Proto: s.key.Proto, Addr: s.key.Addr, Port: s.key.Port}] = twin
		}
	}
	x.to.snap.Store(&snap)
}

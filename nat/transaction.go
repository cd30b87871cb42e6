package nat

// Transact carries out all that do asks for, or nothing. do runs twice: first
// it is rehearsed, with every check and no effect; if it returned nil, and own
// too, it runs again and its commands are carried out. Both times it must ask
// for the same. own is told what the engine is about to own, so that the guard
// can be there first; it must not call Update or Transact. Whatever changed
// reaches the workers at once, when Transact returns.
func (e *Engine) Transact(do func(tx *Tx) error, own func(soon Endpoints) error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	tx := &Tx{e: e, routes: e.routes.Load(), rehearsal: &rehearsal{
		services: make(map[ServiceKey]*draft), trash: make(map[trashKey]bool), rules: e.rules, settings: e.settings,
		pools: e.pools, masquerades: e.masquerades, uses: e.poolUses(),
		helpers: e.helperPorts,
	}}
	if err := do(tx); err != nil {
		return err
	}
	if err := own(tx.rehearsal.owns(e)); err != nil {
		return err
	}
	tx.rehearsal = nil
	err := do(tx)
	if e.dirty {
		e.publish()
	}
	return err
}

// rehearsal is what a transaction would have made of the services so far.
type rehearsal struct {
	services map[ServiceKey]*draft // those touched; nil is deleted
	flushed  bool                  // the others are deleted
	trash    map[trashKey]bool     // servers deleted here
	rules    []MarkRule
	settings Settings

	pools       []Pool
	masquerades []Masquerade
	uses        []poolUse // of servers, those included that do not use any longer
	helpers     helperPorts
}

// standing is a service as far as a command's checks depend on it.
type standing interface {
	wanted() *ServiceSpec
	has(k ServerKey) bool
	size() int // number of servers
}

func (s *service) wanted() *ServiceSpec { return s.spec.Load() }
func (s *service) has(k ServerKey) bool { return s.indexOf(k) >= 0 }
func (s *service) size() int            { return len(s.dests) }

// draft is a service in a rehearsal.
type draft struct {
	spec    ServiceSpec
	servers map[ServerKey]bool // whether the engine will own more by it
	fresh   bool               // whether the engine will own more by the service itself
}

func (d *draft) wanted() *ServiceSpec { return &d.spec }
func (d *draft) size() int            { return len(d.servers) }

func (d *draft) has(k ServerKey) bool {
	_, ok := d.servers[k]
	return ok
}

// find returns a service as it stands, or nil.
func (tx *Tx) find(k ServiceKey) standing {
	if tx.rehearsal != nil {
		if d := tx.draft(k); d != nil {
			return d
		}
		return nil
	}
	if s := tx.e.service(k); s != nil {
		return s
	}
	return nil
}

// draft returns a service for the rehearsal to change, or nil.
func (tx *Tx) draft(k ServiceKey) *draft {
	r := tx.rehearsal
	k = k.identity()
	if d, ok := r.services[k]; ok || r.flushed {
		return d
	}
	s := tx.e.service(k)
	if s == nil {
		return nil
	}
	d := &draft{spec: *s.spec.Load(), servers: make(map[ServerKey]bool, len(s.dests))}
	for _, dest := range s.dests {
		d.servers[dest.key] = false
	}
	r.services[k] = d
	return d
}

// editService notes that the service is wanted so.
func (r *rehearsal) editService(spec *ServiceSpec) {
	d := r.services[spec.Key]
	if d == nil {
		d = &draft{servers: make(map[ServerKey]bool)}
		r.services[spec.Key] = d
	}
	d.spec = *spec
	d.touch()
}

// touch notes that the engine may own more by the service than before.
func (d *draft) touch() {
	d.fresh = true
	for k := range d.servers {
		d.servers[k] = true
	}
}

// deleteService notes that the service, which is drafted, is gone.
func (r *rehearsal) deleteService(k ServiceKey) {
	k = k.identity()
	for s := range r.services[k].servers {
		r.trash[trashKey{k, s}] = true
	}
	r.services[k] = nil
}

// rehearseFlush notes that no service is left.
func (tx *Tx) rehearseFlush() {
	for _, s := range tx.e.services {
		tx.draft(s.key)
	}
	for k, d := range tx.rehearsal.services {
		if d != nil {
			tx.rehearsal.deleteService(k)
		}
	}
	tx.rehearsal.flushed = true
}

// rehearseRules notes that packets are marked so, by which any service of a mark may
// own more.
func (tx *Tx) rehearseRules(rules []MarkRule) {
	tx.rehearsal.rules = rules
	for _, s := range tx.e.services {
		if s.key.Mark != 0 {
			tx.draft(s.key)
		}
	}
	for k, d := range tx.rehearsal.services {
		if d != nil && k.Mark != 0 {
			d.touch()
		}
	}
}

// rehearseHelpers notes that helpers are attached to these ports, by which any
// service may own more.
func (tx *Tx) rehearseHelpers(ports helperPorts) {
	tx.rehearsal.helpers = ports
	for _, s := range tx.e.services {
		tx.draft(s.key)
	}
	for _, d := range tx.rehearsal.services {
		if d != nil {
			d.touch()
		}
	}
}

// owns returns what the engine will own and may not own yet. What is deleted
// here it still owns.
func (r *rehearsal) owns(e *Engine) (o Endpoints) {
	w := newWides(r.rules, r.helpers)
	for _, d := range r.services {
		if d == nil {
			continue
		}
		w.add(&d.spec)
		if d.fresh {
			o.Services = append(o.Services, destinations(r.rules, r.helpers, &d.spec)...)
		}
		for s, more := range d.servers {
			if more {
				o.Servers = append(o.Servers, sources(r.rules, r.helpers, &d.spec, s)...)
			}
		}
	}
	for _, s := range e.services {
		w.add(s.spec.Load())
	}
	for _, t := range e.trash {
		if t.left {
			w.add(t.service.Load().spec.Load())
		}
	}
	r.ownPorts(e, &o, w)
	return o
}

// inTrash reports whether a server that was deleted would come back.
func (tx *Tx) inTrash(k ServiceKey, server ServerKey) bool {
	key := trashKey{k.identity(), server}
	return tx.e.trash[key] != nil || tx.rehearsal != nil && tx.rehearsal.trash[key]
}

package nat

import (
	"fmt"
	"slices"
	"syscall"

	"vsnat/conntrack"
	"vsnat/conntrack/state"
	"vsnat/sched"
)

// Update runs f with exclusive access to the services. What f changed reaches
// the workers when f returns; servers that it took away get no new connection
// from that moment inside f on.
func (e *Engine) Update(f func(tx *Tx)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f(&Tx{e: e, routes: e.routes.Load()})
	if e.dirty {
		e.publish()
	}
}

// Tx is the engine's services during an Update or a Transact. Each method is
// one command of the kernel's IPVS control interface, with the kernel's checks
// in the kernel's order; a refusal is an *Error and changes nothing.
type Tx struct {
	e         *Engine
	routes    *routesBox
	rehearsal *rehearsal // nil when commands are carried out
}

// AddService adds a virtual service without servers.
func (tx *Tx) AddService(spec ServiceSpec) error {
	const op = "add-service"
	spec.Key = spec.Key.identity()
	if tx.find(spec.Key) != nil {
		return refuse(op, spec.Key, syscall.EEXIST, "")
	}
	if err := supported(op, spec.Key); err != nil {
		return err
	}
	if err := checkLife(op, &spec); err != nil {
		return err
	}
	if spec.ProxyProtocol == Unsaid {
		spec.ProxyProtocol = Off
	}
	if err := checkProxy(op, &spec); err != nil {
		return err
	}
	spec.Tuning.plain()
	sc, err := tx.newScheduler(op, &spec, 0)
	if err != nil {
		return err
	}
	if err := checkPE(op, &spec); err != nil {
		return err
	}
	if err := checkNetmask(op, &spec); err != nil {
		return err
	}
	if tx.rehearsal != nil {
		tx.rehearsal.editService(&spec)
		return nil
	}
	s := &service{key: spec.Key}
	s.schedule(sc)
	s.spec.Store(&spec)
	tx.e.services = slices.Insert(tx.e.services, 0, s)
	tx.e.byKey[s.key] = s
	tx.e.dirty = true
	return nil
}

func supported(op string, k ServiceKey) error {
	if k.Mark == 0 && k.Proto != ProtoTCP && k.Proto != ProtoUDP && k.Proto != ProtoSCTP {
		return refuse(op, k, syscall.EPROTONOSUPPORT, "services are of TCP, UDP or SCTP")
	}
	return nil
}

// checkNetmask refuses what is no prefix length of an IPv6 service.
func checkNetmask(op string, spec *ServiceSpec) error {
	if spec.Key.v6() && (spec.Netmask < 1 || spec.Netmask > 128) {
		return refuse(op, spec.Key, syscall.EINVAL, "the netmask of an IPv6 service is a prefix length from 1 to 128")
	}
	return nil
}

// EditService changes a service's scheduler, flags and persistence. The
// scheduler's state is kept when the scheduler and its tuning stay the same, and
// templates keep the timeout they were made with. What ipvsadm has no words for
// stays as it was when the spec does not have it: the policy for the life of
// servers, and the tuning of a scheduler that stays.
func (tx *Tx) EditService(spec ServiceSpec) error {
	const op = "edit-service"
	spec.Key = spec.Key.identity()
	is := tx.find(spec.Key)
	if is == nil {
		return refuse(op, spec.Key, syscall.ESRCH, "")
	}
	if spec.Life == nil {
		spec.Life = is.wanted().Life
	} else if err := checkLife(op, &spec); err != nil {
		return err
	}
	if spec.ProxyProtocol == Unsaid {
		spec.ProxyProtocol = is.wanted().ProxyProtocol
	} else if err := checkProxy(op, &spec); err != nil {
		return err
	}
	if old := is.wanted(); spec.Tuning == (Tuning{}) && spec.Scheduler == old.Scheduler {
		spec.Tuning = old.Tuning
	}
	spec.Tuning.plain()
	var sc sched.Scheduler
	if old := is.wanted(); old.Scheduler != spec.Scheduler || old.Tuning != spec.Tuning {
		var err error
		if sc, err = tx.newScheduler(op, &spec, is.size()); err != nil {
			return err
		}
	}
	if err := checkPE(op, &spec); err != nil {
		return err
	}
	if err := checkNetmask(op, &spec); err != nil {
		return err
	}
	if tx.rehearsal != nil {
		tx.rehearsal.editService(&spec)
		return nil
	}
	s := tx.e.service(spec.Key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if sc != nil {
		s.schedule(sc)
	}
	s.spec.Store(&spec)
	tx.e.refare(s)
	tx.e.dirty = true
	return nil
}

// DeleteService deletes a service. Its connections stay; packets from their
// clients are dropped until the service and its servers are back.
func (tx *Tx) DeleteService(k ServiceKey) error {
	if tx.find(k) == nil {
		return refuse("delete-service", k, syscall.ESRCH, "")
	}
	if tx.rehearsal != nil {
		tx.rehearsal.deleteService(k)
		return nil
	}
	s := tx.e.service(k)
	tx.e.drop(s)
	tx.e.services = slices.DeleteFunc(tx.e.services, func(o *service) bool { return o == s })
	return nil
}

// drop takes the service off its servers. It stays in the list of services.
func (e *Engine) drop(s *service) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deleted = true
	for _, d := range s.dests {
		e.discard(d)
	}
	s.list, s.dests = nil, nil
	s.sched.Init(nil)
	delete(e.byKey, s.key)
	e.dirty = true
}

// Flush deletes all services.
func (tx *Tx) Flush() {
	if tx.rehearsal != nil {
		tx.rehearseFlush()
		return
	}
	for _, s := range tx.e.services {
		tx.e.drop(s)
	}
	tx.e.services = nil
}

func (tx *Tx) checkServer(op string, k ServiceKey, spec *ServerSpec) error {
	subject := serverName(k, spec.Key)
	tunnelled := spec.Method == conntrack.Tunnel
	switch {
	case !tunnelled && spec.Method != conntrack.Masq && spec.Method != conntrack.Direct && spec.Method != conntrack.Full:
		return refuse(op, subject, syscall.EOPNOTSUPP, "only masquerading (-m), direct routing (-g), tunnels (-i) and FullNAT are supported")
	case spec.Weight < 0:
		return refuse(op, subject, syscall.ERANGE, "a weight is at least 0")
	case spec.Lower > spec.Upper:
		return refuse(op, subject, syscall.ERANGE, "the lower threshold is above the upper")
	case spec.Upper > 1<<31-1:
		return refuse(op, subject, syscall.EINVAL, "a threshold is at most 2147483647")
	case tunnelled:
		return checkTunnel(op, subject, spec)
	case is4(&spec.Key.Addr) == k.v6():
		return refuse(op, subject, syscall.EINVAL, "a server that is not tunnelled to is of its service's address family")
	}
	if spec.Method == conntrack.Full {
		return tx.checkPool(op, subject, spec.Pool)
	}
	return nil
}

// AddServer adds a real server at the head of the service's list. A server
// that was deleted while connections referred to it comes back with its
// counters.
func (tx *Tx) AddServer(k ServiceKey, spec ServerSpec) error {
	const op = "add-server"
	is := tx.find(k)
	if is == nil {
		return refuse(op, k, syscall.ESRCH, "")
	}
	if err := tx.checkServer(op, k, &spec); err != nil {
		return err
	}
	if is.has(spec.Key) {
		return refuse(op, serverName(k, spec.Key), syscall.EEXIST, "")
	}
	if !forOneHost(spec.Key.Addr) && !tx.inTrash(k, spec.Key) && !tx.routes.Local(spec.Key.Addr) {
		return refuse(op, serverName(k, spec.Key), syscall.EINVAL, "a real server's address is unicast")
	}
	if tx.rehearsal != nil {
		tx.draft(k).servers[spec.Key] = true
		tx.rehearsal.use(&spec)
		return nil
	}
	s := tx.e.service(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	d := tx.e.restore(s, spec.Key)
	if d == nil {
		d = tx.e.newDest(s, spec.Key)
	}
	d.apply(&spec, true)
	d.Available = true
	d.available.Store(true)
	tx.e.fare(d)
	s.dests = slices.Insert(slices.Clone(s.dests), 0, d)
	s.relist()
	s.sched.Changed(sched.Add, &d.Server, 0, s.list)
	tx.e.dirty = true
	return nil
}

// relist makes the schedulers' list anew. The service's mu is held.
func (s *service) relist() {
	s.list = make([]*sched.Server, len(s.dests))
	for i, d := range s.dests {
		s.list[i] = &d.Server
	}
}

// checkThere refuses a command about a server that is not there.
func (tx *Tx) checkThere(op string, k ServiceKey, key ServerKey) error {
	s := tx.find(k)
	if s == nil {
		return refuse(op, k, syscall.ESRCH, "there is no such service")
	}
	if !s.has(key) {
		return refuse(op, serverName(k, key), syscall.ENOENT, "the service has no such server")
	}
	return nil
}

// EditServer changes a server's method, weight and thresholds.
func (tx *Tx) EditServer(k ServiceKey, spec ServerSpec) error {
	const op = "edit-server"
	if tx.find(k) != nil {
		if err := tx.checkServer(op, k, &spec); err != nil {
			return err
		}
	}
	if err := tx.checkThere(op, k, spec.Key); err != nil {
		return err
	}
	if tx.rehearsal != nil {
		tx.rehearsal.use(&spec)
		return nil
	}
	s := tx.e.service(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.indexOf(spec.Key)
	d := s.dests[at]
	if was := d.spec(); was.Method != spec.Method || was.Tunnel != spec.Tunnel || was.Pool != spec.Pool {
		tx.e.dirty = true // who is tunnelled to, and whose ports are owned
	}
	if conntrack.Method(d.method.Load()) != spec.Method {
		tx.e.dirty = true // nat_icmp_send is about masquerading servers
	}
	d.apply(&spec, false)
	tx.e.fare(d)
	s.sched.Changed(sched.Edit, &d.Server, at, s.list)
	return nil
}

// DeleteServer takes a server off its service. Its connections stay; packets
// from their clients are dropped until it is added again.
func (tx *Tx) DeleteServer(k ServiceKey, key ServerKey) error {
	if err := tx.checkThere("delete-server", k, key); err != nil {
		return err
	}
	if tx.rehearsal != nil {
		delete(tx.draft(k).servers, key)
		tx.rehearsal.trash[trashKey{k.identity(), key}] = true
		return nil
	}
	s := tx.e.service(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.indexOf(key)
	d := s.dests[at]
	tx.e.discard(d)
	s.dests = slices.Delete(slices.Clone(s.dests), at, at+1)
	s.relist()
	s.sched.Changed(sched.Delete, &d.Server, at, s.list)
	tx.e.dirty = true
	return nil
}

// Zero sets the counters of one service and its servers to 0, or with nil
// those of all services and the total.
func (tx *Tx) Zero(k *ServiceKey) error {
	if k != nil && tx.find(*k) == nil {
		return refuse("zero", *k, syscall.ESRCH, "")
	}
	if tx.rehearsal != nil {
		return nil
	}
	if k != nil {
		tx.e.service(*k).zero()
		return nil
	}
	for _, s := range tx.e.services {
		s.zero()
	}
	tx.e.total.zero()
	return nil
}

func (s *service) zero() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.zero()
	s.life.zero()
	for _, d := range s.dests {
		d.stats.zero()
		d.life.counts.zero()
	}
}

// Timeouts returns the protocols' timeouts in force.
func (e *Engine) Timeouts() state.Timeouts { return *e.timeouts.Load() }

// ChangeTimeouts changes the protocols' timeouts; running timers keep theirs
// until the connection's next packet.
func (tx *Tx) ChangeTimeouts(change func(t *state.Timeouts)) {
	if tx.rehearsal == nil {
		t := *tx.e.timeouts.Load()
		change(&t)
		tx.e.timeouts.Store(&t)
	}
}

// Services lists the services, newest first, each with its servers in list
// order.
func (tx *Tx) Services() []ServiceInfo {
	infos := make([]ServiceInfo, len(tx.e.services))
	removed := tx.e.removed(nil)
	for i, s := range tx.e.services {
		infos[i] = s.info()
		infos[i].Removed = removed[s.key]
	}
	return infos
}

// Service returns one service, and ESRCH when there is none.
func (tx *Tx) Service(k ServiceKey) (ServiceInfo, error) {
	s := tx.e.service(k)
	if s == nil {
		return ServiceInfo{}, refuse("list", k, syscall.ESRCH, "there is no such service")
	}
	info := s.info()
	info.Removed = tx.e.removed(s)[s.key]
	return info, nil
}

func (s *service) info() ServiceInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	info := ServiceInfo{
		ServiceSpec: *s.spec.Load(),
		Counters:    s.stats.read(),
		Rates:       s.stats.rates(),
		LifeCounts:  s.life.read(),
		Servers:     make([]ServerInfo, len(s.dests)),
	}
	for i, d := range s.dests {
		info.Servers[i] = d.info()
	}
	return info
}

func (d *dest) info() ServerInfo {
	active := d.Active.Load()
	return ServerInfo{
		ServerSpec: d.spec(),
		Active:     active,
		Inactive:   max(d.Total.Load()-active, 0),
		Persistent: d.templates.Load(),
		Counters:   d.stats.read(),
		Rates:      d.stats.rates(),
		Event:      d.life.event,
		Deadline:   d.deadline(),
		LifeCounts: d.life.counts.read(),
	}
}

func (e *Engine) service(k ServiceKey) *service {
	return e.byKey[k.identity()]
}

// publish makes the snapshot anew from the control's state.
func (e *Engine) publish() {
	snap := &snapshot{
		services: make(map[Endpoint]*service, len(e.services)),
		marked:   make(map[markKey]*service),
		rules:    slices.Clone(e.rules),
		owned:    make(map[Endpoint]struct{}, len(e.services)),
		servers:  make(map[Endpoint]struct{}, len(e.dests)),
		masq:     make(map[Endpoint]struct{}),
		tunnels:  make(map[Endpoint]struct{}),
		dests:    slices.Clone(e.dests),
		settings: e.settings,
		helpers:  e.helperPorts,
		defences: e.defences,
	}
	w := newWides(snap.rules, snap.helpers)
	for _, s := range e.services {
		if s.key.Mark != 0 {
			snap.marked[markKey{s.key.Mark, s.key.V6}] = s
		} else {
			snap.services[Endpoint{Proto: s.key.Proto, Addr: s.key.Addr, Port: s.key.Port}] = s
			snap.ftp = snap.ftp || s.key.Port == ftpPort
			snap.anyPort = snap.anyPort || s.key.Port == 0
		}
		snap.own(s, w)
		for _, d := range s.dests {
			snap.ownServer(s, d)
			if snap.settings.NATICMPSend && conntrack.Method(d.method.Load()) == conntrack.Masq {
				snap.masq[Endpoint{Proto: s.key.Proto, Addr: d.key.Addr, Port: d.key.Port}] = struct{}{}
			}
		}
	}
	for _, t := range e.trash {
		if t.left = t.Total.Load() != 0; t.left {
			snap.own(t.service.Load(), w)
			snap.ownServer(t.service.Load(), t.dest)
		}
	}
	snap.ownPorts(e)
	snap.peServers(e.services)
	snap.wide = w.list(snap.ranges)
	e.snap.Store(snap)
	e.dirty = false
}

func refuse(op string, subject any, errno syscall.Errno, detail string) error {
	return &Error{Op: op, Subject: fmt.Sprint(subject), Errno: errno, Detail: detail}
}

func serverName(k ServiceKey, s ServerKey) string {
	return fmt.Sprintf("%s of %s", AddrPort(s.Addr, s.Port), k)
}

package nat

import (
	"cmp"
	"fmt"
	"slices"
	"syscall"

	"vsnat/conntrack"
)

// Pools of the director's own addresses and ports, for connections whose source
// is rewritten: to servers of the method full, and those that are masqueraded.

// DefaultPool is the name of the pool that is there unless it is said otherwise,
// and of servers and networks that name none.
const DefaultPool = "default"

// The ports of the default pool: below those that Linux gives its own connections
// (net.ipv4.ip_local_port_range, 32768 to 60999).
const (
	DefaultFirstPort = 10000
	DefaultLastPort  = 29999
)

const (
	maxPools     = 64
	maxPoolAddrs = 32 // of all pools
	// maxLocals is how many addresses ports may be on, those included that pools
	// without addresses have from the routes.
	maxLocals = 48
)

// Pool is a pool of addresses and ports of the director's own.
type Pool struct {
	Name string
	// Addrs are its addresses. Without any, connections have the address that the
	// host itself would use as source towards their destination.
	Addrs       []Addr
	First, Last uint16 // its ports, host byte order, both included
}

func defaultPool() Pool {
	return Pool{Name: DefaultPool, First: DefaultFirstPort, Last: DefaultLastPort}
}

// SetPools replaces the pools. The default pool is added if it is not among them.
// Connections keep the port that they have.
func (tx *Tx) SetPools(pools []Pool) error {
	const op = "set-pools"
	all := make([]Pool, 0, len(pools)+1)
	addrs := 0
	for i := range pools {
		p := pools[i]
		p.Addrs = slices.Clone(p.Addrs)
		if why := p.wrong(); why != "" {
			return refuse(op, "pool "+p.Name, syscall.EINVAL, why)
		}
		if slices.ContainsFunc(all, func(o Pool) bool { return o.Name == p.Name }) {
			return refuse(op, "pool "+p.Name, syscall.EEXIST, "there are two pools of this name")
		}
		addrs += len(p.Addrs)
		all = append(all, p)
	}
	if !slices.ContainsFunc(all, func(p Pool) bool { return p.Name == DefaultPool }) {
		all = append(all, defaultPool())
	}
	switch {
	case len(all) > maxPools:
		return refuse(op, "pools", syscall.E2BIG, fmt.Sprintf("there is room for %d", maxPools))
	case addrs > maxPoolAddrs:
		return refuse(op, "pools", syscall.E2BIG, fmt.Sprintf("%d addresses: there is room for %d", addrs, maxPoolAddrs))
	}
	if tx.rehearsal != nil {
		tx.rehearsal.pools = all
		return nil
	}
	tx.e.pools = all
	tx.e.dirty = true
	return nil
}

// wrong tells what is wrong with the pool, if anything.
func (p *Pool) wrong() string {
	switch {
	case p.Name == "":
		return "a pool has a name"
	case p.First == 0 || p.First > p.Last:
		return fmt.Sprintf("%d to %d is no range of ports", p.First, p.Last)
	}
	for i, a := range p.Addrs {
		if !forOneHost(a) || AddrPort(a, 0).Addr().IsLoopback() {
			return fmt.Sprintf("%s is no address that a server could answer", AddrPort(a, 0).Addr())
		}
		if slices.Contains(p.Addrs[:i], a) {
			return fmt.Sprintf("%s is there twice", AddrPort(a, 0).Addr())
		}
	}
	return ""
}

// Pools returns the pools.
func (tx *Tx) Pools() []Pool {
	pools := tx.e.pools
	if tx.rehearsal != nil {
		pools = tx.rehearsal.pools
	}
	pools = slices.Clone(pools)
	for i := range pools {
		pools[i].Addrs = slices.Clone(pools[i].Addrs)
	}
	return pools
}

// checkPool refuses a pool that is not there.
func (tx *Tx) checkPool(op, subject, name string) error {
	if !slices.ContainsFunc(tx.Pools(), func(p Pool) bool { return p.Name == poolName(name) }) {
		return refuse(op, subject, syscall.ENOENT, fmt.Sprintf("there is no pool %q", name))
	}
	return nil
}

func poolName(name string) string { return cmp.Or(name, DefaultPool) }

// portPool is a pool as workers use it.
type portPool struct {
	addrs []Addr
	first uint16
	count uint32 // of ports
}

func newPortPool(p *Pool) *portPool {
	return &portPool{addrs: p.Addrs, first: p.First, count: uint32(p.Last) - uint32(p.First) + 1}
}

// at returns the pool's ports on one of its addresses.
func (p *portPool) at(a *Addr) PortRange {
	return PortRange{Addr: *a, First: p.first, Last: p.first + uint16(p.count-1)}
}

// poolUses returns what uses pools now. e.mu is held.
func (e *Engine) poolUses() (uses []poolUse) {
	add := func(d *dest) {
		if d.pooled() {
			uses = append(uses, poolUse{pool: d.poolName(), server: d.key.Addr})
		}
	}
	for _, s := range e.services {
		for _, d := range s.dests {
			add(d)
		}
	}
	for _, t := range e.trash {
		if t.left {
			add(t.dest)
		}
	}
	for i := range e.masquerades {
		uses = append(uses, poolUse{pool: e.masquerades[i].Pool, nic: e.masquerades[i].NIC, inside: e.masquerades})
	}
	return uses
}

// ownPorts adds to the snapshot what pools own. Ports that were owned before stay
// so as long as connections have ports. e.mu is held.
func (s *snapshot) ownPorts(e *Engine) {
	s.pools = make(map[string]*portPool, len(e.pools))
	for i := range e.pools {
		s.pools[e.pools[i].Name] = newPortPool(&e.pools[i])
	}
	s.ranges = localRanges(e.pools, e.poolUses(), e.routes.Load(), e.learned())
	if len(s.ranges) > 0 {
		e.table.OpenBook()
	}
	if old := e.snap.Load(); old != nil && e.portsInUse() {
		for _, r := range old.ranges {
			if len(s.ranges) < maxLocals && !slices.Contains(s.ranges, r) {
				s.ranges = append(s.ranges, r)
				e.retiring = true
			}
		}
	}
	for i := range s.ranges {
		s.locals.add(s.ranges[i].Addr)
	}
	for i := range e.masquerades {
		s.inside = append(s.inside, newInside(&e.masquerades[i]))
		s.networks = append(s.networks, e.masquerades[i].Network)
	}
}

// use notes that a server is wanted so.
func (r *rehearsal) use(spec *ServerSpec) {
	if spec.Method == conntrack.Full {
		r.uses = append(r.uses, poolUse{pool: spec.Pool, server: spec.Key.Addr})
	}
}

// ownPorts adds to what is owned the ports of pools, those included that are owned
// now.
func (r *rehearsal) ownPorts(e *Engine, o *Endpoints, w *wides) {
	for i := range r.masquerades {
		r.uses = append(r.uses, poolUse{pool: r.masquerades[i].Pool, nic: r.masquerades[i].NIC, inside: r.masquerades})
		o.Networks = append(o.Networks, r.masquerades[i].Network)
	}
	ranges := slices.Clone(e.snap.Load().ranges)
	for _, n := range localRanges(r.pools, r.uses, e.routes.Load(), e.learned()) {
		if len(ranges) < maxLocals && !slices.Contains(ranges, n) {
			ranges = append(ranges, n)
		}
	}
	o.Wide = w.list(ranges)
}

// portsInUse reports whether connections have ports.
func (e *Engine) portsInUse() bool {
	b := e.table.Book()
	return b != nil && b.Used() > 0
}

// followPools publishes anew if the routes, or connections that have ended, have
// changed which ports are owned. e.mu is held.
func (e *Engine) followPools() (changed bool) {
	snap := e.snap.Load()
	now := localRanges(e.pools, e.poolUses(), e.routes.Load(), e.learned())
	lacks := func(r PortRange) bool { return !slices.Contains(snap.ranges, r) }
	if slices.ContainsFunc(now, lacks) || e.retiring && !e.portsInUse() {
		e.retiring = false
		e.publish()
		return true
	}
	return false
}

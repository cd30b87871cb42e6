package nat

import (
	"slices"
	"sync"
	"sync/atomic"

	"vsnat/conntrack"
	"vsnat/sched"
)

// service is a virtual service at work. Its key is immutable; what picking a
// server needs is guarded by mu, which is taken after a shard's lock and never
// before one.
type service struct {
	key   ServiceKey
	stats tally
	life  lifeTally

	spec atomic.Pointer[ServiceSpec] // as last added or edited; never changed in place

	// observer is sched if that is one, else nil; for those who do not hold mu.
	observer atomic.Pointer[sched.Observer]

	mu      sync.Mutex
	deleted bool // guarded by mu, as all below
	sched   sched.Scheduler
	list    []*sched.Server // in list order; replaced, never changed in place
	dests   []*dest         // the same servers in the same order
}

// dest is a real server of one service, kept while connections refer to it.
type dest struct {
	// What every packet needs comes first, near each other.

	// doom is nil while the server is well, and while all that its service wants is
	// what the kernel does.
	doom      atomic.Pointer[doom]
	available atomic.Bool // false once deleted
	quiesced  atomic.Bool // Weight is 0; for those who do not hold mu
	tunnel    tunnelSetting
	pathMTU   pathMTU
	service   atomic.Pointer[service]

	sched.Server // counters are atomic, the rest guarded by the service's mu

	key       ServerKey
	method    atomic.Uint32 // conntrack.Method of new connections
	pool      atomic.Pointer[string]
	upper     atomic.Uint32
	lower     atomic.Uint32
	templates atomic.Int32 // persistence templates (persistconns); not in Total
	stats     tally
	weight    int32 // as wanted: that of Server is 0 while it is down; guarded by the service's mu
	life      life
}

func (s *service) indexOf(k ServerKey) int {
	return slices.IndexFunc(s.dests, func(d *dest) bool { return d.key == k })
}

// apply takes over what is wanted of the server. The service's mu is held.
func (d *dest) apply(spec *ServerSpec, add bool) {
	if add || spec.Weight != 0 {
		d.LastWeight = spec.Weight
	}
	d.weight = spec.Weight
	d.weigh()
	d.quiesced.Store(spec.Weight == 0)
	d.method.Store(uint32(spec.Method))
	d.tunnel.store(spec.Tunnel)
	d.pool.Store(&spec.Pool)
	d.upper.Store(spec.Upper)
	d.lower.Store(spec.Lower)
	total := d.Total.Load()
	switch u := int32(spec.Upper); {
	case u == 0:
		d.Overloaded.Store(false)
	case total >= u:
		d.Overloaded.Store(true)
	case total >= d.lowMark():
	default:
		d.Overloaded.Store(false)
	}
}

// connFlags are the flags of a new connection to the server.
func (d *dest) connFlags() conntrack.Flags {
	f := conntrack.Flags(d.method.Load()) | conntrack.Inactive
	if m := conntrack.Method(f & conntrack.MethodMask); m != conntrack.Masq && m != conntrack.Full {
		f |= conntrack.NoOutput
	}
	return f
}

// poolName is the name of the pool that the server gets packets from.
func (d *dest) poolName() string { return poolName(*d.pool.Load()) }

// pooled reports whether the server gets packets from a pool.
func (d *dest) pooled() bool { return d != nil && conntrack.Method(d.method.Load()) == conntrack.Full }

// lowMark is the number of connections below which an overloaded server is
// taken up again: the lower threshold, or three quarters of the upper.
func (d *dest) lowMark() int32 {
	if l := d.lower.Load(); l != 0 {
		return int32(l)
	}
	u := d.upper.Load()
	return int32(u - u/4)
}

// bind counts a new connection, which starts inactive.
func (d *dest) bind() {
	total := d.Total.Add(1)
	if u := int32(d.upper.Load()); u != 0 && total == u {
		d.Overloaded.Store(d.Total.Load() >= d.lowMark())
	}
}

// admit is bind for a server that was not picked just now under its service's
// mu: it reports false, and counts nothing, when the server was deleted.
func (d *dest) admit() bool {
	owner := d.service.Load()
	owner.mu.Lock()
	defer owner.mu.Unlock()
	if !d.available.Load() {
		return false
	}
	d.bind()
	return true
}

// unbind forgets a connection or template.
func (d *dest) unbind(c *conntrack.Conn) {
	if c.Flags&conntrack.Template != 0 {
		d.templates.Add(-1)
		return
	}
	if c.Flags&conntrack.Inactive == 0 {
		d.Active.Add(-1)
	}
	before := d.Total.Add(-1) + 1
	if u := int32(d.upper.Load()); u != 0 && before == d.lowMark() {
		d.Overloaded.Store(d.Total.Load() >= u)
	}
}

// referred reports whether a connection or template is bound to the server.
func (d *dest) referred() bool { return d.Total.Load() != 0 || d.templates.Load() != 0 }

func (d *dest) spec() ServerSpec {
	return ServerSpec{
		Key: d.key, Method: conntrack.Method(d.method.Load()), Tunnel: d.tunnel.load(), Weight: d.weight,
		Upper: d.upper.Load(), Lower: d.lower.Load(), Pool: *d.pool.Load(),
	}
}

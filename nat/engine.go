// Package nat is the engine: it judges frames. For each it finds the
// connection, or the virtual service and a real server for a new connection,
// rewrites the frame where it lies, and says where it goes. It does no I/O,
// starts no goroutine and reads no clock: frames and the time come in,
// verdicts go out.
//
// What a frame goes through is in worker.go (its round), job.go (what is it), express.go
// (nearly all of them) or judge.go (the others), inbound.go (client
// to VIP), outbound.go (real server to client), icmp.go (errors about
// connections), answer.go (what we say ourselves), send.go and hold.go (waiting for a
// neighbour). Apart from that way stand persist.go, onepacket.go and mark.go
// (services that keep clients at their server, keep nothing, or have no
// address), nodest.go and defence.go (connections and packets to be rid of).
// What becomes of those whose server is in trouble, as their service wants it, is
// in the files life*.go. What the schedulers are given and told is in
// scheduler.go.
// Who wants to know why a packet goes where it goes finds it in decision.go, and in
// watch.go how it is noted; explain.go answers for a packet that never was.
// What an operator changes is in control.go, mark.go and settings.go; what the
// guard must know of it in owned.go.
package nat

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	"vsnat/conntrack"
	"vsnat/conntrack/state"
	"vsnat/nat/alg"
	"vsnat/nic"
)

// Options are an engine's fixed settings.
type Options struct {
	// Conns bounds and sizes the connection table.
	Conns conntrack.Config
	// Guarded says that the host's own stack does not see the frames of
	// services and of their connections, so that the engine answers in its
	// stead: a reset, or port unreachable. Without it such frames are passed.
	Guarded bool
	// ICMPRate limits ICMP answers as net.ipv4.icmp_ratelimit and
	// icmp_msgs_per_sec do by default; false sends every answer.
	ICMPRate bool
	// Ports are the first and last of the ports that datagrams of tunnels come
	// from; both 0 are the kernel's default (net.ipv4.ip_local_port_range).
	Ports [2]uint16
}

// Engine is the shared part: services, connections, routes. Workers, one for
// each receive queue, do the work.
type Engine struct {
	opt    Options
	table  *conntrack.Table
	snap   atomic.Pointer[snapshot]
	routes atomic.Pointer[routesBox]
	known  knownDests // dests as it stands
	total  tally

	host      hostPort
	tunnelIDs atomic.Uint32 // how many workers have taken one

	timeouts atomic.Pointer[state.Timeouts]
	expired  int // shard that Expire goes on with

	helped [len(helpers)]helperTally
	lines  alg.Lines
	flows  atomic.Pointer[nic.Flows] // nil if the guard looks into none

	// Of the sweep for connections without server; all but the first are
	// Expire's.
	sweepDue  atomic.Bool
	sweeping  bool
	sweepFrom uint64
	parents   []conntrack.Ref // of connections just swept away; still held
	nodest    bool            // those go whose server was deleted, not only those that policies let go
	lifeSweep atomic.Bool     // policies may let some go
	lifeDue   atomic.Int64    // when live has something to do

	learnt learnedAddrs

	traces  atomic.Pointer[[]*Trace] // nil if there are none
	tracers atomic.Uint32            // how many workers have taken a number

	dropCounter atomic.Int32 // packets until the next that DropPacket takes
	dropDue     atomic.Bool  // DropEntry's next part of the table
	dropper     entryDropper

	mu          sync.Mutex // guards what control changes, as all below
	services    []*service // newest first
	byKey       map[ServiceKey]*service
	trash       map[trashKey]*trashed
	dests       []*dest  // by server number
	free        []uint32 // server numbers to use again
	settings    Settings
	memory      int // available pages, as Defend was told
	memoryKnown bool
	defences    defences
	rules       []MarkRule
	pools       []Pool
	masquerades []Masquerade
	retiring    bool // ports are owned for connections that have them alone
	helperPorts helperPorts
	dirty       bool  // a new snapshot is due
	swept       int64 // when the trash was last looked through
}

// routesBox is the view of routes that is in force.
type routesBox struct {
	nic.Routes
	own addrSet // the host's addresses, those of whole prefixes left out
}

func newRoutesBox(r nic.Routes) *routesBox {
	b := &routesBox{Routes: r}
	for _, a := range r.Locals() {
		b.own.add(a)
	}
	return b
}

// New returns an engine without services. It forwards nothing before
// SetRoutes.
func New(opt Options) (*Engine, error) {
	if opt.Ports == [2]uint16{} {
		opt.Ports = [2]uint16{32768, 60999}
	}
	table, err := conntrack.New(opt.Conns)
	if err != nil {
		return nil, fmt.Errorf("nat: connection table: %w", err)
	}
	e := &Engine{
		opt: opt, table: table, dests: make([]*dest, 1), settings: DefaultSettings(),
		byKey: make(map[ServiceKey]*service), trash: make(map[trashKey]*trashed), pools: []Pool{defaultPool()},
	}
	e.helperPorts, _ = portsOf(DefaultHelpers(), helperPorts{})
	timeouts := state.DefaultTimeouts()
	e.timeouts.Store(&timeouts)
	e.lifeDue.Store(math.MaxInt64)
	e.routes.Store(newRoutesBox(noRoutes{}))
	e.publish()
	return e, nil
}

// SetRoutes gives the engine a new view of the host's routes and neighbours. It
// reports whether Owned may have changed.
func (e *Engine) SetRoutes(r nic.Routes) (changed bool) {
	e.routes.Store(newRoutesBox(r))
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.followPools()
}

// Table returns the connection table.
func (e *Engine) Table() *conntrack.Table { return e.table }

// Total returns the counters over all services.
func (e *Engine) Total() Counters { return e.total.read() }

// expireBurst bounds the timers handled while a shard is locked: a worker that
// needs the shard waits some microseconds and not for all of a flood's
// connections to end.
const expireBurst = 64

// Expire ends connections whose timer has run out, handling at most about
// limit timers, and returns how many it handled; less than limit means that
// nothing is left to do. It goes on where the last call stopped, so that no
// shard waits for ever. One goroutine at a time calls it. now is in nanoseconds
// on the engine's clock.
func (e *Engine) Expire(now int64, limit int) int {
	snap := e.snap.Load()
	shards := e.table.Shards()
	e.live(now)
	e.sweep(snap, now, limit)
	if e.dropDue.Swap(false) {
		e.dropEntries(snap, now)
	}
	n := 0
	for dry := 0; n < limit && dry < len(shards); dry++ {
		s := &shards[e.expired]
		burst := min(limit-n, expireBurst)
		s.Lock()
		did := s.Advance(now, func(c *conntrack.Conn) { e.end(snap, s, c, now) }, burst)
		s.Unlock()
		if did == burst {
			dry = -1 // there may be more
		}
		n += did
		e.expired = (e.expired + 1) % len(shards)
	}
	return n
}

// end takes a connection whose timer has run out out of the table, unless it
// controls others: then it lives on for [conntrack.ParentTimeout], which is its
// timeout from then on (ip_vs_conn_expire). Its shard s is locked.
func (e *Engine) end(snap *snapshot, s *conntrack.Shard, c *conntrack.Conn, now int64) {
	if e.table.Children(c) != 0 {
		s.Arm(c, now, conntrack.ParentTimeout)
		return
	}
	e.remove(snap, s, c)
}

// remove takes a connection without children out of the table. Its shard s is
// locked.
func (e *Engine) remove(snap *snapshot, s *conntrack.Shard, c *conntrack.Conn) {
	if d := e.destOf(snap, c.Server); d != nil {
		d.unbind(c)
	}
	if c.Why() == conntrack.FromHelper {
		e.tell(c, true)
	}
	s.Remove(c)
}

// destOf returns the server of that number. A snapshot may be older than a
// connection to the server, and the newest one is still to come when the first
// packets are given to a server that is being added.
func (e *Engine) destOf(snap *snapshot, id uint32) *dest {
	if id == 0 {
		return nil
	}
	if d := snap.dest(id); d != nil {
		return d
	}
	return e.known.get(id)
}

// noRoutes is the host before anything is known of it.
type noRoutes struct{}

func (noRoutes) Lookup(nic.Addr) nic.Hop           { return nic.Hop{State: nic.HopNoRoute} }
func (noRoutes) Local(nic.Addr) bool               { return false }
func (noRoutes) Link(int) (nic.Link, bool)         { return nic.Link{}, false }
func (noRoutes) Locals() []nic.Addr                { return nil }
func (noRoutes) Links() []nic.Link                 { return nil }
func (noRoutes) Forwarding(index int, _ bool) bool { return false }

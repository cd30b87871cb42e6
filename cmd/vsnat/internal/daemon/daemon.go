// Package daemon is the director at work: it wires the host's NICs, routes and
// guard to the engine, and answers the control socket.
package daemon

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"vsnat/cmd/vsnat/internal/address"
	"vsnat/cmd/vsnat/internal/config"
	"vsnat/cmd/vsnat/internal/control"
	"vsnat/cmd/vsnat/internal/latency"
	"vsnat/conntrack"
	"vsnat/nat"
	"vsnat/nic"
	"vsnat/nic/guard"
	"vsnat/nic/neigh"
	"vsnat/nic/tun"
)

// Version is vsnat's version.
const Version = "0.1.0"

// GuardOff as Config.Guard leaves the host's stack as it is: for a host that
// is known to see none of the services' frames otherwise.
const GuardOff = "off"

// Config is what the director is started with.
type Config struct {
	Socket   string        // path of the control socket
	Group    int           // whose members may use it, or control.NoGroup
	NICs     []string      // names of the NICs to take packets from; empty is all
	Guard    string        // "" for the best there is, guard.TCX, guard.NFT or GuardOff
	MaxConns int           // bound on connections
	Threads  int           // that serve the NICs; 0 chooses
	Queues   int           // of each NIC; 0 chooses
	Spin     time.Duration // how long a thread looks for more frames before it sleeps, at most
	Merge    bool          // consecutive segments of a flow are sent as one frame
	Budget   time.Duration // what a packet may take, for the latency report
	Pprof    string        // where profiles are to be had: a TCP address, or the path of a socket; "" nowhere

	File     string          // path of the configuration file; "" is none
	Declared *config.Config  // what it says
	Reload   <-chan struct{} // when it is to be read again; nil is never
}

// expireEvery is the time between two looks for connections that have run
// out: the tick of their timers.
const expireEvery = 64 * time.Millisecond

// expireAtOnce bounds how many end in one look, so that a look stays short.
const expireAtOnce = 100_000

// daemon is the running director.
type daemon struct {
	cfg    Config
	log    *zap.Logger
	engine *nat.Engine
	routes watcher
	guard  keeper    // nil when off
	epoch  time.Time // zero of the engine's clock
	nics   *nics
	meter  latency.Meter
	clocks clocks

	warnings  warnings
	declared  declared
	addresses *address.Holder // nil before the director runs

	// mu is held through a command and while what the engine owns is given to
	// the guard, so that the guard never lets go of what is being added.
	mu       sync.Mutex
	ownDue   bool                  // the guard refused what it was told last
	ownLocal []nic.Addr            // the host's addresses, as the guard was told last
	kept     map[nic.Addr]struct{} // servers whose link-layer addresses are kept
	marks    []control.MarkRule
	pools    []control.Pool       // as they were set; the default pool may not be among them
	inside   []control.Masquerade // networks that are masqueraded
	ports    portWatch
	local    bool                   // a real server is on the director itself
	steer    func([]tun.From) error // [tun.Steer]
	ownPorts []nat.PortRange        // of pools, as they were looked at last
}

// watcher follows the host's routes and neighbours: a [neigh.Watcher].
type watcher interface {
	Routes() nic.Routes
	Changed() <-chan struct{}
	Done() <-chan struct{}
	Ignored() []string
	Solicit(index int, nextHop nic.Addr)
	Keep(addrs []nic.Addr)
}

// keeper keeps frames from the host's own stack: a [guard.Guard].
type keeper interface {
	Kind() string
	Set(s guard.State) error
	Add(s guard.State) error
	Attach(ifindex int) error
	Detach(ifindex int) error
	Close() error
}

// Run is the director until ctx ends. ready is called when it forwards and the
// control socket answers.
func Run(ctx context.Context, cfg Config, logger *zap.Logger, ready func()) (err error) {
	// Before all else: what else fails, fails for want of them.
	if err := checkCapabilities(); err != nil {
		return err
	}
	if cfg.Threads == 0 {
		cfg.Threads = threads(runtime.NumCPU())
	}
	if cfg.Queues == 0 {
		cfg.Queues = queues(cfg.Threads)
	}
	shareScheduler(cfg.Threads)
	listener, err := control.ListenGroup(cfg.Socket, cfg.Group)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, listener.Close()) }()

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if cfg.Pprof != "" {
		l, err := listenPprof(cfg.Pprof)
		if err != nil {
			return err
		}
		servePprof(ctx, l, logger)
	}
	d := &daemon{cfg: cfg, log: logger, epoch: time.Now().Add(-time.Second), steer: tun.Steer}
	if err := d.start(ctx); err != nil {
		return err
	}
	defer d.stop()
	if err := d.declare(cfg.Declared); err != nil {
		return err
	}

	server := control.NewServer(d, log.New(zapWriter{logger}, "", 0))
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	logger.Info("director runs", zap.String("version", Version), zap.String("socket", cfg.Socket),
		zap.String("guard", d.guardKind()), zap.Strings("nics", d.nics.names()), zap.Int("threads", len(d.nics.hands)), zap.Duration("spin", cfg.Spin), zap.Bool("merge", cfg.Merge))
	ready()

	err = d.follow(ctx, served)
	err = errors.Join(err, shutdown(server))
	logger.Info("director leaves", zap.Int("connections", d.engine.Table().Len()))
	return err
}

// shutdown ends the control API. Requests under way have a second to finish.
func shutdown(server *control.Server) error {
	ctx, done := context.WithTimeout(context.Background(), time.Second)
	defer done()
	return server.Shutdown(ctx)
}

// start opens everything in the order that leaves no moment in which both the
// host and the engine see a frame.
func (d *daemon) start(ctx context.Context) (err error) {
	var seed [8]byte
	_, _ = rand.Read(seed[:]) // never fails (crypto/rand)
	d.engine, err = nat.New(nat.Options{
		Conns:    conntrack.Config{Max: d.cfg.MaxConns, Seed: binary.NativeEndian.Uint64(seed[:])},
		Guarded:  d.cfg.Guard != GuardOff,
		ICMPRate: true,
		Ports:    localPorts("/proc/sys/net/ipv4/ip_local_port_range"),
	})
	if err != nil {
		return err
	}
	d.engine.Table().Populate()

	d.clocks.look(time.Now(), nil)
	routes, err := neigh.Start(ctx, neigh.Options{OnError: func(err error) {
		d.log.Warn("routes", zap.Error(err))
	}})
	if err != nil {
		return err
	}
	d.routes = routes
	d.engine.SetRoutes(d.routes.Routes())
	for _, what := range d.routes.Ignored() {
		d.log.Warn("policy routing that is not followed", zap.String("rule", what))
	}
	if d.cfg.Guard != GuardOff {
		g, err := guard.Open(guard.Options{Force: d.cfg.Guard})
		if err != nil {
			return err
		}
		d.guard = g
		if f := g.Flows(); f != nil {
			d.engine.TellFlows(f)
		}
		d.log.Info("guard", zap.String("kind", g.Kind()), zap.String("why", g.Why()))
	}
	if err := d.own(); err != nil {
		return errors.Join(err, d.guard.Close())
	}
	d.nics = newNICs(d)
	err = d.nics.reconcile(d.routes.Routes())
	if err != nil && (len(d.cfg.NICs) > 0 || len(d.nics.names()) == 0) {
		d.stop()
		return err
	}
	d.warnings.tell(d.log, "NIC", err)
	go d.meter.Run(ctx, func() bool { return d.nics.busy(time.Second) })
	// What a director that was killed has left.
	d.warn("local", d.steer(nil))
	for _, name := range d.cfg.NICs {
		if !slices.Contains(d.nics.names(), name) {
			d.log.Warn("no such NIC yet, or not one to take packets from", zap.String("nic", name))
		}
	}
	return nil
}

func (d *daemon) stop() {
	if d.addresses != nil {
		d.leaveDeclared()
		d.addresses.Close()
	}
	d.leaveLocal()
	d.nics.close()
	if d.guard != nil {
		d.warn("guard", d.guard.Close())
	}
}

// follow keeps the engine in step with the host and the clock.
func (d *daemon) follow(ctx context.Context, served <-chan error) error {
	expire := time.NewTicker(expireEvery)
	defer expire.Stop()
	second := time.NewTicker(time.Second)
	defer second.Stop()
	estimate := time.NewTicker(2 * time.Second)
	defer estimate.Stop()
	for {
		var failed error
		select {
		case <-ctx.Done():
		case failed = <-served:
		case <-d.routes.Done():
			failed = errors.New("daemon: the kernel's routes can no longer be followed")
		case <-d.routes.Changed():
			d.followRoutes()
			continue
		case <-d.cfg.Reload:
			go d.reload()
			continue
		case <-expire.C:
			d.engine.Expire(d.now(), expireAtOnce)
			d.engine.Table().Populate()
			continue
		case <-second.C:
			d.tick()
			continue
		case <-estimate.C:
			d.engine.Estimate()
			continue
		}
		if ctx.Err() != nil {
			return nil // whatever else ended, ended because we leave
		}
		return failed
	}
}

// tick does what is due every second.
func (d *daemon) tick() {
	d.clocks.look(time.Now(), d.nics.threads())
	pages, err := availablePages()
	if err == nil {
		d.engine.Defend(pages)
	}
	d.warnings.tell(d.log, "memory", err)
	d.mu.Lock()
	if d.engine.Tick(d.now()) || d.ownDue {
		d.warnings.tell(d.log, "guard", d.own())
	}
	d.followLocal()
	d.warnings.tell(d.log, "pool", foreignPorts(d.routes.Routes(), d.ownPorts))
	d.mu.Unlock()
	d.watchPorts()
	// What could not be opened before is tried again.
	d.warnings.tell(d.log, "NIC", d.nics.reconcile(d.routes.Routes()))
}

func (d *daemon) followRoutes() {
	r := d.routes.Routes()
	changed := d.engine.SetRoutes(r)
	d.mu.Lock()
	if d.followLinks(r.Links()) || changed || d.ownDue || !slices.Equal(d.ownLocal, r.Locals()) {
		d.warnings.tell(d.log, "guard", d.own())
	}
	d.mu.Unlock()
	d.warnings.tell(d.log, "NIC", d.nics.reconcile(r))
}

// warn logs the error of something that happens once.
func (d *daemon) warn(what string, err error) {
	if err != nil {
		d.log.Warn(what, zap.Error(err))
	}
}

// warnings remembers what was warned of, so that what fails every second is
// logged once.
type warnings struct {
	mu   sync.Mutex
	last map[string]string
}

// tell logs the error, unless it is nil or the same as the last one of that
// subject.
func (w *warnings) tell(log *zap.Logger, subject string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		delete(w.last, subject)
		return
	}
	if w.last[subject] == err.Error() {
		return
	}
	if w.last == nil {
		w.last = map[string]string{}
	}
	w.last[subject] = err.Error()
	log.Warn(subject, zap.Error(err))
}

// now returns the time on the engine's clock, in nanoseconds.
func (d *daemon) now() int64 { return time.Since(d.epoch).Nanoseconds() }

func (d *daemon) guardKind() string {
	if d.guard == nil {
		return GuardOff
	}
	return d.guard.Kind()
}

// own has the guard keep from the host what the engine owns, and has the kernel
// keep the real servers' link-layer addresses resolved: its own stack does not
// see that they are in use. d.mu is held, except before the director runs.
func (d *daemon) own() error {
	have := d.engine.Owned()
	d.kept = addresses(have.Servers)
	d.steerFlows(have.Services)
	d.warnOfPorts(have.Ports)
	d.routes.Keep(slices.Collect(maps.Keys(d.kept)))
	if d.guard == nil {
		return nil
	}
	local := d.routes.Routes().Locals()
	err := d.guard.Set(guard.State{Services: guardKeys(have.Services), Servers: guardKeys(have.Servers), Local: local, Wide: guardWide(have.Wide), Networks: have.Networks})
	d.ownDue = err != nil
	d.ownLocal = local
	return err
}

// ownSoon does the same with what the engine is about to own, besides what it
// owns. d.mu is held.
func (d *daemon) ownSoon(soon nat.Endpoints) error {
	fresh := addresses(soon.Servers)
	maps.DeleteFunc(fresh, func(a nic.Addr, _ struct{}) bool { _, ok := d.kept[a]; return ok })
	if len(fresh) > 0 {
		if d.kept == nil {
			d.kept = make(map[nic.Addr]struct{})
		}
		maps.Copy(d.kept, fresh)
		d.routes.Keep(slices.Collect(maps.Keys(d.kept)))
	}
	if d.guard == nil {
		return nil
	}
	return d.guard.Add(guard.State{Services: guardKeys(soon.Services), Servers: guardKeys(soon.Servers), Wide: guardWide(soon.Wide), Networks: soon.Networks})
}

// addresses returns the addresses of the endpoints.
func addresses(eps []nat.Endpoint) map[nic.Addr]struct{} {
	seen := make(map[nic.Addr]struct{}, len(eps))
	for _, e := range eps {
		seen[e.Addr] = struct{}{}
	}
	return seen
}

func guardKeys(eps []nat.Endpoint) []guard.Key {
	keys := make([]guard.Key, len(eps))
	for i, e := range eps {
		keys[i] = guard.Key{Addr: e.Addr, Port: e.Port, Proto: e.Proto}
	}
	return keys
}

// guardWide returns selectors as the guard has them. The engine judges TCP and
// UDP only.
func guardWide(list []nat.Wide) (all []guard.Wide) {
	for _, w := range list {
		if w.NIC == noNIC {
			continue // it receives nothing
		}
		g := guard.Wide{Src: w.Src, Dst: w.Dst, Proto: w.Proto, FirstPort: w.FirstPort, LastPort: w.LastPort, Ifindex: w.NIC, Host: w.Host}
		if w.Proto != 0 {
			all = append(all, g)
			continue
		}
		for _, g.Proto = range nat.Protocols() {
			all = append(all, g)
		}
	}
	return all
}

// threads returns how many threads serve the NICs by default. The other CPUs are for
// the kernel's part of receiving, and for whoever else is there; but where two can
// work at once, they shall.
func threads(cpus int) int { return max(min(cpus, 2), cpus/2) }

// shareScheduler lets all threads, and the meter, keep a share of Go's scheduler when
// they sleep briefly, and leaves shares for everything else. Who has set GOMAXPROCS
// wanted something else.
func shareScheduler(threads int) {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(runtime.NumCPU(), threads+3))
	}
}

// ask is the workers' way to have the kernel resolve a next hop.
func (d *daemon) ask(index int, nextHop nic.Addr) { d.routes.Solicit(index, nextHop) }

// zapWriter takes what the HTTP server logs.
type zapWriter struct{ log *zap.Logger }

func (w zapWriter) Write(b []byte) (int, error) {
	w.log.Warn("control", zap.String("message", string(b)))
	return len(b), nil
}

// checkCapabilities tells in one line what the process lacks.
func checkCapabilities() error {
	missing, err := missingCapabilities()
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		return fmt.Errorf("daemon: missing %s: run as root, or in a user namespace with its own network", strings.Join(missing, " and "))
	}
	return nil
}

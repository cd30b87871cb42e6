// Package neigh tells where a packet goes next, as the kernel of the host
// would decide it: from the kernel's own links, addresses, policy rules,
// routes and neighbours, read over rtnetlink(7), followed by its messages, and
// served as immutable snapshots.
//
// # Routes
//
// The policy rules are gone through in order; those are followed that select
// all packets or some destinations ("to"), with any table, with
// suppress_prefixlength, and negated; a rule by firewall mark is judged with
// mark 0, one for outgoing interfaces, for packets of the host itself ("iif
// lo") or for VRFs applies to no forwarded packet. Not followed, because a
// lookup knows only the destination, are rules by source, incoming interface,
// TOS, protocol, port, user or tunnel, and the action goto: [Watcher.Ignored]
// lists them. Routes for one TOS or one source are left out, and so are the
// tables of VRFs.
//
// A route is used while one of its links is administratively up; without
// carrier too, as the kernel does, unless ignore_routes_with_linkdown is set
// there. Of several paths one is chosen by a hash over the destination, in
// proportion to the weights: always the same for the same destination and
// paths, in every process, but in general not the one that the kernel takes,
// which hashes the source too. Routes that need an encapsulation by the kernel
// (MPLS, SRv6 and the like) refuse, like unreachable ones. Multicast and
// broadcast destinations have no route here. IPv6 link-local destinations
// exist on every link; the first route counts. What path MTU discovery taught
// the kernel is not followed.
//
// # Neighbours
//
// The kernel resolves and watches them (ARP, RFC 826; ND, RFC 4861); nothing
// is ever resolved here. But the kernel does so only for packets that its own
// stack sends, and those of vsnat it does not see. [Watcher.Solicit] and
// [Watcher.Keep] make up for that: they have the kernel act as if it had sent
// a packet (RTM_NEWNEIGH with NTF_USE, like `ip neigh add … use`), which starts
// a resolution where there is none, and has an entry that has become STALE
// verified after delay_first_probe_time (5 s). Repeated every
// [Options.Refresh], that finds a host whose link-layer address has changed or
// that is gone, as it would be found if the kernel itself talked to it.
package neigh

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"vsnat/nic"
	"vsnat/nic/netns"
)

// Options say how to watch. The zero value is sound.
type Options struct {
	// NS is the namespace to watch; nil is that of the calling thread. It is
	// needed only until Start returns.
	NS *netns.Handle
	// Refresh is how often the neighbours in use are refreshed, 10 s if 0.
	Refresh time.Duration
	// ReceiveBuffer is the size in bytes of the buffer for the kernel's
	// messages, 4 MiB if 0. If it overflows everything is read anew.
	ReceiveBuffer int
	// OnError is told of failures after Start, from which the watcher
	// recovers by itself; it must not block. Nil ignores them.
	OnError func(error)
}

// Stats are counters of a watcher since it was started.
type Stats struct {
	Messages      uint64 // messages of the kernel about changes
	Snapshots     uint64 // snapshots published
	Dumps         uint64 // times that some kinds of objects were read anew
	Overruns      uint64 // times that messages were lost
	Solicits      uint64 // requests to the kernel to resolve or verify a neighbour
	SolicitErrors uint64 // of them refused by the kernel
}

// Watcher follows the routes and neighbours of one network namespace.
type Watcher struct {
	options Options
	current atomic.Pointer[snapshot]
	changed chan struct{}
	done    chan struct{}

	messages, snapshots, dumps, overruns atomic.Uint64

	follower  follower
	solicitor solicitor
}

// Defaults and bounds of the follower.
const (
	defaultRefresh = 10 * time.Second
	defaultBuffer  = 4 << 20

	// coalesce is how long after the first of several changes the next
	// snapshot is made.
	coalesce = 2 * time.Millisecond
	// pace bounds the share of time that dumps may take: the next one waits
	// that many times as long as the last one took. Neighbours do not wait.
	pace = 4
	// retry is how long to wait after a failure.
	retry = 100 * time.Millisecond
	// startTries is how often Start repeats a dump that changes interrupt.
	startTries = 5
)

// Start reads the state of the namespace, and then follows it until ctx ends.
// It needs no privilege; Solicit and Keep need CAP_NET_ADMIN.
func Start(ctx context.Context, options Options) (*Watcher, error) {
	if options.Refresh <= 0 {
		options.Refresh = defaultRefresh
	}
	if options.ReceiveBuffer <= 0 {
		options.ReceiveBuffer = defaultBuffer
	}
	onError := options.OnError
	options.OnError = func(err error) {
		if onError != nil && ctx.Err() == nil { // to end is no failure
			onError(err)
		}
	}
	w := &Watcher{
		options: options,
		changed: make(chan struct{}, 1),
		done:    make(chan struct{}),
	}
	var open []*socket
	closeAll := func() {
		for _, s := range open {
			_ = s.close() // nothing is written that could be lost
		}
	}
	err := netns.Do(options.NS, func() error {
		// The events come first: what changes during the dump is not missed.
		for _, g := range [][]int{groups, nil, nil} {
			s, err := openSocket(g...)
			if err != nil {
				return err
			}
			open = append(open, s)
		}
		return nil
	})
	if err == nil {
		err = open[0].reserve(options.ReceiveBuffer)
	}
	if err == nil {
		w.follower = follower{w: w, events: open[0], queries: open[1]}
		w.solicitor = solicitor{w: w, sock: open[2], asked: make(chan neighKey, askedQueue), kick: make(chan struct{}, 1)}
		err = w.follower.begin()
	}
	if err != nil {
		closeAll()
		return nil, err
	}
	context.AfterFunc(ctx, closeAll)
	var running sync.WaitGroup
	running.Go(func() { w.follower.run(ctx) })
	running.Go(func() { w.solicitor.run(ctx) })
	go func() {
		running.Wait()
		close(w.done)
	}()
	return w, nil
}

// Routes returns the present snapshot. It costs one atomic load.
func (w *Watcher) Routes() nic.Routes { return w.current.Load() }

// Changed returns a channel that yields when there was a new snapshot since
// the last time. It is meant for one reader.
func (w *Watcher) Changed() <-chan struct{} { return w.changed }

// Done returns a channel that is closed when the watcher has ended because its
// context has. The last snapshot stays.
func (w *Watcher) Done() <-chan struct{} { return w.done }

// Ignored describes the policy rules of the present snapshot that are not
// followed, one a line, so that the operator can be warned.
func (w *Watcher) Ignored() []string { return slices.Clone(w.current.Load().fib.ignored) }

// Stats returns the counters.
func (w *Watcher) Stats() Stats {
	return Stats{
		Messages: w.messages.Load(), Snapshots: w.snapshots.Load(), Dumps: w.dumps.Load(), Overruns: w.overruns.Load(),
		Solicits: w.solicitor.sent.Load(), SolicitErrors: w.solicitor.refused.Load(),
	}
}

// follower keeps the state and publishes it. It belongs to one goroutine.
type follower struct {
	w       *Watcher
	events  *socket
	queries *socket

	state      state
	fib        *fib
	neighbours neighEditor

	stale kinds     // to be dumped
	since time.Time // of the first change that is not published; zero if none
	rest  time.Time // no dump before
}

// begin reads everything and publishes the first snapshot.
func (f *follower) begin() error {
	f.stale = kindAll
	for range startTries {
		again, err := f.state.dump(f.queries, f.stale, &f.neighbours)
		if err != nil {
			return err
		}
		if f.stale = again; again == 0 {
			break
		}
	}
	if f.stale != 0 {
		f.since = time.Now()
	}
	f.fib = newFIB(&f.state)
	f.publish()
	return nil
}

// run follows the kernel's messages until the context ends.
func (f *follower) run(ctx context.Context) {
	for ctx.Err() == nil {
		datagram, err := f.events.receive(true, f.due())
		switch {
		case err == nil:
			f.read(datagram)
		case ctx.Err() != nil, errors.Is(err, os.ErrDeadlineExceeded):
		default:
			f.lost(ctx, err)
		}
		if now := time.Now(); !f.since.IsZero() && !now.Before(f.due()) {
			f.update(now)
		}
	}
}

// due is when the next snapshot is to be made; zero if nothing has changed.
func (f *follower) due() time.Time {
	switch at := f.since.Add(coalesce); {
	case f.since.IsZero():
		return time.Time{}
	case f.neighbours.changed || f.rest.Before(at):
		return at
	default:
		return f.rest
	}
}

// touch notes that something has changed.
func (f *follower) touch() {
	if f.since.IsZero() && (f.stale != 0 || f.neighbours.changed) {
		f.since = time.Now()
	}
}

// read takes a datagram of events in.
func (f *follower) read(datagram []byte) {
	for h, body := range messages(datagram) {
		f.w.messages.Add(1)
		switch h.kind {
		case unix.RTM_NEWNEIGH:
			if r, ok := decodeNeigh(body); ok {
				f.neighbours.set(r.key, r.neighbour())
			}
		case unix.RTM_DELNEIGH:
			if r, ok := decodeNeigh(body); ok {
				f.neighbours.remove(r.key)
			}
		default:
			f.stale |= stale(h.kind)
		}
	}
	f.touch()
}

// lost is called when messages are missing, be it that the kernel's buffer has
// overflown (ENOBUFS) or that the socket failed.
func (f *follower) lost(ctx context.Context, err error) {
	f.w.overruns.Add(1)
	if !errors.Is(err, unix.ENOBUFS) {
		f.w.options.OnError(fmt.Errorf("neigh: cannot receive the kernel's messages, reading all anew: %w", err))
		select {
		case <-ctx.Done():
		case <-time.After(retry):
		}
	}
	f.stale = kindAll
	f.touch()
}

// update makes and publishes the next snapshot.
func (f *follower) update(now time.Time) {
	f.since = time.Time{}
	if f.stale != 0 && !now.Before(f.rest) {
		f.dump(now)
	}
	f.publish()
	f.touch() // a dump that has to be repeated, or waits
}

// dump reads anew what is stale.
func (f *follower) dump(start time.Time) {
	if f.stale&kindNeighbours != 0 {
		f.drain()
	}
	f.w.dumps.Add(1)
	which := f.stale
	again, err := f.state.dump(f.queries, which, &f.neighbours)
	f.stale = again
	end := time.Now()
	f.rest = end.Add(pace * end.Sub(start))
	if err != nil {
		f.stale = which
		f.rest = end.Add(retry)
		f.w.options.OnError(err)
		return
	}
	if which&^kindNeighbours != 0 {
		f.fib = newFIB(&f.state)
		// Making it counts as work, too.
		end = time.Now()
		f.rest = end.Add(pace * end.Sub(start))
	}
}

// drain reads all messages that wait. After a loss those in the queue are older
// than those that were lost; taken in after a dump they would undo what the
// lost ones have told. While the queue is full the kernel adds nothing, so
// that this comes to an end; the bound is for safety.
func (f *follower) drain() {
	for range 1 << 16 {
		datagram, err := f.events.receive(false, time.Time{})
		switch {
		case err == nil:
			f.read(datagram)
		case errors.Is(err, unix.ENOBUFS):
			f.w.overruns.Add(1)
		default:
			return
		}
	}
}

// publish makes the state the present snapshot.
func (f *follower) publish() {
	old := f.w.current.Load()
	if old != nil && old.fib == f.fib && !f.neighbours.changed {
		return
	}
	next := &snapshot{fib: f.fib}
	if old != nil && !f.neighbours.changed {
		next.neighbours = old.neighbours
	} else {
		next.neighbours = f.neighbours.snapshot()
	}
	f.w.current.Store(next)
	f.w.snapshots.Add(1)
	select {
	case f.w.changed <- struct{}{}:
	default: // the reader has yet to see the last one
	}
}

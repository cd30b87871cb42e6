package daemon

import (
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"vsnat/nat"
	"vsnat/nic"
	"vsnat/nic/afpacket"
)

// nics keeps one worker for each NIC that the director takes packets from, and
// gives each worker a way out by every one of them.
type nics struct {
	d *daemon

	openDevice func(index int) (nic.Device, error)
	openSender func(index int) (sender, error)
	openHost   func(mtu int) (hostDevice, error)

	mu    sync.Mutex // guards all below
	loops map[int]*nicLoop
	host  hostDevice      // the port to the host's own stack; nil is none
	past  map[string]past // of NICs that are gone, by name

	measured measured
}

// past is what became of a NIC's frames.
type past struct {
	ledger   nat.Ledger
	ringFull uint64 // frames lost before they were received
}

// nicLoop is a NIC's loop and the ways out that it has, by ifindex.
type nicLoop struct {
	*loop
	name string
	ways map[int]way
}

// way is a way out by a NIC. Another NIC that gets the number later is another
// one, even if it has the name too.
type way struct {
	sender
	to *nicLoop
}

// sender is a way out by one NIC.
type sender interface {
	nic.Sender
	Stats() nic.Stats
	Close() error
}

func newNICs(d *daemon) *nics {
	return &nics{
		d:          d,
		openDevice: func(index int) (nic.Device, error) { return afpacket.Open(afpacket.Config{Index: index}) },
		openSender: func(index int) (sender, error) { return afpacket.OpenSender(index) },
		openHost:   openTUN,
		loops:      map[int]*nicLoop{},
		past:       map[string]past{},
		measured:   measured{since: time.Now()},
	}
}

// wanted reports whether packets are taken from that interface: Ethernet, not
// loopback, and no port of a bridge or bond, whose frames are seen there.
func (n *nics) wanted(l *nic.Link) bool {
	if !l.Ether || l.Loop || l.Master != 0 {
		return false
	}
	return len(n.d.cfg.NICs) == 0 || slices.Contains(n.d.cfg.NICs, l.Name)
}

// reconcile opens the NICs that came and closes those that went. What cannot
// be opened is an error, and is tried again at the next call.
func (n *nics) reconcile(routes nic.Routes) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	want := map[int]string{}
	for _, l := range routes.Links() {
		if n.wanted(&l) {
			want[l.Index] = l.Name
		}
	}
	if n.host != nil {
		want[n.host.Index()] = n.host.Name()
	}
	for index, l := range n.loops {
		if name, ok := want[index]; !ok || name != l.name || l.failed.Load() {
			n.shut(index, l)
		}
	}
	var errs []error
	for _, index := range slices.Sorted(maps.Keys(want)) {
		if n.loops[index] == nil {
			errs = append(errs, n.open(index, want[index], len(want)))
		}
	}
	errs = append(errs, n.connect()...)
	for _, l := range n.loops {
		n.startLoop(l)
	}
	return errors.Join(errs...)
}

// open puts the guard on the NIC and then takes its frames.
func (n *nics) open(index int, name string, workers int) error {
	d := n.d
	dev, err := n.openFor(index)
	if err != nil {
		return fmt.Errorf("daemon: NIC %s: %w", name, err)
	}
	l := &nicLoop{name: name, ways: map[int]way{}, loop: &loop{
		dev: dev, worker: d.engine.NewWorker(index), epoch: d.epoch, spin: spinTime(d.cfg.Spin, workers, runtime.NumCPU()),
		ask: d.ask, log: d.log,
	}}
	l.ports.Store(&ports{})
	n.startRecord(l.loop)
	n.loops[index] = l
	return nil
}

func (n *nics) startLoop(l *nicLoop) {
	if l.done != nil {
		return
	}
	l.done = make(chan struct{})
	n.d.log.Info("NIC joins", zap.String("nic", l.name), zap.Int("index", l.dev.Index()))
	go l.run()
}

// connect gives every worker a way out by every NIC that it has none by, and
// takes away those by NICs that went. What cannot be opened is tried again at
// the next call.
func (n *nics) connect() (errs []error) {
	lost := map[*nicLoop]uint64{} // workers that lose a way, and rounds they had ended
	var old []sender
	all := n.sorted()
	for _, l := range all {
		before := len(old)
		for index, w := range l.ways {
			if n.loops[index] != w.to {
				delete(l.ways, index)
				old = append(old, w.sender)
			}
		}
		changed := len(old) > before
		for _, to := range all {
			index := to.dev.Index()
			if l.ways[index].to != nil {
				continue
			}
			s, err := n.senderFor(index)
			if err != nil {
				errs = append(errs, fmt.Errorf("daemon: NIC %s: %w", to.name, err))
				continue
			}
			l.ways[index] = way{s, to}
			changed = true
		}
		if changed {
			l.setPorts()
		}
		if len(old) > before {
			lost[l] = l.rounds.Load()
		}
	}
	// All workers were told first, so that their rounds end at the same time.
	for l, ended := range lost {
		l.quiesce(ended)
	}
	for _, s := range old {
		n.d.warn("NIC", s.Close())
	}
	return errs
}

// setPorts has the worker use the ways that there are now.
func (l *nicLoop) setPorts() {
	set := make(ports, len(l.ways))
	for index, w := range l.ways {
		set[index] = w.sender
	}
	l.ports.Store(&set)
}

// quiesce waits until the round that the worker may have been in when it had
// ended that many is over, so that it uses none of the ports it had then.
func (l *nicLoop) quiesce(ended uint64) {
	if l.done == nil {
		return
	}
	for l.rounds.Load() == ended {
		select {
		case <-l.done:
			return
		case <-time.After(time.Millisecond):
		}
	}
}

// total is what became of the frames of the NIC and of those of its name before.
func (n *nics) total(l *nicLoop) past {
	p, ledger := n.past[l.name], l.worker.Ledger()
	p.ledger.Add(&ledger)
	p.ringFull += l.dev.Stats().RxDropped
	return p
}

// shut ends a NIC's loop.
func (n *nics) shut(index int, l *nicLoop) {
	l.stop.Store(true)
	if l.done != nil {
		<-l.done
	}
	n.past[l.name] = n.total(l)
	n.keepRecord(l.loop)
	n.d.warn("NIC", l.dev.Close())
	for _, w := range l.ways {
		n.d.warn("NIC", w.Close())
	}
	if n.d.guard != nil {
		if err := n.d.guard.Detach(index); err != nil {
			n.d.log.Debug("guard", zap.Error(err))
		}
	}
	delete(n.loops, index)
	n.d.log.Info("NIC leaves", zap.String("nic", l.name))
}

func (n *nics) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.loops {
		l.stop.Store(true)
	}
	for index, l := range n.loops {
		n.shut(index, l)
	}
}

func (n *nics) names() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var names []string
	for _, l := range n.sorted() {
		names = append(names, l.name)
	}
	return names
}

// sorted returns the loops by ifindex. mu is held.
func (n *nics) sorted() []*nicLoop {
	var all []*nicLoop
	for _, index := range slices.Sorted(maps.Keys(n.loops)) {
		all = append(all, n.loops[index])
	}
	return all
}

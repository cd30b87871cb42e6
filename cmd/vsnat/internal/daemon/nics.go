package daemon

import (
	"errors"
	"fmt"
	"maps"
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

	mu    sync.Mutex // guards all below
	loops map[int]*nicLoop
	past  map[string]nat.Ledger // what became of frames of NICs that are gone
}

// nicLoop is a NIC's loop and the senders it owns.
type nicLoop struct {
	*loop
	name  string
	dev   *afpacket.Device
	sends map[int]*afpacket.Sender
}

func newNICs(d *daemon) *nics {
	return &nics{d: d, loops: map[int]*nicLoop{}, past: map[string]nat.Ledger{}}
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
	changed := false
	for index, l := range n.loops {
		if name, ok := want[index]; !ok || name != l.name || l.failed.Load() {
			n.shut(index, l)
			changed = true
		}
	}
	var errs []error
	for index, name := range want {
		if n.loops[index] != nil {
			continue
		}
		if err := n.open(index, name, len(want)); err != nil {
			errs = append(errs, err)
			continue
		}
		changed = true
	}
	if changed {
		errs = append(errs, n.connect()...)
		for _, l := range n.loops {
			n.startLoop(l)
		}
	}
	return errors.Join(errs...)
}

// open puts the guard on the NIC and then takes its frames.
func (n *nics) open(index int, name string, workers int) error {
	d := n.d
	if d.guard != nil {
		if err := d.guard.Attach(index); err != nil {
			return fmt.Errorf("daemon: NIC %s: %w", name, err)
		}
	}
	dev, err := afpacket.Open(afpacket.Config{Index: index})
	if err != nil {
		if d.guard != nil {
			err = errors.Join(err, d.guard.Detach(index))
		}
		return fmt.Errorf("daemon: NIC %s: %w", name, err)
	}
	l := &nicLoop{name: name, dev: dev, sends: map[int]*afpacket.Sender{}, loop: &loop{
		dev: dev, worker: d.engine.NewWorker(index), epoch: d.epoch, spin: d.spinTime(workers),
		ask: d.ask, log: d.log,
	}}
	l.ports.Store(&ports{})
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

// connect gives every worker a sender for every NIC, and takes away those of
// NICs that went.
func (n *nics) connect() (errs []error) {
	for _, l := range n.loops {
		var old []*afpacket.Sender
		for index, s := range l.sends {
			if n.loops[index] == nil || s.Name() != n.loops[index].name {
				old = append(old, s)
				delete(l.sends, index)
			}
		}
		for index, to := range n.loops {
			if l.sends[index] != nil {
				continue
			}
			s, err := afpacket.OpenSender(index)
			if err != nil {
				errs = append(errs, fmt.Errorf("daemon: NIC %s: %w", to.name, err))
				continue
			}
			l.sends[index] = s
		}
		set := make(ports, len(l.sends))
		for index, s := range l.sends {
			set[index] = s
		}
		l.ports.Store(&set)
		if len(old) > 0 {
			l.quiesce()
			for _, s := range old {
				n.d.warn("NIC", s.Close())
			}
		}
	}
	return errs
}

// quiesce waits until the worker has ended the round it may be in, so that it
// uses none of the ports it had before.
func (l *nicLoop) quiesce() {
	if l.done == nil {
		return
	}
	before := l.rounds.Load()
	for l.rounds.Load() < before+2 {
		select {
		case <-l.done:
			return
		case <-time.After(time.Millisecond):
		}
	}
}

// shut ends a NIC's loop.
func (n *nics) shut(index int, l *nicLoop) {
	l.stop.Store(true)
	if l.done != nil {
		<-l.done
	}
	ledger := l.worker.Ledger()
	past := n.past[l.name]
	past.Add(&ledger)
	n.past[l.name] = past
	n.d.warn("NIC", l.dev.Close())
	for _, s := range l.sends {
		n.d.warn("NIC", s.Close())
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

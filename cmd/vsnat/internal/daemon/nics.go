package daemon

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"vsnat/nat"
	"vsnat/nic"
	"vsnat/nic/afpacket"
)

// nics takes packets from the NICs that the director shall serve, spreads their
// queues over threads, and gives each thread a way out by every NIC.
type nics struct {
	d *daemon

	openDevices func(index, queues int, vips []nic.Addr) ([]nic.Device, error)
	openSender  func(index int) (sender, error)
	openHost    func(mtu int) (hostDevice, error)

	mu    sync.Mutex // guards all below
	taken map[int]*taken
	hands []*hand
	host  hostDevice      // the port to the host's own stack; nil is none
	past  map[string]past // of NICs that are gone, by name
	vips  []nic.Addr      // virtual addresses, in order, by which NICs with several queues are steered

	measured measured
}

// past is what became of a NIC's frames.
type past struct {
	ledger   nat.Ledger
	ringFull uint64 // frames lost before they were received
}

// taken is a NIC that packets are taken from.
type taken struct {
	name   string
	index  int
	queues []*queue
}

// failed reports whether the NIC is gone.
func (t *taken) failed() bool {
	return slices.ContainsFunc(t.queues, func(q *queue) bool { return q.failed.Load() })
}

// way is a way out by a NIC. Another NIC that gets the number later is another
// one, even if it has the name too.
type way struct {
	sender
	to *taken
}

// sender is a way out by one NIC.
type sender interface {
	nic.Sender
	Stats() nic.Stats
	Close() error
}

func newNICs(d *daemon) *nics {
	return &nics{
		d:           d,
		openDevices: openQueues,
		openSender:  func(index int) (sender, error) { return afpacket.OpenSender(index) },
		openHost:    openTUN,
		taken:       map[int]*taken{},
		past:        map[string]past{},
		measured:    measured{since: time.Now()},
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
	var gone []*taken
	for index, t := range n.taken {
		if name, ok := want[index]; !ok || name != t.name || t.failed() {
			gone = append(gone, t)
		}
	}
	n.shut(gone)
	var errs []error
	for _, index := range slices.Sorted(maps.Keys(want)) {
		if n.taken[index] == nil {
			errs = append(errs, n.open(index, want[index]))
		}
	}
	errs = append(errs, n.connect()...)
	for _, h := range n.hands {
		h.admit()
	}
	return errors.Join(errs...)
}

// open puts the guard on the NIC and then takes its frames.
func (n *nics) open(index int, name string) error {
	devs, err := n.openFor(index)
	if err != nil {
		return fmt.Errorf("daemon: NIC %s: %w", name, err)
	}
	hands, err := n.handsFor(devs)
	if err != nil {
		for _, dev := range devs {
			err = errors.Join(err, dev.Close())
		}
		n.letGo(index)
		return err
	}
	t := &taken{name: name, index: index}
	for i, dev := range devs {
		q := &queue{dev: dev, worker: n.d.engine.NewWorker(index)}
		n.startRecord(q)
		hands[i].give(q)
		t.queues = append(t.queues, q)
	}
	n.taken[index] = t
	n.d.log.Info("NIC joins", zap.String("nic", name), zap.Int("index", index), zap.Int("queues", len(devs)))
	return nil
}

// connect gives every thread a way out by every NIC that it has none by, and
// takes away those by NICs that went. What cannot be opened is tried again at
// the next call.
func (n *nics) connect() (errs []error) {
	var lost []*hand // those that lose a way
	var old []sender
	for _, h := range n.hands {
		before := len(old)
		for index, w := range h.ways {
			if n.taken[index] != w.to {
				delete(h.ways, index)
				old = append(old, w.sender)
			}
		}
		changed := len(old) > before
		for _, to := range n.sorted() {
			if h.ways[to.index].to != nil {
				continue
			}
			s, err := n.senderFor(to.index)
			if err != nil {
				errs = append(errs, fmt.Errorf("daemon: NIC %s: %w", to.name, err))
				continue
			}
			h.ways[to.index] = way{s, to}
			changed = true
		}
		if changed {
			h.setPorts()
		}
		if len(old) > before {
			lost = append(lost, h)
		}
	}
	quiesce(lost)
	for _, s := range old {
		n.d.warn("NIC", s.Close())
	}
	return errs
}

// total is what became of the frames of the NIC and of those of its name before.
func (n *nics) total(t *taken) past {
	p := n.past[t.name]
	for _, q := range t.queues {
		ledger := q.worker.Ledger()
		p.ledger.Add(&ledger)
		p.ringFull += q.dev.Stats().RxDropped
	}
	return p
}

// shut takes no more packets from these NICs.
func (n *nics) shut(gone []*taken) {
	n.dismiss(gone)
	for _, t := range gone {
		for _, q := range t.queues {
			q.worker.Close()
		}
		n.past[t.name] = n.total(t)
		for _, q := range t.queues {
			n.keepRecord(q)
			n.d.warn("NIC", q.dev.Close())
		}
		n.letGo(t.index)
		delete(n.taken, t.index)
		n.d.log.Info("NIC leaves", zap.String("nic", t.name))
	}
}

// letGo takes the guard off the NIC.
func (n *nics) letGo(index int) {
	if n.d.guard == nil {
		return
	}
	if err := n.d.guard.Detach(index); err != nil {
		n.d.log.Debug("guard", zap.Error(err))
	}
}

func (n *nics) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.shut(n.sorted())
}

func (n *nics) names() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var names []string
	for _, t := range n.sorted() {
		names = append(names, t.name)
	}
	return names
}

// sorted returns the NICs by ifindex. mu is held.
func (n *nics) sorted() []*taken {
	var all []*taken
	for _, index := range slices.Sorted(maps.Keys(n.taken)) {
		all = append(all, n.taken[index])
	}
	return all
}

// queues returns the queues of all NICs. mu is held.
func (n *nics) queues() iter.Seq[*queue] {
	return func(yield func(*queue) bool) {
		for _, t := range n.taken {
			for _, q := range t.queues {
				if !yield(q) {
					return
				}
			}
		}
	}
}

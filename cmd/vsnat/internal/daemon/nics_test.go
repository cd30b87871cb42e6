package daemon

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"vsnat/nat/wire"
	"vsnat/nic"
	"vsnat/nic/guard"
	"vsnat/nic/mem"
)

// fakeGuard records what it is told, and refuses what fail says.
type fakeGuard struct {
	mu       sync.Mutex
	state    guard.State
	sets     int
	attached map[int]bool
	fail     func(what string) error
	enter    func() // called within Set and Add, before it takes effect
	closed   bool
}

func (g *fakeGuard) Kind() string { return "fake" }

func (g *fakeGuard) Set(s guard.State) error { return g.change(func() { g.state = s }) }

func (g *fakeGuard) Add(s guard.State) error {
	return g.change(func() {
		g.state.Services = append(slices.Clone(g.state.Services), s.Services...)
		g.state.Servers = append(slices.Clone(g.state.Servers), s.Servers...)
	})
}

func (g *fakeGuard) change(do func()) error {
	if g.enter != nil {
		g.enter()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sets++
	if err := g.refuse("set"); err != nil {
		return err
	}
	do()
	return nil
}

func (g *fakeGuard) refuse(what string) error {
	if g.fail == nil {
		return nil
	}
	return g.fail(what)
}

func (g *fakeGuard) Attach(index int) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.attached == nil {
		g.attached = map[int]bool{}
	}
	g.attached[index] = true
	return nil
}

func (g *fakeGuard) Detach(index int) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.attached, index)
	return nil
}

func (g *fakeGuard) Close() error {
	g.closed = true
	return nil
}

// wires are the NICs that a test's daemon can open, and what is open of them.
type wires struct {
	t      *testing.T
	mu     sync.Mutex
	dev    map[int]*mem.Device // present NICs
	host   map[int]*host       // at their other ends
	refuse map[int]bool        // NICs that nothing can be sent by
	open   atomic.Int64        // senders
	polled map[int]*polled     // the same NICs, if they are such; nil if none is
}

// mount puts a new NIC with that number in.
func (w *wires) mount(index int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.polled != nil {
		p, h := newPolled(w.t, index)
		w.polled[index], w.dev[index], w.host[index] = p, p.Device, h
		return
	}
	w.dev[index], w.host[index] = newWire(w.t, index)
}

func (w *wires) at(index int) (*mem.Device, *host) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dev[index], w.host[index]
}

func (w *wires) devices(index, _ int, _ []nic.Addr) ([]nic.Device, error) {
	dev, err := w.device(index)
	if err != nil {
		return nil, err
	}
	return []nic.Device{dev}, nil
}

func (w *wires) device(index int) (nic.Device, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p := w.polled[index]; p != nil {
		return p, nil
	}
	if dev := w.dev[index]; dev != nil {
		return dev, nil
	}
	return nil, fmt.Errorf("no NIC %d: %w", index, syscall.ENODEV)
}

// wireSender sends by the NIC that was there when it was opened.
type wireSender struct {
	*mem.Device
	w      *wires
	closed atomic.Bool
}

func (w *wires) sender(index int) (sender, error) {
	dev, _ := w.at(index)
	w.mu.Lock()
	defer w.mu.Unlock()
	if dev == nil || w.refuse[index] {
		return nil, fmt.Errorf("no way out by NIC %d: %w", index, syscall.ENOMEM)
	}
	w.open.Add(1)
	return &wireSender{Device: dev, w: w}, nil
}

func (s *wireSender) Send(frames []*nic.Frame, errs []syscall.Errno) int {
	if s.closed.Load() {
		s.w.t.Error("sent by a closed sender")
	}
	return s.Device.Send(frames, errs)
}

func (s *wireSender) Close() error {
	if s.closed.Swap(true) {
		s.w.t.Error("a sender is closed twice")
	}
	s.w.open.Add(-1)
	return nil
}

// newDaemon returns a daemon without a control socket, its NICs on wires.
func newDaemon(t *testing.T, indexes ...int) (*daemon, *wires, *fakeRoutes) {
	e, r := newEngine(t)
	d := &daemon{
		log: zap.NewNop(), engine: e, epoch: time.Now().Add(-time.Second), guard: &fakeGuard{},
		routes: newFakeWatcher(r),
	}
	w := &wires{t: t, dev: map[int]*mem.Device{}, host: map[int]*host{}, refuse: map[int]bool{}}
	d.nics = newNICs(d)
	d.nics.openDevices, d.nics.openSender = w.devices, w.sender
	t.Cleanup(func() {
		d.nics.close()
		if n := w.open.Load(); n != 0 {
			t.Errorf("%d senders are left open", n)
		}
	})
	for _, index := range indexes {
		w.mount(index)
		r.links = append(r.links, link(index))
	}
	return d, w, r
}

func link(index int) nic.Link {
	return nic.Link{Index: index, Name: nicName(index), MAC: mac(index), MTU: 1500, Up: true, Ether: true}
}

func (r *fakeRoutes) setLinks(links ...nic.Link) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.links = links
}

func (d *daemon) mustReconcile(t *testing.T, r nic.Routes) {
	t.Helper()
	if err := d.nics.reconcile(r); err != nil {
		t.Fatal(err)
	}
}

// passes sends a SYN from the client and sees it arrive at one of the servers.
func (w *wires) passes(port int, to int) {
	w.t.Helper()
	_, clients := w.at(clientNIC)
	_, servers := w.at(to)
	clients.send(segment(clientNIC, from(port), vip, wire.SYN))
	if got := servers.receive(); got.src != from(port) {
		w.t.Errorf("arrived: %v", got)
	}
}

func TestNICsThatAreWanted(t *testing.T) {
	d := &daemon{}
	n := newNICs(d)
	ether := nic.Link{Name: "eth0", Ether: true}
	for _, c := range []struct {
		name string
		only []string
		link func(*nic.Link)
		want bool
	}{
		{name: "Ethernet", want: true},
		{name: "down", link: func(l *nic.Link) { l.Up = false }, want: true},
		{name: "loopback", link: func(l *nic.Link) { l.Loop = true }},
		{name: "a tunnel", link: func(l *nic.Link) { l.Ether = false }},
		{name: "a port of a bridge", link: func(l *nic.Link) { l.Master = 7 }},
		{name: "named", only: []string{"eth1", "eth0"}, want: true},
		{name: "not named", only: []string{"eth1"}},
		{name: "named, but a port", only: []string{"eth0"}, link: func(l *nic.Link) { l.Master = 7 }},
	} {
		d.cfg.NICs = c.only
		l := ether
		if c.link != nil {
			c.link(&l)
		}
		if got := n.wanted(&l); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestNICsComeAndGo(t *testing.T) {
	d, w, r := newDaemon(t, clientNIC, otherNIC)
	g := d.guard.(*fakeGuard)
	d.mustReconcile(t, r)
	w.passes(1, otherNIC)
	if !g.attached[clientNIC] || !g.attached[otherNIC] || w.open.Load() != 4 {
		t.Errorf("guard at %v, %d senders", g.attached, w.open.Load())
	}
	w.mount(serverNIC)
	r.setLinks(link(clientNIC), link(serverNIC), link(otherNIC))
	d.mustReconcile(t, r)
	w.passes(2, serverNIC)
	w.passes(3, otherNIC)
	if names := d.nics.names(); !slices.Equal(names, []string{"b", "c", "d"}) || w.open.Load() != 9 {
		t.Errorf("NICs %v, %d senders", names, w.open.Load())
	}

	r.setLinks(link(clientNIC), link(otherNIC))
	d.mustReconcile(t, r)
	_, clients := w.at(clientNIC)
	clients.send(segment(clientNIC, from(4), vip, wire.SYN)) // to .11, whose NIC went
	w.passes(5, otherNIC)
	if g.attached[serverNIC] || w.open.Load() != 4 {
		t.Errorf("guard at %v, %d senders", g.attached, w.open.Load())
	}
	// A frame arrives before its worker has counted its batch.
	eventually(t, "five frames are counted", func() bool { return d.nics.drops().NICs[0].Received == 5 })
	drops := d.nics.drops()
	if len(drops.NICs) != 3 {
		t.Fatalf("%+v", drops)
	}
	b := drops.NICs[0]
	if b.Name != "b" || b.Received != 5 || b.Forwarded != 4 || b.Dropped["tx-nic-down"] != 1 || !b.Balanced || drops.Reasons["tx-nic-down"] == "" {
		t.Errorf("%+v", b)
	}
}

// What became of the frames of a NIC that went stays in the report, and is
// added to when one of that name comes back.
func TestReportKeepsNICsThatWent(t *testing.T) {
	d, w, r := newDaemon(t, clientNIC, otherNIC)
	_, others := w.at(otherNIC)
	for range 300 { // more than the ring has room for, before anybody receives
		others.send(segment(otherNIC, other, from(9), wire.RST))
	}
	d.mustReconcile(t, r)
	w.passes(1, otherNIC)
	eventually(t, "the ring is empty", func() bool { return d.nics.drops().NICs[1].Received == 256 })
	r.setLinks(link(clientNIC))
	d.mustReconcile(t, r)
	if all := d.nics.drops().NICs; len(all) != 2 || all[1].RingFull != 44 || all[1].Received != 256 || all[1].Dropped["no-connection"] != 256 {
		t.Errorf("%+v", all)
	}
	w.mount(otherNIC)
	r.setLinks(link(otherNIC))
	d.mustReconcile(t, r)
	if s := d.status(); len(s.NICs) != 1 {
		t.Errorf("%+v", s)
	}
	w.mount(clientNIC)
	r.setLinks(link(clientNIC), link(otherNIC))
	d.mustReconcile(t, r)
	_, clients := w.at(clientNIC)
	clients.send(segment(clientNIC, from(2), vip, wire.SYN)) // to .11, which has no NIC here
	w.passes(3, otherNIC)
	eventually(t, "the report has the frames of both", func() bool {
		b := d.nics.drops().NICs[0]
		return b.Name == "b" && b.Received == 3 && b.Forwarded == 2 && b.Balanced
	})
}

// A NIC that went and came back under the same number and name, before anybody
// looked, is another one: the other workers need new ways out by it.
func TestNICThatCameBackUnseen(t *testing.T) {
	d, w, r := newDaemon(t, clientNIC, otherNIC)
	d.mustReconcile(t, r)
	w.passes(1, otherNIC)
	old, _ := w.at(otherNIC)
	w.mount(otherNIC)
	old.Remove()
	eventually(t, "the thread notices", d.nics.taken[otherNIC].failed)
	d.mustReconcile(t, r)
	_, clients := w.at(clientNIC)
	clients.send(segment(clientNIC, from(2), vip, wire.SYN)) // to .11, which has no NIC here
	w.passes(3, otherNIC)
}

// A way out that cannot be opened is tried again.
func TestWayOutIsTriedAgain(t *testing.T) {
	d, w, r := newDaemon(t, clientNIC, otherNIC)
	w.refuse[otherNIC] = true
	err := d.nics.reconcile(r)
	if !errors.Is(err, syscall.ENOMEM) || !strings.Contains(err.Error(), "NIC d") {
		t.Fatalf("%v", err)
	}
	w.mu.Lock()
	w.refuse[otherNIC] = false
	w.mu.Unlock()
	d.mustReconcile(t, r)
	w.passes(1, otherNIC)
}

// A NIC that cannot be opened keeps neither the others nor the guard.
func TestNICThatCannotBeOpened(t *testing.T) {
	d, w, r := newDaemon(t, clientNIC, otherNIC)
	r.setLinks(link(clientNIC), link(serverNIC), link(otherNIC))
	if err := d.nics.reconcile(r); !errors.Is(err, syscall.ENODEV) {
		t.Fatalf("%v", err)
	}
	if g := d.guard.(*fakeGuard); g.attached[serverNIC] {
		t.Error("the guard stays at a NIC that is not open")
	}
	w.passes(1, otherNIC)
	w.mount(serverNIC)
	d.mustReconcile(t, r)
	w.passes(2, serverNIC)
}

// However many NICs there are, one that leaves keeps them, and whoever asks for
// a report, only for as long as its worker and then another one sleep. The clock
// is the test's own.
func TestNICLeavesManyQuickly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		indexes := make([]int, 20)
		for i := range indexes {
			indexes[i] = 1 + i
		}
		d, _, r := newDaemon(t, indexes...)
		d.mustReconcile(t, r)
		r.setLinks(r.Links()[:19]...)
		begin := time.Now()
		d.mustReconcile(t, r)
		if took := time.Since(begin); took > 4*aloneWait {
			t.Errorf("took %v", took)
		}
	})
}

func TestStatusAndLatency(t *testing.T) {
	d, w, r := newDaemon(t, clientNIC, otherNIC)
	d.mustReconcile(t, r)
	w.passes(1, otherNIC)
	_, others := w.at(otherNIC)
	others.send(segment(otherNIC, other, from(1), wire.SYN|wire.ACK))
	_, clients := w.at(clientNIC)
	clients.receive()
	// Workers tell their counts when they have sent.
	eventually(t, "the counters are there", func() bool { t := d.engine.Total(); return t.OutPkts == 1 && t.InPkts == 1 })
	s := d.status()
	if s.Services != 1 || s.Connections.Now != 1 || s.Connections.Max != 1000 || s.Total.Conns != 1 || s.Guard != "fake" {
		t.Errorf("%+v", s)
	}
	for _, n := range s.NICs {
		if n.Stats.RxFrames != 1 || n.Stats.TxFrames == 0 {
			t.Errorf("%+v", n)
		}
	}
	eventually(t, "both latencies are there", func() bool { return d.nics.latency(time.Second, time.Now()).Pickup.Count == 2 })
	if l := d.nics.latency(time.Nanosecond, time.Now()); l.Budget != 1 || l.Receive.Count != 2 || l.Pickup.Over != 1 {
		t.Errorf("%+v", l)
	}
	if _, err := d.Report("none"); err == nil {
		t.Error("a report that there is none of")
	}
}

func TestQueuesByDefault(t *testing.T) {
	for threads, want := range map[int]int{1: 1, 3: 3, 32: mostQueues} {
		if got := queues(threads); got != want {
			t.Errorf("%d threads: %d, want %d", threads, got, want)
		}
	}
}

func TestThreadsByDefault(t *testing.T) {
	for cpus, want := range map[int]int{1: 1, 2: 2, 3: 2, 4: 2, 6: 3, 64: 32} {
		if got := threads(cpus); got != want {
			t.Errorf("%d CPUs: %d, want %d", cpus, got, want)
		}
	}
}

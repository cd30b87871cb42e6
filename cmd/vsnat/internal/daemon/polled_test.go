package daemon

import (
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/nat/wire"
	"vsnat/nic"
	"vsnat/nic/mem"
)

// polled is a NIC on a wire that has a descriptor to wait by.
type polled struct {
	*mem.Device
	fd int
}

// newPolled returns a NIC and the host at the other end of its wire.
func newPolled(t testing.TB, index int) (*polled, *host) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	near, far := mem.Pair(
		mem.Config{Name: nicName(index), Index: index, MAC: mac(index), MTU: 1500, Notify: func() { _, _ = unix.Write(fd, oneKick) }},
		mem.Config{Name: "far", Index: 100 + index},
	)
	return &polled{Device: near, fd: fd}, &host{t, far}
}

func (p *polled) FD() int     { return p.fd }
func (p *polled) Look() error { return nil }

func (p *polled) Polled(int16) error {
	var n [8]byte
	_, _ = unix.Read(p.fd, n[:])
	return p.Wait(0)
}

var _ nic.Polled = (*polled)(nil)

// newPolledDaemon is newDaemon with NICs that threads can share.
func newPolledDaemon(t *testing.T, count int, indexes ...int) (*daemon, *wires, *fakeRoutes) {
	d, w, r := newDaemon(t)
	d.cfg.Threads = count
	w.polled = map[int]*polled{}
	for _, index := range indexes {
		w.mount(index)
		r.links = append(r.links, link(index))
	}
	return d, w, r
}

// One thread serves NICs that come and go, and has one way out by each.
func TestThreadIsShared(t *testing.T) {
	d, w, r := newPolledDaemon(t, 1, clientNIC, otherNIC)
	d.mustReconcile(t, r)
	w.passes(1, otherNIC)
	if len(d.nics.hands) != 1 || w.open.Load() != 2 {
		t.Errorf("%d threads, %d ways out", len(d.nics.hands), w.open.Load())
	}
	_, others := w.at(otherNIC)
	others.send(segment(otherNIC, other, from(1), wire.SYN|wire.ACK))
	_, clients := w.at(clientNIC)
	if got := clients.receive(); got != (flow{vip, from(1)}) {
		t.Errorf("at the client: %v", got)
	}
	w.mount(serverNIC)
	r.setLinks(link(clientNIC), link(serverNIC), link(otherNIC))
	d.mustReconcile(t, r)
	w.passes(2, serverNIC)
	if len(d.nics.hands) != 1 || w.open.Load() != 3 {
		t.Errorf("%d threads, %d ways out", len(d.nics.hands), w.open.Load())
	}
	// One goes by itself, and the thread goes on.
	dev, _ := w.at(serverNIC)
	dev.Remove()
	eventually(t, "the thread notices", d.nics.taken[serverNIC].failed)
	w.passes(3, otherNIC)
	r.setLinks(link(clientNIC), link(otherNIC))
	d.mustReconcile(t, r)
	clients.send(segment(clientNIC, from(4), vip, wire.SYN)) // to .11, whose NIC went
	w.passes(5, otherNIC)
	if names := d.nics.names(); !slices.Equal(names, []string{"b", "d"}) || w.open.Load() != 2 {
		t.Errorf("NICs %v, %d ways out", names, w.open.Load())
	}
	// The last ones go, and with them the thread.
	r.setLinks()
	d.mustReconcile(t, r)
	if len(d.nics.hands) != 0 || w.open.Load() != 0 {
		t.Errorf("%d threads, %d ways out", len(d.nics.hands), w.open.Load())
	}
}

// NICs are spread over the threads, the next one going where there are fewest.
func TestThreadsAreSpread(t *testing.T) {
	d, _, r := newPolledDaemon(t, 2, 1, 2, 3, 4, 5)
	d.mustReconcile(t, r)
	var counts []int
	for _, h := range d.nics.hands {
		counts = append(counts, len(*h.queues.Load()))
	}
	slices.Sort(counts)
	if !slices.Equal(counts, []int{2, 3}) || len(d.nics.threads()) > 2 {
		t.Errorf("queues by thread: %v", counts)
	}
}

// several is a NIC with queues, of which only one receives; it keeps what it is steered
// by.
type several struct {
	*polled
	vips *[]nic.Addr
}

func (s several) Steer(vips []nic.Addr) error {
	*s.vips = vips
	return nil
}

// Queues of the same number have the same thread, counters of a NIC are those of all
// its queues, and the virtual addresses that it is steered by follow the services.
func TestQueues(t *testing.T) {
	d, w, r := newPolledDaemon(t, 2, clientNIC, otherNIC)
	d.cfg.Queues = 3
	spare := 1000
	var vips []nic.Addr
	d.nics.openDevices = func(index, queues int, first []nic.Addr) (all []nic.Device, err error) {
		vips = first
		for range queues - 1 {
			spare++
			p, _ := newPolled(t, spare)
			all = append(all, several{p, &vips})
		}
		dev, err := w.device(index)
		return append(all, dev), err
	}
	d.mustReconcile(t, r)
	// A service that is added, and one that has gone.
	second := control.Service{ServiceID: control.ServiceID{Family: control.IPv4, Protocol: control.TCP, Address: server.Addr(), Port: 1}, Scheduler: "rr", Netmask: control.FullMask}
	if err := d.do(&control.Command{Op: control.AddService, Service: &second}); err != nil {
		t.Fatal(err)
	}
	if len(vips) != 2 {
		t.Errorf("steered by %v", vips)
	}
	if err := d.do(&control.Command{Op: control.DeleteService, Service: &second}); err != nil {
		t.Fatal(err)
	}
	want := []nic.Addr{vip.Addr().As16()}
	if !slices.Equal(vips, want) {
		t.Errorf("steered by %v", vips)
	}
	w.passes(1, otherNIC)
	eventually(t, "the frame is counted", func() bool { return d.nics.drops().NICs[0].Forwarded == 1 })
	if s := d.status(); len(s.NICs) != 2 || s.NICs[0].Stats.RxFrames != 1 || len(d.nics.drops().NICs) != 2 {
		t.Errorf("%+v", s.NICs)
	}
	if l := d.nics.latency(time.Second, time.Now()); len(l.NICs) != 2 || l.NICs[0].Receive.Count != 1 || len(l.Slowest) != 1 {
		t.Errorf("%+v", l.NICs)
	}
	if len(d.nics.hands) != 2 || w.open.Load() != 4 {
		t.Errorf("%d threads, %d ways out", len(d.nics.hands), w.open.Load())
	}
	for _, h := range d.nics.hands {
		for _, taken := range d.nics.taken {
			for i, q := range taken.queues {
				if slices.Contains(h.list, q) != (i%2 == h.number) {
					t.Errorf("queue %d of %s and thread %d", i, taken.name, h.number)
				}
			}
		}
	}
	// One queue that fails is the NIC's failure.
	w.polled[otherNIC].Remove()
	eventually(t, "it is noticed", d.nics.taken[otherNIC].failed)
	r.setLinks(link(clientNIC))
	d.mustReconcile(t, r)
	if n := len(*d.nics.hands[0].queues.Load()) + len(*d.nics.hands[1].queues.Load()); n != 3 {
		t.Errorf("%d queues are left, want 3", n)
	}
}

// A thread that sleeps because nothing has come for long is woken by what control
// wants, and by a frame.
func TestThreadIsWoken(t *testing.T) {
	d, w, r := newPolledDaemon(t, 1, clientNIC, otherNIC)
	d.mustReconcile(t, r)
	h := d.nics.hands[0]
	eventually(t, "it sleeps", func() bool { return h.turns.Load() > 1 })
	h.sleeper.kick()
	h.sleeper.kick()
	w.passes(1, otherNIC)
	quiet := make(chan struct{})
	go func() {
		h.sleeper.kick()
		quiesce([]*hand{h})
		close(quiet)
	}()
	<-quiet
}

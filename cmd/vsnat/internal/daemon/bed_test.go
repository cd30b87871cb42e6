package daemon

import (
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"vsnat/cmd/vsnat/internal/latency"
	"vsnat/conntrack"
	"vsnat/nat"
	"vsnat/nat/wire"
	"vsnat/nic"
	"vsnat/nic/mem"
)

// The test cluster: clients behind NIC 1, real servers behind NICs 2 and 3. The
// scheduler rr picks .12 first, and then .11 and .12 in turn.
const (
	clientNIC = 1
	serverNIC = 2
	otherNIC  = 3
)

var (
	client  = netip.MustParseAddrPort("192.0.2.7:40000")
	vip     = netip.MustParseAddrPort("192.0.2.1:80")
	server  = netip.MustParseAddrPort("10.0.2.11:8080")
	other   = netip.MustParseAddrPort("10.0.3.12:8080")
	service = nat.ServiceKey{Proto: nat.ProtoTCP, Addr: vip.Addr().As16(), Port: vip.Port()}
)

// fakeRoutes are the host's routes: one network behind each NIC.
type fakeRoutes struct {
	mu         sync.Mutex
	unresolved map[int]bool
	links      []nic.Link
	more       []nic.Addr // addresses of the host besides the VIP
}

func (r *fakeRoutes) Lookup(dst nic.Addr) nic.Hop {
	a := netip.AddrFrom16(dst).Unmap()
	if r.Local(dst) {
		return nic.Hop{State: nic.HopLocal}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for index, net := range map[int]string{clientNIC: "192.0.2.0/24", serverNIC: "10.0.2.0/24", otherNIC: "10.0.3.0/24"} {
		if netip.MustParsePrefix(net).Contains(a) {
			h := nic.Hop{
				State: nic.HopResolved, Index: index, MTU: 1500, NextHop: dst, Src: vip.Addr().As16(),
				SrcMAC: mac(index), DstMAC: [6]byte{2, 1, 5: byte(index)},
			}
			if r.unresolved[index] {
				h.State = nic.HopUnresolved
			}
			return h
		}
	}
	return nic.Hop{State: nic.HopNoRoute}
}

func (r *fakeRoutes) Local(a nic.Addr) bool     { return a == vip.Addr().As16() }
func (r *fakeRoutes) Forwarding(int, bool) bool { return false }

func (r *fakeRoutes) Locals() []nic.Addr {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]nic.Addr{vip.Addr().As16()}, r.more...)
}

func (r *fakeRoutes) Links() []nic.Link {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.links)
}

func (r *fakeRoutes) Link(index int) (nic.Link, bool) {
	for _, l := range r.Links() {
		if l.Index == index {
			return l, true
		}
	}
	return nic.Link{}, false
}

func (r *fakeRoutes) resolve(index int, yes bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unresolved[index] = !yes
}

func mac(index int) [6]byte { return [6]byte{2, 5: byte(index)} }

// newEngine returns an engine with the test's service and its servers.
func newEngine(t testing.TB) (*nat.Engine, *fakeRoutes) {
	t.Helper()
	e, err := nat.New(nat.Options{Conns: conntrack.Config{Max: 1000}, Guarded: true})
	if err != nil {
		t.Fatal(err)
	}
	r := &fakeRoutes{unresolved: map[int]bool{}}
	e.SetRoutes(r)
	e.Update(func(tx *nat.Tx) {
		if err := tx.AddService(nat.ServiceSpec{Key: service, Scheduler: "rr"}); err != nil {
			t.Fatal(err)
		}
		for _, s := range []netip.AddrPort{server, other} {
			if err := tx.AddServer(service, nat.ServerSpec{Key: nat.ServerKey{Addr: s.Addr().As16(), Port: s.Port()}, Weight: 1}); err != nil {
				t.Fatal(err)
			}
		}
	})
	return e, r
}

// segment makes a frame to NIC index with a TCP segment.
func segment(index int, src, dst netip.AddrPort, flags uint8) *nic.Frame {
	const size = wire.IPv4MinLen + wire.TCPMinLen
	f := &nic.Frame{Buf: make([]byte, nic.VNetHdrLen+wire.EthernetLen+size)}
	eth := wire.Ethernet(f.Eth())
	eth.SetType(wire.TypeIPv4)
	eth.SetDst(mac(index))
	eth.SetSrc([6]byte{2, 1, 5: byte(index)})
	ip := wire.IPv4(eth.Payload())
	ip.Encode(&wire.IPv4Fields{TotalLen: size, TTL: 64, Protocol: nat.ProtoTCP, Flags: wire.IPv4DontFragment, Src: src.Addr().As4(), Dst: dst.Addr().As4()})
	tcp := wire.TCP(ip.Payload())
	tcp.Encode(&wire.TCPFields{SrcPort: src.Port(), DstPort: dst.Port(), Flags: flags, Window: 1000})
	tcp.SetChecksum(^wire.Fold(wire.Sum(tcp, wire.PseudoSum4(ip.Src(), ip.Dst(), nat.ProtoTCP, len(tcp)))))
	return f
}

// flow is where a frame comes from and goes to.
type flow struct{ src, dst netip.AddrPort }

func (f flow) String() string { return f.src.String() + ">" + f.dst.String() }

func flowOf(t testing.TB, f *nic.Frame) flow {
	t.Helper()
	var p wire.Packet
	if r := p.Parse(f.Eth()); r != wire.Parsed {
		t.Fatalf("a frame that left cannot be read: %v", r)
	}
	return flow{nat.AddrPort(p.Src, p.SrcPort), nat.AddrPort(p.Dst, p.DstPort)}
}

// host is the other end of a NIC's wire.
type host struct {
	t   testing.TB
	dev *mem.Device
}

// newWire returns a NIC and the host at the other end of its wire.
func newWire(t testing.TB, index int) (*mem.Device, *host) {
	near, far := mem.Pair(
		mem.Config{Name: nicName(index), Index: index, MAC: mac(index), MTU: 1500},
		mem.Config{Name: "far", Index: 100 + index},
	)
	return near, &host{t, far}
}

func nicName(index int) string { return string(rune('a' + index)) }

func (h *host) send(frames ...*nic.Frame) {
	h.t.Helper()
	errs := make([]syscall.Errno, len(frames))
	if n := h.dev.Send(frames, errs); n != len(frames) {
		h.t.Fatalf("the far end sent %d of %d frames: %v", n, len(frames), errs)
	}
}

// patience is how long a test waits for what must come.
const patience = 10 * time.Second

// receive returns the next frame that arrives.
func (h *host) receive() flow {
	h.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		var b nic.Batch
		if n, err := h.dev.Recv(&b); err != nil {
			h.t.Fatal(err)
		} else if n > 0 {
			if n > 1 {
				h.t.Fatalf("%d frames arrived, want one", n)
			}
			f := flowOf(h.t, &b.Frames[0])
			h.dev.Release()
			return f
		}
		if err := h.dev.Wait(time.Second); err != nil {
			h.t.Fatal(err)
		}
	}
	h.t.Fatal("no frame arrived")
	return flow{}
}

// eventually waits until the condition holds.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// recorder is a way out that keeps what was sent and fails as it is told.
type recorder struct {
	t     testing.TB
	calls [][]flow
	fail  func(frame int) syscall.Errno // by the number of the frame; nil is success
	n     int
}

func (r *recorder) Send(frames []*nic.Frame, errs []syscall.Errno) int {
	var call []flow
	sent := 0
	for i, f := range frames {
		errs[i] = 0
		if r.fail != nil {
			errs[i] = r.fail(r.n)
		}
		r.n++
		if errs[i] == 0 {
			sent++
			call = append(call, flowOf(r.t, f))
		}
	}
	r.calls = append(r.calls, call)
	return sent
}

// one is a thread with a single queue.
type one struct {
	*thread
	*queue
}

func newOne(e *nat.Engine, dev nic.Device, ways ports) *one {
	q := &queue{dev: dev, worker: e.NewWorker(dev.Index())}
	q.record.Store(new(latency.Record))
	t := &thread{
		epoch: time.Now().Add(-time.Second), ask: func(int, nic.Addr) {}, log: zap.NewNop(), done: make(chan struct{}), sleeper: sleeper{wake: -1},
	}
	t.queues.Store(&[]*queue{q})
	t.ports.Store(&ways)
	return &one{t, q}
}

// end stops a thread that runs and returns its queue's ledger.
func (o *one) end(t testing.TB) nat.Ledger {
	t.Helper()
	o.stop.Store(true)
	select {
	case <-o.done:
	case <-time.After(patience):
		t.Fatal("the thread does not end")
	}
	o.worker.Close()
	ledger := o.worker.Ledger()
	if !ledger.Balanced() {
		t.Errorf("the ledger does not balance: %+v", ledger)
	}
	return ledger
}

// fakeWatcher is a watcher over routes that do not change by themselves.
type fakeWatcher struct {
	routes  nic.Routes
	changed chan struct{}
	done    chan struct{}
	mu      sync.Mutex
	kept    []nic.Addr
}

func newFakeWatcher(r nic.Routes) *fakeWatcher {
	return &fakeWatcher{routes: r, changed: make(chan struct{}, 1), done: make(chan struct{})}
}

func (w *fakeWatcher) Routes() nic.Routes       { return w.routes }
func (w *fakeWatcher) Changed() <-chan struct{} { return w.changed }
func (w *fakeWatcher) Done() <-chan struct{}    { return w.done }
func (w *fakeWatcher) Ignored() []string        { return nil }
func (w *fakeWatcher) Solicit(int, nic.Addr)    {}

func (w *fakeWatcher) Keep(addrs []nic.Addr) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kept = addrs
}

package nat

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"

	"vsnat/nat/wire"
)

// Live decisions. Whoever traces gets the decisions on frames that a filter takes,
// as workers make them. A worker never waits for a trace: it has so many decisions a
// second to give, puts them where there is room, and counts the others.

const (
	// maxTraces is how many traces there may be at a time.
	maxTraces = 8
	// traceRings and traceRoom are how many rings of decisions a trace has, and how
	// many each holds. A worker has one of them, which it has to itself unless there
	// are more workers than rings.
	traceRings = 32
	traceRoom  = 256
	// traceRate and traceBurst bound the decisions that a worker tells a second, of
	// all traces together, as each takes it some microseconds.
	traceRate  = 2000
	traceBurst = 500
	// traceServers is how many servers a service has at most whose scheduler is asked
	// for its account while packets wait.
	traceServers = 100
)

// TraceFilter tells which decisions are wanted. The zero value of a field stands for
// any.
type TraceFilter struct {
	// Client and Virtual are where packets come from and go to, or of answers the
	// other way round. A port 0 is any port (host byte order).
	Client, Virtual         netip.Prefix
	ClientPort, VirtualPort uint16
	Proto                   uint8
	// Verdicts are kinds of verdict, one bit 1<<Kind each.
	Verdicts uint8
	// New wants only packets that begin a connection, or are refused one.
	New bool
	// Sample takes one of so many packets that the addresses, ports and protocol let
	// through.
	Sample uint32
}

// takesPacket reports whether a packet between these two ends may be wanted. Of an
// answer the virtual end cannot be told yet: it comes from a real server.
func (f *TraceFilter) takesPacket(p *wire.Packet) bool {
	if f.Proto != 0 && f.Proto != p.Proto {
		return false
	}
	return f.between(p.Src, p.SrcPort, p.Dst, p.DstPort) || f.ofClient(p.Dst, p.DstPort)
}

// between reports whether these are a client and a virtual end that are wanted.
func (f *TraceFilter) between(client Addr, clientPort uint16, virtual Addr, virtualPort uint16) bool {
	return f.ofClient(client, clientPort) && takesEnd(f.Virtual, f.VirtualPort, virtual, virtualPort)
}

func (f *TraceFilter) ofClient(a Addr, port uint16) bool {
	return takesEnd(f.Client, f.ClientPort, a, port)
}

func takesEnd(network netip.Prefix, port uint16, a Addr, has uint16) bool {
	return (port == 0 || port == has) && (!network.IsValid() || network.Contains(netip.AddrFrom16(a).Unmap()))
}

// takes reports whether the decision is wanted, of a packet that was let through.
func (f *TraceFilter) takes(d *Decision) bool {
	if f.Verdicts != 0 && f.Verdicts>>d.Verdict.Kind&1 == 0 {
		return false
	}
	if f.New && (d.Scheduling == nil && d.Template == nil && d.Cause == 0 || d.From != ClientSide) {
		return false
	}
	h, c := &d.Before, d.Connection
	switch {
	case d.From == ServerSide && c != nil:
		return f.between(c.Client, c.ClientPort, c.Virtual, c.VirtualPort)
	case f.between(h.Src, h.SrcPort, h.Dst, h.DstPort):
		return true
	}
	// Perhaps an answer that belongs to no connection.
	return d.From == 0 && !f.Virtual.IsValid() && f.VirtualPort == 0 && f.ofClient(h.Dst, h.DstPort)
}

// Trace gathers decisions until it is closed.
type Trace struct {
	filter TraceFilter
	seen   atomic.Uint32 // packets let through
	lost   atomic.Uint64
	rings  [traceRings]traceRing
}

// traceRing holds the decisions of one worker. The worker takes the lock only if
// nobody has it.
type traceRing struct {
	mu  sync.Mutex
	all []*Decision
	_   [64]byte // the next one's worker is another
}

// Trace begins to gather decisions. Too many traces are refused with EBUSY. Whoever
// begins one takes what it gathers, with Take, and ends it, with EndTrace.
func (e *Engine) Trace(f TraceFilter) (*Trace, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []*Trace
	if p := e.traces.Load(); p != nil {
		all = append(all, *p...)
	}
	if len(all) == maxTraces {
		return nil, refuse("trace", "trace", syscall.EBUSY, "there are as many traces as there may be")
	}
	t := &Trace{filter: f}
	all = append(all, t)
	e.traces.Store(&all)
	return t, nil
}

// EndTrace ends a trace.
func (e *Engine) EndTrace(t *Trace) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []*Trace
	for _, o := range *e.traces.Load() {
		if o != t {
			all = append(all, o)
		}
	}
	if len(all) == 0 {
		e.traces.Store(nil)
		return
	}
	e.traces.Store(&all)
}

// Take returns what was gathered since it was called last, in order for each
// worker, and how many decisions were lost since.
func (t *Trace) Take() (all []*Decision, lost uint64) {
	for i := range t.rings {
		r := &t.rings[i]
		r.mu.Lock()
		all = append(all, r.all...)
		clear(r.all)
		r.all = r.all[:0]
		r.mu.Unlock()
	}
	return all, t.lost.Swap(0)
}

// put keeps a decision of the worker, or counts it as lost.
func (t *Trace) put(worker uint32, d *Decision) {
	r := &t.rings[worker%traceRings]
	if !r.mu.TryLock() {
		t.lost.Add(1)
		return
	}
	defer r.mu.Unlock()
	if len(r.all) == traceRoom {
		t.lost.Add(1)
		return
	}
	r.all = append(r.all, d)
}

// tracer is a worker's part in traces.
type tracer struct {
	all    *[]*Trace // as of this round; nil is none
	number uint32    // of the worker, from 1; 0 until there was a trace
	credit int64     // decisions it may tell, in nanoseconds of traceRate
	last   int64
}

// followTraces takes over which traces there are.
func (w *Worker) followTraces() {
	w.traces.all = w.e.traces.Load()
	if w.traces.all != nil && w.traces.number == 0 {
		w.traces.number = w.e.tracers.Add(1)
	}
}

// unread tells traces of a frame that was dropped before it was judged.
func (w *Worker) unread(frame []byte, v Verdict) {
	h := headersOf(frame)
	p := wire.Packet{Src: h.Src, Dst: h.Dst, SrcPort: h.SrcPort, DstPort: h.DstPort, Proto: h.Proto}
	if wanted := w.wanted(&p); wanted != 0 {
		w.tell(wanted, &Decision{At: w.now, NIC: w.index, Before: h, Verdict: v})
	}
}

// wanted returns which traces let the packet through, one bit each, and takes what
// a decision costs from the worker's credit. Without credit none does.
func (w *Worker) wanted(p *wire.Packet) (wanted uint) {
	const cost = 1e9 / traceRate
	t := &w.traces
	for i, tr := range *t.all {
		if f := &tr.filter; f.takesPacket(p) && (f.Sample < 2 || tr.seen.Add(1)%f.Sample == 0) {
			wanted |= 1 << i
		}
	}
	if wanted == 0 {
		return 0
	}
	t.credit = min(t.credit+w.now-t.last, traceBurst*cost)
	t.last = w.now
	if t.credit >= cost {
		t.credit -= cost
		return wanted
	}
	for i, tr := range *t.all {
		if wanted>>i&1 != 0 {
			tr.lost.Add(1)
		}
	}
	return 0
}

// tell gives a decision to those of the traces that want it.
func (w *Worker) tell(wanted uint, d *Decision) {
	for i, tr := range *w.traces.all {
		if wanted>>i&1 != 0 && tr.filter.takes(d) {
			tr.put(w.traces.number, d)
		}
	}
}

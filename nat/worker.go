package nat

import (
	"vsnat/conntrack"
	"vsnat/nat/alg"
	"vsnat/nat/wire"
	"vsnat/nic"
	"vsnat/sched"
)

// Worker judges the frames of one receive queue. Only one goroutine uses it,
// but for Ledger, which any may call. A round is Process (or Idle), sending
// what Out returns, Failed for each frame that could not be sent, and Commit.
type Worker struct {
	e     *Engine
	index int // ifindex of the receiving NIC

	// of this round
	now     int64
	host    int // ifindex of the port to the host's own stack, or 0
	snap    *snapshot
	routes  *routesBox
	jobs    [nic.MaxBatch]job
	pkts    [nic.MaxBatch]wire.Packet
	plains  [nic.MaxBatch]plain
	hashes  [nic.MaxBatch]uint64         // of those that connections are looked for
	hints   [nic.MaxBatch]conntrack.Hint // where those are
	ports   [nic.MaxBatch]uint64         // of those that are looked for in the book of ports
	pkt     *wire.Packet                 // of the frame under judgement
	frame   *nic.Frame                   // it, or a held one that is answered; else nil
	vlans   vlanSet                      // that have an interface of their own
	req     sched.Request
	once    conntrack.Conn // of the packet, if it is scheduled by itself
	watch   *watch         // of that frame; nil if nobody wants to know
	traces  tracer
	express express
	general bool // of tests: no packet goes the express way
	// explains says that all is wanted of every decision, and explained is the last one.
	explains  bool
	explained *Decision
	source    [1]Addr // see [Worker.takePort]
	first     job     // see [Worker.sendFirst]
	// nextPort tells where among a pool's ports the next one is looked for.
	nextPort uint32
	seg      alg.Segment // of the packet, if a helper looks at it
	agreed   []agreement // of the packet; see expectAgreed
	taken    func(port uint16) bool
	// inverse is the answer to the packet that an ICMP error quotes.
	inverse wire.Packet

	oldest   oldest
	verdicts [nic.MaxBatch]Verdict
	out      []Out
	answers  answers
	held     holdQueue
	frags    fragments
	pieces   pieces
	tunnels  tunnels
	asks     []Ask
	hops     hopCache
	counts   gatherer
	limit    icmpLimit
	ledger   Ledger
	pub      published
}

// NewWorker returns a worker for frames that the NIC with that ifindex
// receives.
func (e *Engine) NewWorker(index int) *Worker {
	w := &Worker{e: e, index: index}
	w.out = make([]Out, 0, 2*nic.MaxBatch+holdSlots+fragSlots+pieceSlots)
	w.asks = make([]Ask, 0, nic.MaxBatch+holdSlots)
	w.agreed = make([]agreement, 0, alg.MaxExpected)
	w.taken = w.takenPort
	w.held.init()
	w.frags.init(e.opt.Conns.Seed)
	w.pieces.init()
	w.answers.init()
	return w
}

// Process judges the frames of a batch and rewrites in place those that go on.
// now is the time in nanoseconds on the engine's clock, which never goes back.
// Everything it returns through Out and Verdict is valid until Commit.
func (w *Worker) Process(b *nic.Batch, now int64) {
	w.begin(now)
	w.setOut()
	// First all frames are read, then their connections are brought near, then
	// judgement is passed: memory serves many at once sooner than one by one.
	hashes, ports := w.hashes[:0], w.ports[:0]
	for i := range b.N {
		f, q := &b.Frames[i], &w.plains[i]
		if q.ok = w.express.open && w.readPlain(q, f); q.ok {
			if q.home {
				q.found = len(ports)
				ports = append(ports, q.port)
			} else {
				q.found = len(hashes)
				hashes = append(hashes, q.hash)
			}
			continue
		}
		j := &w.jobs[i]
		if w.verdicts[i] = w.read(j, f, i); w.verdicts[i] == undecided && j.flow {
			if j.home {
				ports = append(ports, j.port)
			}
			if !j.home || j.in {
				hashes = append(hashes, j.hash)
			}
		}
	}
	if len(ports) > 0 {
		w.e.table.PrefetchPorts(ports)
	}
	w.e.table.Prefetch(hashes, w.hints[:])
	onward := uint64(0) // frames that went the express way
	for i := range b.N {
		f := &b.Frames[i]
		if q := &w.plains[i]; q.ok {
			if w.passOn(i, q, f) {
				w.verdicts[i] = Verdict{Kind: Forward} // not from memory
				onward++
				continue
			}
			q.ok = false
			w.oldest.not(i)
			w.verdicts[i] = w.read(&w.jobs[i], f, i)
		}
		w.pass(i, f)
		w.count(w.verdicts[i])
	}
	w.ledger.Received += onward
	w.ledger.Forwarded += onward
}

// Idle does what is due when no frame came: held frames go on or end.
func (w *Worker) Idle(now int64) {
	w.begin(now)
	w.counts.due = now
}

// Rest is to be called when no frame waits, before waiting for one: what was counted
// becomes visible. A worker that is busy tells it ten thousand times a second and not
// with every batch.
func (w *Worker) Rest() {
	w.counts.due = w.now
	w.counts.settle(w.e, w.snap, w.now)
}

func (w *Worker) begin(now int64) {
	w.now = now
	if snap := w.e.snap.Load(); snap != w.snap {
		if w.snap != nil {
			w.counts.flush(w.e, w.snap) // its servers' numbers may be others' in the next
		}
		w.snap = snap
	}
	w.frame = nil
	w.oldest.forget()
	w.host = int(w.e.host.index.Load())
	w.followTraces()
	if len(w.snap.tunnels) > 0 && w.tunnels.frames == nil {
		w.setUpTunnels()
	}
	if r := w.e.routes.Load(); r != w.routes {
		w.routes = r
		w.vlans.of(r.Links(), w.index)
		w.hops.clear()
		w.held.next = now
	}
	if w.held.waiting > 0 && now >= w.held.next {
		w.retryHeld()
	}
	if w.frags.waiting > 0 && now >= w.frags.next {
		w.retireFragments(false)
	}
}

// Held returns how many frames wait, for a neighbour or for the first fragment of
// their datagram.
func (w *Worker) Held() int { return w.held.waiting + w.frags.waiting }

// Verdict returns the judgement of the batch's frame i.
func (w *Worker) Verdict(i int) Verdict { return w.verdicts[i] }

// Out returns the frames to send.
func (w *Worker) Out() []Out { return w.out }

// Asks returns the next hops to have resolved.
func (w *Worker) Asks() []Ask { return w.asks }

// Commit ends the round: its counts become visible, those of servers within 100 µs or
// with [Worker.Rest], and the frames of Out are the worker's again.
func (w *Worker) Commit() {
	w.counts.settle(w.e, w.snap, w.now)
	w.pub.publish(&w.ledger)
	w.held.reclaim()
	w.frags.reclaim()
	w.pieces.reclaim()
	w.tunnels.reclaim()
	w.answers.reclaim()
	w.out = w.out[:0]
	w.asks = w.asks[:0]
}

// Ledger returns what became of the frames received so far, up to the last
// Commit.
func (w *Worker) Ledger() Ledger { return w.pub.read() }

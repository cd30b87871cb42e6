package nat

import (
	"syscall"

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
	hashes  [nic.MaxBatch]uint64 // of those that connections are looked for
	ports   [nic.MaxBatch]uint64 // of those that are looked for in the book of ports
	pkt     *wire.Packet         // of the frame under judgement
	frame   *nic.Frame           // it, or a held one that is answered; else nil
	vlans   vlanSet              // that have an interface of their own
	req     sched.Request
	once    conntrack.Conn // of the packet, if it is scheduled by itself
	watch   *watch         // nil if nobody wants to know
	traces  tracer
	express express
	general bool    // of tests: no packet goes the express way
	source  [1]Addr // see [Worker.takePort]
	first   job     // see [Worker.sendFirst]
	// nextPort tells where among a pool's ports the next one is looked for.
	nextPort uint32
	seg      alg.Segment // of the packet, if a helper looks at it
	agreed   []agreement // of the packet; see expectAgreed
	taken    func(port uint16) bool
	// inverse is the answer to the packet that an ICMP error quotes.
	inverse wire.Packet

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

// Out is a frame to send and the NIC to send it from.
type Out struct {
	Frame *nic.Frame
	Port  int // ifindex
	// From is the index in the batch of the frame that this one is or answers;
	// -1 for one that had been held.
	From int
	Kind Kind // Forward or Reply
	// Second says that this is not the first of the frames that became of one: the
	// other of two answers, or a later fragment. The first alone is counted.
	Second bool
}

// Ask is a next hop whose link-layer address the kernel should resolve.
type Ask struct {
	Port    int // ifindex
	NextHop Addr
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
	w.e.table.Prefetch(hashes)
	for i := range b.N {
		f := &b.Frames[i]
		if q := &w.plains[i]; q.ok {
			if w.speed(i, q, f) {
				w.verdicts[i] = forwarded
				w.count(forwarded)
				continue
			}
			q.ok = false
			w.verdicts[i] = w.read(&w.jobs[i], f, i)
		}
		w.pass(i, f)
		w.count(w.verdicts[i])
	}
}

// pass passes judgement on the batch's frame i, which was read, by the general way.
func (w *Worker) pass(i int, f *nic.Frame) {
	if w.verdicts[i] != undecided {
		if w.traces.all != nil && w.verdicts[i].Kind == Dropped {
			w.unread(f.Eth(), w.verdicts[i])
		}
		return
	}
	w.pkt, w.frame = &w.pkts[i], f
	if w.watch == nil && w.traces.all == nil {
		w.verdicts[i] = w.judge(&w.jobs[i])
	} else {
		w.verdicts[i] = w.asked(&w.jobs[i])
	}
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

// Failed says that frame i of Out was not sent, and the kernel's reason.
func (w *Worker) Failed(i int, errno syscall.Errno) {
	if w.out[i].Second {
		return
	}
	if w.out[i].Kind == Reply {
		w.ledger.Replied--
	} else {
		w.ledger.Forwarded--
	}
	w.ledger.Dropped[txReason(errno)]++
}

func txReason(errno syscall.Errno) Reason {
	switch errno {
	case syscall.EMSGSIZE:
		return TxTooBig
	case syscall.ENOBUFS, syscall.EAGAIN, syscall.ENOMEM:
		return TxNoBuffer
	case syscall.ENETDOWN, syscall.ENXIO, syscall.ENODEV:
		return TxNICDown
	}
	return TxFailed
}

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

func (w *Worker) count(v Verdict) {
	w.ledger.Received++
	switch v.Kind {
	case Forward:
		w.ledger.Forwarded++
	case Reply:
		w.ledger.Replied++
	case Pass:
		w.ledger.Passed++
	case Hold:
		w.ledger.Held++
	default:
		w.ledger.Dropped[v.Reason]++
	}
}

var (
	passed    = Verdict{Kind: Pass}
	replied   = Verdict{Kind: Reply}
	forwarded = Verdict{Kind: Forward}
	holding   = Verdict{Kind: Hold}
)

func drop(r Reason) Verdict { return Verdict{Kind: Dropped, Reason: r} }

// undecided stands for the verdict of a frame that was only read yet.
var undecided = Verdict{}

// job is one frame on its way through the engine.
type job struct {
	f   *nic.Frame
	i   int // its index in the batch
	eth wire.Ethernet
	ip  wire.IP // from the IP header to the end of the IP packet
	l4  []byte  // transport header and payload

	in    bool // to a VIP
	home  bool // to an address that ports of pools are on
	proto uint8
	flow  bool   // of a protocol that services have, and with ports
	later bool   // a fragment without ports
	hash  uint64 // if flow, of its client: the source if in, else the destination
	port  uint64 // if flow and home, its hash in the book of ports

	next Addr // whose next hop is the frame's; set by whoever sends it
	long bool // for the link to that; leaves in pieces

	// Of a packet for a tunnel: the port that its datagrams come from, and once it
	// is wrapped the length of what is before it.
	srcPort uint16
	wrapped int

	// Of the connection that it was found to belong to.
	server   uint32 // the engine's number; 0 is none
	toServer bool

	mark       uint32 // see [Worker.mark]
	classified bool

	aboutError bool // it is an ICMP error, and judged as the answer to what it quotes
}

// read parses the frame into j and the packet of that index. It returns
// undecided, unless the frame is none that judgement is passed on.
func (w *Worker) read(j *job, f *nic.Frame, i int) Verdict {
	if f.Type != nic.ToHost {
		return passed
	}
	eth := wire.Ethernet(f.Eth())
	if !eth.IsValid() {
		return drop(Truncated)
	}
	if t := eth.Type(); f.VLANProto != 0 || t != wire.TypeIPv4 && t != wire.TypeIPv6 {
		if !w.untag(f) {
			return passed
		}
		eth = f.Eth()
	}
	p := &w.pkts[i]
	j.later = false
	switch p.Parse(eth) {
	case wire.Parsed:
	case wire.LaterFragment:
		if j.later = w.followed(p); !j.later && !isIPsec(p) {
			return passed
		}
	case wire.OtherProtocol:
		if !isIPsec(p) {
			return passed
		}
	case wire.Truncated:
		if f.Cut() {
			return drop(CutByRing)
		}
		return drop(Truncated)
	default:
		return drop(BadIPHeader)
	}
	// Field by field: a literal is made elsewhere and copied.
	j.f, j.i = f, i
	j.eth, j.ip, j.l4 = eth, wire.IP(eth[p.L3:p.End]), eth[p.L4:p.End]
	j.proto = p.Proto
	j.flow, j.long, j.server, j.toServer, j.mark, j.classified = false, false, 0, false, 0, false
	j.wrapped = 0
	if !p.V6 && !wire.IPv4(j.ip).ChecksumOK() {
		return drop(BadIPChecksum)
	}
	j.in = w.snap.vips.has(&p.Dst)
	j.home = w.snap.locals.has(&p.Dst)
	switch {
	case j.later, p.Proto == wire.ProtoICMP, p.Proto == wire.ProtoICMPv6, isIPsec(p):
		return undecided
	case p.Proto != ProtoTCP && p.Proto != ProtoUDP && p.Proto != ProtoSCTP:
		return passed
	case j.in:
		j.hash = w.e.table.Hash(p.Proto, p.Src, p.SrcPort)
	default:
		j.hash = w.e.table.Hash(p.Proto, p.Dst, p.DstPort)
	}
	if j.home {
		k := portOf(p)
		j.port = w.e.table.Book().Hash(&k)
	}
	j.flow = true
	return undecided
}

// judge decides about a frame that was read.
func (w *Worker) judge(j *job) Verdict {
	if w.fromHost() {
		return w.judgeHost(j)
	}
	return w.judgeAny(j)
}

// judgeAny decides about a frame wherever it came from.
func (w *Worker) judgeAny(j *job) Verdict {
	if !j.flow && !j.later && isIPsec(w.pkt) {
		return w.ipsec(j)
	}
	if len(w.snap.tunnels) > 0 && !j.flow && !j.later {
		if v := w.tunnelError(j); v != passed {
			return v
		}
	}
	switch {
	case j.later:
		return w.laterFragment(j)
	case w.pkt.Frag && w.followed(w.pkt):
		return w.firstFragment(j)
	}
	return w.judgeWhole(j)
}

// judgeWhole decides about a packet that is whole, or about the first fragment of one.
func (w *Worker) judgeWhole(j *job) Verdict {
	if j.flow {
		return w.judgeFlow(j)
	}
	if j.home {
		if v, ok := w.icmpHomebound(j); ok {
			return v
		}
	}
	switch {
	case j.in:
		return w.icmpInbound(j)
	case len(w.snap.rules) > 0:
		// Connections by mark have any address as their VIP.
		if v := w.icmpInbound(j); v != passed {
			return v
		}
	}
	return w.icmpOutbound(j)
}

// judgeFlow decides about a packet of a protocol that services have.
func (w *Worker) judgeFlow(j *job) Verdict {
	if w.pkt.Proto == ProtoSCTP {
		j.completeSCTP()
	}
	if j.home {
		if v, ok := w.homebound(j); ok {
			return v
		}
	}
	switch {
	case j.in:
		return w.inbound(j)
	case len(w.snap.rules) > 0 && w.forMark(j):
		// What is to no VIP was taken for an answer.
		j.hash = w.e.table.Hash(w.pkt.Proto, w.pkt.Src, w.pkt.SrcPort)
		return w.inbound(j)
	}
	return w.outbound(j)
}

// partial reports whether the frame's transport checksum is still to be
// completed by whoever sends it.
func (j *job) partial() bool { return j.f.VNet().Partial() }

// length returns the length in bytes of the packet that must fit the MTU: of
// a super-frame, that of one of its segments.
func (j *job) length() int {
	h := j.f.VNet()
	if h.GSOType() == nic.VNetGSONone || !j.flow {
		return len(j.ip)
	}
	head := len(j.ip) - len(j.l4)
	if j.proto == ProtoTCP {
		head += wire.TCP(j.l4).HeaderLen()
	} else {
		head += wire.UDPLen
	}
	return head + int(h.GSOSize())
}

// bytes returns how many bytes the packet counts for. A first fragment counts
// for itself and the headers of the whole, in which there is no fragment header.
func (w *Worker) bytes(j *job) uint64 {
	if w.pkt.Frag && w.pkt.V6 {
		return uint64(len(j.ip) - wire.IPv6FragmentLen)
	}
	return uint64(len(j.ip))
}

// send gives a rewritten frame to its next hop, or lets it wait for the next
// hop's link-layer address. from is the connection whose client sent it, who is
// to hear of a failure, or nil.
func (w *Worker) send(j *job, hop *nic.Hop, from *conntrack.Conn) Verdict {
	if hop.State != nic.HopResolved {
		w.ask(hop)
		if w.held.put(j, w.now, from) == nil {
			return drop(HoldFull)
		}
		return holding
	}
	j.eth.SetAddrs(&hop.DstMAC, &hop.SrcMAC)
	w.mapTag(j.f, hop)
	if j.long {
		if !w.sendPieces(j.f, hop, j.i) {
			return drop(TooBig)
		}
		return forwarded
	}
	w.goes(j.f, hop, j.i)
	return forwarded
}

// goes has the frame, which is the batch's frame i or became of it, leave by the hop's
// NIC.
func (w *Worker) goes(f *nic.Frame, hop *nic.Hop, i int) {
	// Field by field, as above.
	n := len(w.out)
	if n == cap(w.out) {
		w.out = append(w.out, Out{})
	}
	w.out = w.out[:n+1]
	o := &w.out[n]
	o.Frame, o.Port, o.From, o.Kind, o.Second = f, hop.Index, i, Forward, false
}

func (w *Worker) ask(hop *nic.Hop) {
	if n := len(w.asks); n < cap(w.asks) && (n == 0 || w.asks[n-1] != Ask{hop.Index, hop.NextHop}) {
		w.asks = append(w.asks, Ask{hop.Index, hop.NextHop})
	}
}

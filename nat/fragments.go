package nat

import (
	"vsnat/nat/frag"
	"vsnat/nat/wire"
	"vsnat/nic"
)

// Fragments. IPVS has them put together before it looks at them, and taken apart
// again behind it. Here the first fragment, which has the ports, is judged like a
// whole packet, and the others follow it as they come: their addresses are
// rewritten, and they go the same way. What comes before the first waits for it.
//
// Only datagrams to a VIP or from a real server's address are kept track of; of
// the others the host takes care.

const (
	// fragDatagrams is how many datagrams in fragments a worker keeps track of.
	fragDatagrams = 4096
	// fragSlots is how many fragments wait for their datagram's first.
	fragSlots = 64
	// fragWait is how long they do: fragments overtake one another by
	// milliseconds.
	fragWait = 1e9
	fragLook = fragWait / 4
)

// fate is what becomes of the later fragments of a datagram.
type fate struct {
	decided bool
	// rest is Forward, or the verdict on each of them.
	rest Verdict
	// If rest is Forward: the addresses after the rewrite, where they go, and whose
	// bytes they are.
	src, dst Addr
	next     Addr
	server   uint32 // the engine's number; 0 is none
	toServer bool
	tunnel   bool   // each goes in a tunnel
	srcPort  uint16 // of its datagrams
}

// fragments is a worker's part in this.
type fragments struct {
	table *frag.Table[fate]

	slot    [fragSlots]earlyFragment
	waiting int
	leaving int
	next    int64 // when to look for those that waited too long
}

// earlyFragment is a copy of a fragment that waits for the first.
type earlyFragment struct {
	state  heldState
	frame  nic.Frame
	key    frag.Key
	since  int64
	memory []byte
}

func (f *fragments) init(seed uint64) {
	f.table = frag.New[fate](fragDatagrams, seed)
	mem := make([]byte, fragSlots*holdLen)
	for i := range f.slot {
		f.slot[i].memory = mem[i*holdLen : (i+1)*holdLen]
	}
}

// followed reports whether the fragments of such a datagram are kept track of.
func (w *Worker) followed(p *wire.Packet) bool {
	if p.Proto == wire.ProtoICMP || p.Proto == wire.ProtoICMPv6 {
		// Of those only echo requests that are masqueraded, and their answers, may go
		// on by way of us.
		return len(w.snap.inside) > 0 && (w.snap.locals.has(&p.Dst) || w.snap.insideOf(&p.Src) != nil)
	}
	// What an IPv6 packet's later fragment names may be an extension header.
	return (p.Proto == ProtoTCP || p.Proto == ProtoUDP || p.Proto == ProtoSCTP || p.V6 && !p.FirstFrag && wire.IsExtension(p.Proto)) &&
		(w.snap.vips.has(&p.Dst) || w.snap.backends.has(&p.Src) || len(w.snap.rules) > 0 ||
			w.snap.locals.has(&p.Dst) || w.snap.insideOf(&p.Src) != nil || w.fromHost())
}

// datagram returns what is known of the frame's datagram, with the fragment in
// j added to it.
func (w *Worker) datagram(j *job, k *frag.Key) (*frag.Datagram[fate], frag.Part) {
	d := w.frags.table.Find(k, w.now)
	if d == nil {
		d, _ = w.frags.table.Make(k, w.now)
	}
	from := int(w.pkt.FragOff)
	return d, d.Add(from, from+len(j.l4), !w.pkt.MoreFrags)
}

// firstFragment judges a fragment that has the ports, and with it its datagram.
func (w *Worker) firstFragment(j *job) Verdict {
	k := frag.KeyOf(w.pkt)
	d, part := w.datagram(j, &k)
	if part != frag.Fresh {
		if d.Fate.decided && d.Fate.rest == passed {
			return passed
		}
		return drop(Fragment)
	}
	v := w.judgeWhole(j)
	d.Fate = fate{decided: true, rest: v}
	switch v.Kind {
	case Forward, Hold:
		d.Fate.rest = forwarded
		d.Fate.src, d.Fate.dst, d.Fate.next = j.ip.Src(), j.ip.Dst(), j.next
		d.Fate.server, d.Fate.toServer = j.server, j.toServer
		d.Fate.tunnel, d.Fate.srcPort = j.wrapped > 0, j.srcPort
	case Reply:
		d.Fate.rest = drop(NoAnswer) // the one answer was given
	}
	w.joinFirst(d, &k)
	return v
}

// joinFirst lets the fragments go on that waited for the first.
func (w *Worker) joinFirst(d *frag.Datagram[fate], k *frag.Key) {
	for i := 0; i < fragSlots && w.frags.waiting > 0; i++ {
		e := &w.frags.slot[i]
		if e.state != heldWaits || e.key != *k {
			continue
		}
		eth := e.frame.Eth()
		var p wire.Packet
		if p.Parse(eth) != wire.LaterFragment {
			continue // it was one
		}
		j := job{f: &e.frame, i: -1, eth: eth, ip: eth[p.L3:p.End], l4: eth[p.L4:p.End]}
		w.letGo(e, w.follow(&j, &d.Fate))
	}
	if d.Complete() {
		w.frags.table.Done(k)
	}
}

// laterFragment judges a fragment without ports.
func (w *Worker) laterFragment(j *job) Verdict {
	if w.pkt.Proto == ProtoTCP && w.pkt.FragOff < wire.TCPMinLen {
		return drop(Fragment) // would overwrite the flags (RFC 3128)
	}
	k := frag.KeyOf(w.pkt)
	d, part := w.datagram(j, &k)
	switch {
	case d.Fate.decided && d.Fate.rest == passed:
		return passed
	case part != frag.Fresh:
		return drop(Fragment)
	case !d.Fate.decided:
		return w.waitForFirst(j, &k)
	}
	v := w.follow(j, &d.Fate)
	if d.Complete() {
		w.frags.table.Done(&k)
	}
	return v
}

// follow has a later fragment go the way of the first.
func (w *Worker) follow(j *job, to *fate) Verdict {
	if to.rest != forwarded {
		return to.rest
	}
	hop := w.hop(&to.next)
	local := hop.State == nic.HopLocal && to.toServer
	switch {
	case hop.State == nic.HopNoRoute:
		return drop(NoRouteOut)
	case local && w.host != 0:
	case local:
		return drop(ServerIsLocal)
	case hop.State == nic.HopLocal:
		return drop(RedirectedHome)
	case j.ip.TTL() <= 1 && !w.fromHost():
		return drop(NoAnswer) // of a datagram only the first fragment is answered
	case len(j.ip) > hop.MTU && !j.divisible() && !to.tunnel:
		return w.laterTooBig(j, to, hop)
	}
	j.long = len(j.ip) > hop.MTU
	if to.server != 0 {
		// They are one packet: it was counted with the first fragment.
		n := w.counts.of(to.server)
		if payload := uint64(len(j.l4)); to.toServer {
			n.InBytes += payload
		} else {
			n.OutBytes += payload
		}
	}
	if local || w.fromHost() {
		j.ip.SetSrc(to.src)
		j.ip.SetDst(to.dst)
	} else {
		j.ip.Onward(&to.src, &to.dst)
	}
	if local {
		return w.handOver(j)
	}
	j.next = to.next
	if to.tunnel {
		j.srcPort = to.srcPort
		return w.toTunnel(j, hop, w.e.destOf(w.snap, to.server), nil, false)
	}
	return w.send(j, hop, nil)
}

// laterTooBig deals with a later fragment that does not fit the next link. In IPv6
// its sender is told, who does not know yet if the first one fitted.
func (w *Worker) laterTooBig(j *job, to *fate, hop *nic.Hop) Verdict {
	switch {
	case !j.ip.V6() || j.i < 0:
		return drop(TooBig)
	case to.toServer:
		return w.answerError(j, w.pkt.Dst, packetTooBig, hop.MTU)
	}
	return w.answerFromHost(j, packetTooBig, hop.MTU)
}

// waitForFirst copies a fragment aside.
func (w *Worker) waitForFirst(j *job, k *frag.Key) Verdict {
	if w.frags.waiting+w.frags.leaving == fragSlots || len(j.f.Buf) > holdLen {
		return drop(HoldFull)
	}
	for i := range w.frags.slot {
		e := &w.frags.slot[i]
		if e.state != heldFree {
			continue
		}
		*e = earlyFragment{
			state: heldWaits, key: *k, since: w.now, memory: e.memory,
			frame: nic.Frame{
				Buf: e.memory[:copy(e.memory, j.f.Buf)], WireLen: len(j.eth), VLAN: j.f.VLAN, VLANProto: j.f.VLANProto,
			},
		}
		if w.frags.waiting == 0 {
			w.frags.next = w.now + fragLook
		}
		w.frags.waiting++
		break
	}
	return holding
}

// letGo ends the wait of a fragment, of which v was made.
func (w *Worker) letGo(e *earlyFragment, v Verdict) {
	e.state = heldFree
	if v == forwarded {
		e.state = heldLeaves
		w.frags.leaving++
	}
	w.frags.waiting--
	w.recount(v)
}

// retireFragments ends the wait of those whose first fragment did not come, or
// of all.
func (w *Worker) retireFragments(all bool) {
	w.frags.next = w.now + fragLook
	for i := range w.frags.slot {
		if e := &w.frags.slot[i]; e.state == heldWaits && (all || w.now-e.since >= fragWait) {
			w.letGo(e, drop(FragmentOrphan))
		}
	}
}

// reclaim frees the slots whose fragments have left.
func (f *fragments) reclaim() {
	for i := 0; f.leaving > 0; i++ {
		if f.slot[i].state == heldLeaves {
			f.slot[i].state = heldFree
			f.leaving--
		}
	}
}

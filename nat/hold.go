package nat

import (
	"vsnat/conntrack"
	"vsnat/nat/wire"
	"vsnat/nic"
)

const (
	holdSlots = 64
	// holdLen is the longest frame that may wait; jumbo frames fit.
	holdLen = nic.VNetHdrLen + 9216
	// holdTime is how long: the kernel asks three times, a second apart
	// (net.ipv4.neigh.default: mcast_solicit 3, retrans_time_ms 1000).
	holdTime = 3e9
	// holdFailed is how long a frame waits for a neighbour that is known not
	// to have answered before: the kernel was asked to try again.
	holdFailed = 1e9
	// holdLook is the time between two looks when the routes do not change.
	holdLook = 100e6
)

// undo is how an error about a held frame must name its destination, which
// was rewritten before the frame had to wait.
type undo struct {
	answer bool // the frame came from a client, who is told when it fails
	addr   Addr // VIP
	port   uint16
	inside int // where the client's packet begins in one that is in a tunnel
	// client is who sent it, where it is not told by the frame any more.
	client     Addr
	clientPort uint16
}

// holdQueue keeps copies of frames that wait for a neighbour.
type holdQueue struct {
	slot    [holdSlots]held
	waiting int
	leaving int
	next    int64 // when to look again
}

type held struct {
	frame  nic.Frame
	state  heldState
	dst    Addr // whose next hop it waits for
	since  int64
	undo   undo
	kind   Kind // as which it leaves
	asked  int64
	memory []byte
}

type heldState uint8

const (
	heldFree heldState = iota
	heldWaits
	heldLeaves // on its way out; free after the round
)

func (q *holdQueue) init() {
	mem := make([]byte, holdSlots*holdLen)
	for i := range q.slot {
		q.slot[i].memory = mem[i*holdLen : (i+1)*holdLen]
	}
}

// put copies the rewritten frame aside. from is the connection whose client sent
// it, or nil. It returns where it waits, or nil when there is no room.
func (q *holdQueue) put(j *job, now int64, from *conntrack.Conn) *held {
	if q.waiting == holdSlots || len(j.f.Buf) > holdLen {
		return nil
	}
	for i := range q.slot {
		h := &q.slot[i]
		if h.state != heldFree {
			continue
		}
		*h = held{
			frame: nic.Frame{
				Buf: h.memory[:copy(h.memory, j.f.Buf)], WireLen: len(j.eth), VLAN: j.f.VLAN, VLANProto: j.f.VLANProto,
			},
			state: heldWaits, dst: j.next, since: now, asked: now, memory: h.memory, kind: Forward,
		}
		if from != nil {
			h.undo = undo{answer: true, addr: from.Virtual, port: from.VirtualPort}
			if from.Method() == conntrack.Full {
				h.undo.client, h.undo.clientPort = from.Client, from.ClientPort
			}
		}
		h.undo.inside = j.wrapped
		if q.waiting == 0 {
			q.next = now + holdLook
		}
		q.waiting++
		return h
	}
	return nil
}

// reclaim frees the slots whose frames have left.
func (q *holdQueue) reclaim() {
	for i := 0; q.leaving > 0; i++ {
		if q.slot[i].state == heldLeaves {
			q.slot[i].state = heldFree
			q.leaving--
		}
	}
}

// retryHeld sends held frames whose next hop is known now and ends those that
// waited too long.
func (w *Worker) retryHeld() {
	w.held.next = w.now + holdLook
	for i := range w.held.slot {
		h := &w.held.slot[i]
		if h.state != heldWaits {
			continue
		}
		hop := w.hop(&h.dst)
		age := w.now - h.since
		switch {
		case hop.State == nic.HopResolved:
			eth := wire.Ethernet(h.frame.Eth())
			eth.SetAddrs(&hop.DstMAC, &hop.SrcMAC)
			w.leave(h, hop)
		case age >= holdTime, hop.State == nic.HopFailed && age >= holdFailed, hop.State == nic.HopNoRoute:
			w.release(h, heldFree, w.unreachable(h))
		case w.now-h.asked >= holdFailed:
			h.asked = w.now
			w.ask(hop)
		}
	}
}

// leave sends a held frame, in pieces if it is too long for its link.
func (w *Worker) leave(h *held, hop *nic.Hop) {
	j := job{f: &h.frame, ip: wire.IP(h.frame.Eth()[wire.EthernetLen:])}
	w.mapTag(&h.frame, hop)
	switch {
	case j.ip.TotalLen() <= hop.MTU || !j.divisible() && !(h.undo.inside > 0 && j.ip.V6()):
		w.out = append(w.out, Out{Frame: &h.frame, Port: hop.Index, From: -1, Kind: h.kind})
		w.release(h, heldLeaves, Verdict{Kind: h.kind})
	case w.sendPieces(&h.frame, hop, -1):
		w.release(h, heldFree, forwarded)
	default:
		w.release(h, heldFree, drop(TooBig))
	}
}

// Close ends the worker: the frames that it still holds are lost, and counted.
// The worker is not used any more, but for Ledger.
func (w *Worker) Close() {
	for i := range w.held.slot {
		if h := &w.held.slot[i]; h.state == heldWaits {
			w.release(h, heldFree, drop(Abandoned))
		}
	}
	w.retireFragments(true)
	w.Commit()
}

func (w *Worker) release(h *held, to heldState, v Verdict) {
	h.state = to
	if to == heldLeaves {
		w.held.leaving++
	}
	w.held.waiting--
	w.recount(v)
}

// recount counts a frame, until now held, as what it became.
func (w *Worker) recount(v Verdict) {
	w.ledger.Held--
	w.ledger.Received--
	w.count(v)
}

// unreachable tells the client that its real server does not answer: host
// unreachable from the VIP, as IPVS translates the kernel's own error.
func (w *Worker) unreachable(h *held) Verdict {
	if !h.undo.answer {
		return drop(NeighbourFailed)
	}
	ip := wire.IP(h.frame.Eth()[wire.EthernetLen+h.undo.inside:])
	client := ip.Src()
	full := h.undo.client != (Addr{})
	if full {
		client = h.undo.client
	}
	if !w.mayAnswer(client) {
		return drop(ICMPLimited)
	}
	w.frame = &h.frame
	f, room := w.answers.next()
	vip := h.undo.addr
	n := w.writeError(room, &vip, hostUnreachable, 0, ip[:ip.TotalLen()])
	if n > 0 {
		answer := wire.IP(room[:n])
		if full {
			wire.RewriteErrorBoth(answer, answer[answer.HeaderLen():], &vip, &client, &client, h.undo.clientPort, &vip, h.undo.port)
			return w.answerOrHold(f, n, client, -1)
		}
		wire.RewriteErrorOut(answer, answer[answer.HeaderLen():], &vip, h.undo.port)
	}
	return w.answerOrHold(f, n, client, -1)
}

// answerOrHold is [Worker.answer] for an answer that is the only one, to somebody
// else than the frame's sender: if need be it waits for a link-layer address. By
// direct routing and in tunnels the director sends clients nothing but such.
func (w *Worker) answerOrHold(f *nic.Frame, n int, to Addr, from int) Verdict {
	hop := w.hop(&to)
	if n == 0 || hop.State != nic.HopUnresolved && hop.State != nic.HopFailed {
		return w.answer(f, n, to, nil, from)
	}
	f.Buf, f.VLANProto = f.Buf[:nic.VNetHdrLen+wire.EthernetLen+n], 0
	w.answers.used-- // it waits as a copy
	j := job{f: f, eth: f.Eth(), next: to}
	j.eth.SetType(wire.IP(j.eth.Payload()).EtherType())
	w.ask(hop)
	h := w.held.put(&j, w.now, nil)
	if h == nil {
		return drop(HoldFull)
	}
	h.kind = Reply
	return holding
}

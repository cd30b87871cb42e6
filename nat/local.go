package nat

import (
	"sync/atomic"

	"vsnat/conntrack"
	"vsnat/nat/forward"
	"vsnat/nat/wire"
	"vsnat/nic"
)

// Real servers on the director itself: the route to them is local. Their packets
// are given to the host's own stack by a port of its own, the host's port, as they
// came or, to a masquerading server, rewritten; and what the server answers is
// received there (section LOCAL_OUT of ip_vs_core.c). Between the host and the
// engine there is no hop, and no link whose MTU counts.

// hostPort is the ifindex of the port to the host's own stack; 0 is none.
type hostPort struct{ index atomic.Int32 }

// SetHostPort tells the engine by which port the host's own stack is reached, and
// that a worker for frames received there has been made, or will be. Without one,
// 0, packets for servers on the director are dropped.
func (e *Engine) SetHostPort(index int) { e.host.index.Store(int32(index)) }

// LocalServers returns where the answers of real servers come from whose address is
// one of the host's own: those that the host must send by its port.
func (e *Engine) LocalServers() (list []Endpoint) {
	snap, routes := e.snap.Load(), e.routes.Load()
	seen := make(map[Endpoint]struct{})
	add := func(ep Endpoint) {
		if _, ok := seen[ep]; !ok && routes.Local(ep.Addr) { // a mark's may be others
			seen[ep] = struct{}{}
			list = append(list, ep)
		}
	}
	for _, d := range snap.dests {
		if d == nil || !routes.Local(d.key.Addr) || !d.available.Load() && d.Total.Load() == 0 {
			continue // a deleted one counts while it has connections
		}
		spec := d.service.Load().spec.Load()
		from := sources(snap.rules, snap.helpers, spec, d.key)
		if conntrack.Method(d.method.Load()) != conntrack.Masq {
			// They answer as the service.
			from = destinations(snap.rules, snap.helpers, spec)
		}
		for _, ep := range from {
			add(ep)
		}
	}
	return list
}

// fromHost reports whether the frame was received from the host's own stack.
func (w *Worker) fromHost() bool { return w.host != 0 && w.index == w.host }

// takeHop takes one hop off the packet, unless the host has just sent it.
func (w *Worker) takeHop(j *job) {
	if !w.fromHost() {
		j.ip.DecTTL()
	}
}

// toHost gives the packet to server c.Dest on the director itself
// (ip_vs_nat_xmit and ip_vs_dr_xmit with a local route).
func (w *Worker) toHost(j *job, c *conntrack.Conn) Verdict {
	j.next = c.Dest
	switch {
	case w.host == 0, c.Method() == conntrack.Full:
		return drop(ServerIsLocal)
	case c.Method() != conntrack.Masq:
		if !w.routes.Local(w.pkt.Dst) {
			return drop(ServerIsLocal) // it would not be the host's
		}
	case !foreign(&c.Dest):
		return drop(Martian) // 127/8 and ::1 are no addresses for packets from a link
	case w.cannotRewrite(c.Proto, c.VirtualPort, c.DestPort):
		return drop(Fragment)
	default:
		if v, ok := w.extended(j, c, &nic.Hop{State: nic.HopLocal, MTU: maxPacket}, false); !ok {
			return v
		}
		if !forward.MasqIn(j.ip, j.l4, c.Proto, j.partial(), c) {
			return drop(Truncated)
		}
	}
	return w.handOver(j)
}

// errorToHost gives an ICMP error about what c's server on the director itself has
// sent to the host.
func (w *Worker) errorToHost(j *job, c *conntrack.Conn) Verdict {
	if w.host == 0 || c.Method() == conntrack.Full {
		return drop(ServerIsLocal)
	}
	if c.Method() == conntrack.Masq {
		if !wire.RewriteErrorIn(j.ip, j.l4, &c.Dest, c.DestPort) {
			return drop(Truncated)
		}
		j.f.VNet().Clear() // the checksum is complete now
	}
	return w.handOver(j)
}

// handOver lets the frame leave by the host's port.
func (w *Worker) handOver(j *job) Verdict {
	j.f.VLANProto = 0
	w.out = append(w.out, Out{Frame: j.f, Port: w.host, From: j.i, Kind: Forward})
	return forwarded
}

// fromHostOn sends a packet of the host's own that is no reply to be rewritten, or of no
// connection, where the host's routes say: it has come here because it might have
// been one.
func (w *Worker) fromHostOn(j *job) Verdict {
	p := w.pkt
	if !unicast(&p.Dst) || linkLocal(&p.Dst) {
		return drop(NoAnswer)
	}
	hop := w.hop(&p.Dst)
	switch hop.State {
	case nic.HopNoRoute:
		return drop(NoRouteOut)
	case nic.HopLocal:
		return w.handOver(j)
	}
	if j.length() > hop.MTU {
		switch {
		case j.ip.DontFragment():
			return w.answerFromHost(j, packetTooBig, hop.MTU)
		case !j.divisible():
			return drop(TooBig)
		}
		j.long = true
	}
	j.next = p.Dst
	return w.send(j, hop, nil)
}

// judgeHost decides about a frame from the host's own stack. What elsewhere is the
// host's goes where the host has sent it.
func (w *Worker) judgeHost(j *job) Verdict {
	v := passed
	if j.later || j.flow {
		v = w.judgeAny(j)
	}
	if v == passed {
		v = w.fromHostOn(j)
	}
	return v
}

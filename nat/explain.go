package nat

import (
	"fmt"
	"net/netip"
	"strings"

	"vsnat/nat/wire"
	"vsnat/nic"
)

// Question is a packet that [Engine.Explain] is asked about. The zero value of a
// field but Src and Dst stands for what it says.
type Question struct {
	Proto    uint8 // TCP
	Src, Dst netip.AddrPort
	// TCPFlags are the segment's flags: SYN.
	TCPFlags uint8
	// NIC is the ifindex of the NIC that receives it: the one that leads to its
	// source.
	NIC int
	// Mark is the packet's firewall mark, in place of the one that the rules give it.
	Mark *uint32
	// Down are servers to take for down. A port 0 stands for every port.
	Down []ServerKey
}

// Explain tells what would become of a packet that came now, and of the server's
// answer. Nothing is sent and nothing changes: a copy of all that the packet
// concerns judges it, by the same code. What only a worker knows is left aside: the
// frames it holds, and the limits on ICMP errors. An error says what is wrong with
// the question. now is on the engine's clock.
func (e *Engine) Explain(q Question, now int64) (*Decision, error) {
	if err := q.complete(e.routes.Load()); err != nil {
		return nil, err
	}
	f := q.frame()
	var p wire.Packet
	if r := p.Parse(f.Eth()); r != wire.Parsed {
		return nil, fmt.Errorf("nat: a packet of protocol %d cannot be made up", q.Proto)
	}
	mark := e.snap.Load().mark(&p, q.NIC)
	if q.Mark != nil {
		mark = *q.Mark
	}
	x, err := e.excerpt(&p, mark)
	if err != nil {
		return nil, err
	}
	if q.Mark != nil {
		x.mark(*q.Mark)
	}
	if err := x.down(q.Down, now); err != nil {
		return nil, err
	}
	x.worker = x.to.NewWorker(q.NIC)
	d := x.judge(q.NIC, f, now)
	if d.Service == nil && d.Found == nil && d.Connection == nil {
		d.Cause, d.Near = NoService, e.near(&p)
	}
	if len(d.Out) == 1 && d.Out[0].Kind == Forward && d.From == ClientSide && d.Connection != nil {
		if answer, ok := answerTo(d); ok {
			d.Reply = x.judge(d.Out[0].Port, answer, now)
		}
	}
	return d, nil
}

// complete checks the question and fills in what it leaves open.
func (q *Question) complete(routes nic.Routes) error {
	if q.Proto == 0 {
		q.Proto = ProtoTCP
	}
	if q.TCPFlags == 0 {
		q.TCPFlags = wire.SYN
	}
	src, dst := q.Src.Addr(), q.Dst.Addr()
	switch {
	case !src.IsValid() || !dst.IsValid():
		return fmt.Errorf("nat: a packet has a source and a destination")
	case src.Is4() != dst.Is4():
		return fmt.Errorf("nat: %s and %s are of different address families", src, dst)
	}
	if q.NIC == 0 {
		q.NIC = routes.Lookup(src.As16()).Index
	}
	return nil
}

// mark has every packet marked so.
func (x *excerpt) mark(mark uint32) {
	snap := *x.to.snap.Load()
	snap.rules = []MarkRule{{Mark: mark}}
	x.to.snap.Store(&snap)
}

// down marks the servers down, in every service that the packet concerns.
func (x *excerpt) down(servers []ServerKey, now int64) error {
	for _, key := range servers {
		found := false
		var have []string
		tx := &Tx{e: x.to, routes: x.to.routes.Load()}
		for _, s := range x.to.services {
			for _, d := range s.dests {
				have = append(have, AddrPort(d.key.Addr, d.key.Port).String())
				if d.key.Addr != key.Addr || key.Port != 0 && d.key.Port != key.Port {
					continue
				}
				found = true
				if err := tx.MarkServer(s.key, d.key, true); err != nil {
					return err
				}
			}
		}
		if !found && len(have) == 0 {
			return fmt.Errorf("nat: no service with servers has to do with this packet: none can be down")
		}
		if !found {
			return fmt.Errorf("nat: no service that has to do with this packet has the server %s: there is %s",
				strings.TrimSuffix(AddrPort(key.Addr, key.Port).String(), ":0"), strings.Join(have, ", "))
		}
	}
	return nil
}

// judge has the frame judged that the NIC receives.
func (x *excerpt) judge(index int, f nic.Frame, now int64) *Decision {
	w := x.worker
	w.index = index
	w.explains, w.explained = true, nil
	batch := nic.Batch{N: 1}
	batch.Frames[0] = f
	w.Process(&batch, now)
	d := w.explained
	if d == nil { // it was not even read
		d = &Decision{At: now, NIC: index, Before: headersOf(batch.Frames[0].Eth()), Verdict: w.Verdict(0)}
	}
	w.Commit()
	return d
}

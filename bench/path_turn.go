package bench

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"time"

	"vsnat/bench/peer"
)

// spec returns the part that makes a load for a peer.
func (p *path) spec(name string, l *PathLoad) (*PartSpec, error) {
	s := &PartSpec{Kind: l.kind, Connections: l.conns, CPUs: ends(p.res.CPUs, l.near)}
	first, from, to, server, host := clients, clientNIC, directorNIC, pathVIP, directorHost
	switch name {
	case ceiling:
		server = pathServers[0]
	case cableName:
		first, from, to, server, host = cableClients, cableNIC, serverCable, cableServer, serverHost
	}
	s.Target = netip.AddrPortFrom(server, l.port)
	// Each turn has clients that nobody has seen: what an earlier turn has left
	// at the servers or in a table does not meet them.
	b := first.Addr().As4()
	n := p.turn % sourceRoom * sourceStep
	b[1] += byte(n >> 16)
	b[2] += byte(n >> 8)
	s.Source = netip.AddrFrom4(b).Next()
	if l.kind != PartUDP {
		return s, nil
	}
	src, err := p.lab.Host(clientHost).NIC(from)
	if err != nil {
		return nil, err
	}
	dst, err := p.lab.Host(host).NIC(to)
	if err != nil {
		return nil, err
	}
	s.Flows, s.Rate, s.Frame = l.flows, l.pace, frameBytes
	s.NIC, s.SrcMAC, s.DstMAC = src.Index, src.MAC, dst.MAC
	return s, nil
}

// instant is everything that is read at the beginning and at the end.
type instant struct {
	part    Sample
	arrived Sample
	clock   int64 // of what follows
	ticks   Ticks
	cpu     [4]int64 // in the order of [Cost]
	self    int64
}

// look reads it.
func (p *path) look(load *process, pid int) (i instant, err error) {
	if i.part, err = load.mark(); err != nil {
		return i, err
	}
	if i.arrived, err = p.sink.count(); err != nil {
		return i, err
	}
	i.clock = monotonic()
	if i.ticks, err = ticks(); err != nil {
		return i, err
	}
	for n, pids := range [][]int{{load.cmd.Process.Pid}, {p.server.cmd.Process.Pid}, {pid}, p.kernel} {
		for _, pid := range pids {
			if pid == 0 {
				continue // the kernel itself
			}
			t, err := cpuTime(pid)
			if err != nil {
				return i, err
			}
			i.cpu[n] += t
		}
	}
	i.self, err = cpuTime(os.Getpid())
	return i, err
}

// measure does the load once.
func (p *path) measure(ctx context.Context, t *Turn, pid int, l PathLoad) error {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Warm+p.cfg.Window+turnSpare+flowSpare)
	defer cancel()
	spec, err := p.spec(t.Peer, &l)
	if err != nil {
		return err
	}
	if err := pin(p.server.cmd.Process.Pid, ends(p.res.CPUs, l.near)); err != nil {
		return err
	}
	load, err := startPart(ctx, p.cfg.Program, p.lab.Host(clientHost), spec)
	if err != nil {
		return err
	}
	defer load.kill()
	if err := p.warmUp(ctx, load, &l); err != nil {
		return err
	}
	since, err := p.latency(ctx, pid, &l)
	if err != nil {
		return err
	}
	begin, err := p.look(load, pid)
	if err != nil {
		return err
	}
	if err := sleep(ctx, p.cfg.Window); err != nil {
		return err
	}
	end, err := p.look(load, pid)
	if err != nil {
		return err
	}
	until, err := p.latency(ctx, pid, &l)
	if err != nil {
		return err
	}
	if until != nil {
		t.Latency = until.since(since)
	}
	if t.Result, err = load.finish(); err != nil {
		return err
	}
	if err := t.fill(&l, &begin, &end); err != nil {
		return err
	}
	// What is still on its way must not count for the next turn.
	return sleep(ctx, settle)
}

// latency returns vsnat's report of how long packets took, where it forwards and
// is not flooded.
func (p *path) latency(ctx context.Context, pid int, l *PathLoad) (*DirectorLatency, error) {
	if pid == 0 || l.pace == 0 {
		return nil, nil
	}
	r := new(DirectorLatency)
	return r, peer.Ask(ctx, p.lab.Socket(), "latency", r)
}

// warmUp lets the load run until it may count: for a while, and until every
// flow has been there twice.
func (p *path) warmUp(ctx context.Context, load *process, l *PathLoad) error {
	if err := sleep(ctx, p.cfg.Warm); err != nil || l.kind != PartUDP {
		return err
	}
	for deadline := time.Now().Add(flowSpare); time.Now().Before(deadline); {
		s, err := load.mark()
		if err != nil || s.Count >= 2*uint64(l.flows) {
			return err
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// fill works out a turn's figures.
func (t *Turn) fill(l *PathLoad, begin, end *instant) error {
	t.Begin, t.End = begin.part, end.part
	t.Seconds = float64(end.part.Time-begin.part.Time) / 1e9
	sent := float64(end.part.Count - begin.part.Count)
	t.Units = sent / t.Seconds
	t.Rate = t.Units / l.scale
	switch l.kind {
	case PartUDP:
		t.Arrived = [2]Sample{begin.arrived, end.arrived}
		arrived := float64(end.arrived.Count - begin.arrived.Count)
		rate := arrived / (float64(end.arrived.Time-begin.arrived.Time) / 1e9)
		if sent > 0 {
			// The two were not counted in the same instant.
			t.Loss = max(0, 1-rate/t.Units)
		}
		t.Units, t.Rate = rate, rate/l.scale
	case PartBulk:
		bytes := float64(end.part.Bytes - begin.part.Bytes)
		t.Units, t.Rate = bytes/1000/t.Seconds, 8*bytes/t.Seconds/l.scale
	case PartRR:
		t.Rate = float64(t.Result.P50) / l.scale
	}
	seconds := float64(end.clock-begin.clock) / 1e9
	cost := func(i int) float64 { return float64(end.cpu[i]-begin.cpu[i]) / seconds / t.Units }
	if t.Units <= 0 {
		return fmt.Errorf("nothing arrived in %.2f s; sent %.0f", t.Seconds, sent)
	}
	t.Cost = Cost{Client: cost(0), Server: cost(1), Director: cost(2), SoftIRQ: cost(3)}
	t.Ticks = end.ticks.minus(begin.ticks)
	own := end.self - begin.self
	for i := range end.cpu {
		own += end.cpu[i] - begin.cpu[i]
	}
	t.Others = max(0, t.Ticks.busy()-float64(own)/1e9)
	return nil
}

// sleep waits, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

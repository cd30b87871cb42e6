package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"time"

	"vsnat/nat"
	"vsnat/nat/wire"
)

// ScaleConfig says what [Scale] measures.
type ScaleConfig struct {
	Connections []int // numbers of connections, to one service of 100 servers
	Services    []int // numbers of services, each of 10 servers
	Servers     []int // numbers of servers, of one service
	Base        int   // connections where something else grows
	Rounds      int   // times that everything is measured
	Packets     int   // of one measurement
	New         int   // connections of one measurement of new ones
	// Step, if not nil, is told what is being done and how far it is.
	Step func(what string, done, of int)
}

// MaxScaleRounds bounds the rounds: with each some seconds go by on the engine's clock,
// after which its new connections have ended, and the others must not end.
const MaxScaleRounds = 50

// scaleServers is how many servers each of many services has.
const scaleServers = 10

// ScalePoint is what packets and connections cost at one size, in nanoseconds of
// CPU time of one worker.
type ScalePoint struct {
	N      int    `json:"n"`             // connections, services or servers
	Packet Series `json:"packet_ns"`     // of a connection that is there
	New    Series `json:"connection_ns"` // its first packet, scheduled with rr
	// Least is New with wlc, which looks at every server; only where those grow.
	Least Series `json:"connection_wlc_ns,omitempty"`
	// Bytes is the table's memory for each connection.
	Bytes float64 `json:"bytes_per_connection"`
}

// ScaleResult is everything that [Scale] measured, and what comes of it by
// computation.
type ScaleResult struct {
	Machine     Machine      `json:"machine"`
	Rounds      int          `json:"rounds"`
	Base        int          `json:"base_connections"`
	Connections []ScalePoint `json:"connections"`
	Services    []ScalePoint `json:"services"`
	Servers     []ScalePoint `json:"servers"`
	// Director is what a small packet cost the director in all, sockets and kernel
	// included, in nanoseconds; 0 if that was not measured.
	Director float64  `json:"director_ns_per_packet,omitempty"`
	Missing  []string `json:"missing,omitempty"`
	Needs    []Need   `json:"needs,omitempty"`
}

// Scale measures how the cost of packets and connections grows, in memory.
func Scale(ctx context.Context, cfg ScaleConfig) (*ScaleResult, error) {
	r := &ScaleResult{Machine: machine(), Rounds: cfg.Rounds, Base: cfg.Base}
	err := r.Machine.during(
		func() error { return r.connections(ctx, &cfg) },
		func() error { return r.services(ctx, &cfg) },
		func() error { return r.servers(ctx, &cfg) },
	)
	return r, err
}

func (cfg *ScaleConfig) step(what string, done, of int) {
	if cfg.Step != nil {
		cfg.Step(what, done, of)
	}
}

func (r *ScaleResult) connections(ctx context.Context, cfg *ScaleConfig) error {
	for i, n := range cfg.Connections {
		cfg.step("more and more connections", i, len(cfg.Connections))
		if free := available(); free != 0 && n*connMemory > free {
			r.Missing = append(r.Missing, tooLarge(n, free))
			continue
		}
		p, err := cfg.measure(ctx, n, bedShape{services: 1, servers: bedServerCount, scheduler: "rr"})
		if err != nil {
			return err
		}
		p.N = n
		r.Connections = append(r.Connections, p)
	}
	return nil
}

func (r *ScaleResult) services(ctx context.Context, cfg *ScaleConfig) error {
	for i, n := range cfg.Services {
		cfg.step("more and more services", i, len(cfg.Services))
		p, err := cfg.measure(ctx, cfg.Base, bedShape{services: n, servers: scaleServers, scheduler: "rr"})
		if err != nil {
			return err
		}
		p.N = n
		r.Services = append(r.Services, p)
	}
	return nil
}

func (r *ScaleResult) servers(ctx context.Context, cfg *ScaleConfig) error {
	for i, n := range cfg.Servers {
		cfg.step("more and more servers", i, len(cfg.Servers))
		p, err := cfg.measure(ctx, cfg.Base, bedShape{services: 1, servers: n, scheduler: "rr"})
		if err != nil {
			return err
		}
		least, err := cfg.measure(ctx, cfg.Base, bedShape{services: 1, servers: n, scheduler: "wlc"})
		if err != nil {
			return err
		}
		p.N, p.Least = n, least.New
		r.Servers = append(r.Servers, p)
	}
	return nil
}

// measure measures one engine with so many connections.
func (cfg *ScaleConfig) measure(ctx context.Context, conns int, shape bedShape) (p ScalePoint, err error) {
	const batch = 32
	// Few beside those that are there, or their number would not be what it is said
	// to be; but enough for the clock.
	fresh := max(min(cfg.New, conns/4), 1024) / batch * batch
	shape.max = conns + fresh + 1
	b, err := newBedOf(shape)
	if err != nil {
		return p, err
	}
	if err := b.fill(conns); err != nil {
		return p, err
	}
	p.Bytes = float64(b.engine.Table().Bytes()) / float64(conns)
	w := b.engine.NewWorker(bedClients)
	for round := range cfg.Rounds + 1 {
		if ctx.Err() != nil {
			return p, context.Cause(ctx)
		}
		packet, err := b.established(w, b.hand(batch, wire.ACK, 0, conns), cfg.Packets)
		if err != nil {
			return p, err
		}
		grown, err := b.grow(w, conns, fresh, batch)
		if err != nil {
			return p, err
		}
		if round > 0 { // the first time touches memory anew
			p.Packet, p.New = append(p.Packet, packet.net()), append(p.New, grown.net())
		}
	}
	runtime.KeepAlive(b)
	return p, nil
}

// grow times the first packets of so many connections besides those that are
// there, and ends them again.
func (b *bed) grow(w *nat.Worker, conns, fresh, batch int) (t timed, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	t.packets = fresh
	h := b.hand(batch, wire.SYN, conns, fresh)
	start := threadTime()
	for i := 0; i < fresh; i += batch {
		h.next(i)
		w.Process(&h.batch, b.now)
		w.Commit()
		b.now += batchTime
	}
	t.total = threadTime() - start
	start = threadTime()
	for i := 0; i < fresh; i += batch {
		h.next(i)
	}
	t.dealing = threadTime() - start
	if got := b.engine.Table().Len(); got != conns+fresh {
		return t, fmt.Errorf("bench: %d of %d connections came to be: %+v", got-conns, fresh, w.Ledger())
	}
	// A reset counts once the handshake is over.
	for _, flags := range []uint8{wire.ACK, wire.RST} {
		h := b.hand(batch, flags, conns, fresh)
		for i := 0; i < fresh; i += batch {
			h.next(i)
			w.Process(&h.batch, b.now)
			w.Commit()
		}
	}
	// CLOSE lasts 10 s.
	for b.now += 11 * time.Second.Nanoseconds(); b.engine.Expire(b.now, fresh) > 0; {
	}
	if got := b.engine.Table().Len(); got != conns {
		return t, fmt.Errorf("bench: %d connections are left, not %d", got, conns)
	}
	return t, nil
}

// DirectorCost reads what a small packet cost the director, sockets and kernel
// included, from what `vsnat bench path --out` wrote, in nanoseconds.
func DirectorCost(file string) (float64, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, fmt.Errorf("bench: %w", err)
	}
	var r PathResult
	if err := json.Unmarshal(b, &r); err != nil {
		return 0, fmt.Errorf("bench: %s: %w", file, err)
	}
	if !r.has(ours, "udp-1k") {
		return 0, fmt.Errorf("bench: %s: it has no turn of vsnat with load udp-1k", file)
	}
	return r.director(ours, "udp-1k").Median(), nil
}

package bench

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"vsnat/nat/wire"
)

// EngineConfig says what [Engine] measures.
type EngineConfig struct {
	Sizes   []int         // numbers of connections
	Rounds  int           // times that everything is measured
	Packets int           // of one measurement
	New     int           // connections of one measurement of new ones
	Pair    int           // connections that two workers have
	Window  time.Duration // of a measurement with two workers
	// Step, if not nil, is told what is being done and how far it is.
	Step func(what string, done, of int)
}

// engineBatches are the batch sizes that are measured; the first is the one
// that targets are for.
var engineBatches = []int{32, 64}

// connMemory is what a connection may take while its table grows, in
// bytes: a guess on the safe side, to see whether there is room.
const connMemory = 400

// EngineCost is what established connections' packets cost.
type EngineCost struct {
	Connections int     `json:"connections"`
	Batch       int     `json:"batch"`
	Net         Series  `json:"ns"`       // of CPU time, a packet: parse, look up, rewrite
	Gross       Series  `json:"gross_ns"` // with making the packet
	Allocs      float64 `json:"allocations_per_packet"`
	GCs         int     `json:"gc_cycles"` // while it was measured
}

// EngineMemory is what connections take.
type EngineMemory struct {
	Connections int     `json:"connections"`
	Table       float64 `json:"table_bytes_per_connection"`
	Resident    float64 `json:"resident_bytes_per_connection"` // growth of the process
	Process     int     `json:"resident_bytes"`                // all of it
	Fill        float64 `json:"fill_seconds"`                  // from an empty table, memory taken anew
}

// Scaling is packets a second of two workers over those of one: by time, and by
// the CPU time that the two were given.
type Scaling struct {
	Wall Series `json:"by_time"`
	CPU  Series `json:"by_cpu_time"`
}

// EngineResult is everything that [Engine] measured.
type EngineResult struct {
	Machine Machine        `json:"machine"`
	Rounds  int            `json:"rounds"`
	Pair    int            `json:"two_workers_connections"`
	Cost    []EngineCost   `json:"cost"`
	Memory  []EngineMemory `json:"memory"`
	// New are new connections a second of CPU time on one worker, rr over 100 servers; the
	// first is with memory taken anew.
	New       Series  `json:"new_connections_per_second"`
	NewAllocs float64 `json:"new_connection_allocations"`
	// Apart is what the machine gives: two workers that have nothing in common.
	Apart    Scaling  `json:"two_engines"`
	Disjoint Scaling  `json:"two_workers_disjoint"`
	Shared   Scaling  `json:"two_workers_shared"`
	Missing  []string `json:"missing,omitempty"`
	Targets  []Target `json:"targets"`
}

// Engine measures the engine in memory, without a NIC: frames are made, judged
// and rewritten, and go nowhere.
func Engine(ctx context.Context, cfg EngineConfig) (*EngineResult, error) {
	r := &EngineResult{Machine: machine(), Rounds: cfg.Rounds, Pair: cfg.Pair}
	cpus, err := allowedCPUs()
	if err != nil {
		return nil, err
	}
	err = r.Machine.during(
		func() error { return r.costs(ctx, &cfg) },
		func() error { return r.connects(ctx, &cfg) },
		func() error { return r.pairs(ctx, &cfg) },
	)
	if err != nil {
		return nil, err
	}
	r.targets(len(cpus))
	return r, nil
}

func (cfg *EngineConfig) step(what string, done, of int) {
	if cfg.Step != nil {
		cfg.Step(what, done, of)
	}
}

// costs measures packets of established connections, and memory.
func (r *EngineResult) costs(ctx context.Context, cfg *EngineConfig) error {
	for i, conns := range cfg.Sizes {
		cfg.step("packets of connections that are there", i, len(cfg.Sizes))
		if free := available(); free != 0 && conns*connMemory > free {
			r.Missing = append(r.Missing, tooLarge(conns, free))
			continue
		}
		if err := r.cost(ctx, cfg, conns); err != nil {
			return err
		}
	}
	return nil
}

// tooLarge says why so many connections are not measured.
func tooLarge(conns, free int) string {
	return fmt.Sprintf("%s connections: %.1f GB are free, %.1f may be needed", count(conns), float64(free)/1e9, float64(conns)*connMemory/1e9)
}

// cost measures one number of connections.
func (r *EngineResult) cost(ctx context.Context, cfg *EngineConfig, conns int) error {
	empty, err := resident()
	if err != nil {
		return err
	}
	b, err := newBed(conns + 1)
	if err != nil {
		return err
	}
	start := time.Now()
	if err := b.fill(conns); err != nil {
		return err
	}
	fill := time.Since(start).Seconds()
	full, err := resident()
	if err != nil {
		return err
	}
	n := float64(conns)
	// Which server each connection has is the bench's own, a byte each.
	r.Memory = append(r.Memory, EngineMemory{
		Connections: conns, Table: float64(b.engine.Table().Bytes()) / n, Resident: max(0, float64(full-empty-conns)/n), Process: full, Fill: fill,
	})
	costs := make([]EngineCost, len(engineBatches))
	w := b.engine.NewWorker(bedClients)
	for round := range cfg.Rounds + 1 {
		for i, batch := range engineBatches {
			if err := ctx.Err(); err != nil {
				return context.Cause(ctx)
			}
			h := newHand(batch, wire.ACK, 0, conns, nil)
			t, err := b.established(w, h, cfg.Packets)
			if err != nil {
				return err
			}
			if round == 0 {
				continue // the first time touches memory anew
			}
			c := &costs[i]
			c.Connections, c.Batch = conns, batch
			c.Net, c.Gross = append(c.Net, t.net()), append(c.Gross, t.gross())
			c.Allocs = max(c.Allocs, float64(t.mallocs)/float64(t.packets))
			c.GCs += int(t.gcs)
		}
	}
	r.Cost = append(r.Cost, costs...)
	runtime.KeepAlive(b)
	return nil
}

// connects measures new connections.
func (r *EngineResult) connects(ctx context.Context, cfg *EngineConfig) error {
	b, err := newBed(cfg.New)
	if err != nil {
		return err
	}
	w := b.engine.NewWorker(bedClients)
	h := newHand(engineBatches[0], wire.SYN, 0, cfg.New, nil)
	for round := range cfg.Rounds {
		cfg.step("new connections", round, cfg.Rounds)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		t, err := b.connect(w, h, cfg.New)
		if err != nil {
			return err
		}
		r.New = append(r.New, 1e9/t.net())
		r.NewAllocs = float64(t.mallocs) / float64(t.packets) // of the last round
	}
	return nil
}

// pairs measures two workers against one.
func (r *EngineResult) pairs(ctx context.Context, cfg *EngineConfig) error {
	cpus, err := allowedCPUs()
	if err != nil {
		return err
	}
	if len(cpus) < 2 || runtime.GOMAXPROCS(0) < 2 {
		r.Missing = append(r.Missing, "two workers: there is one CPU")
		return nil
	}
	b, err := filled(cfg.Pair)
	if err != nil {
		return err
	}
	other, err := filled(cfg.Pair / 2)
	if err != nil {
		return err
	}
	pairs := []struct {
		what  string
		sides [2]*side
		into  *Scaling
	}{
		{"two workers, each with an engine of its own", b.apart(other, cpus), &r.Apart},
		{"two workers, each with flows of its own", b.disjoint(cpus), &r.Disjoint},
		{"two workers, one a direction", b.shared(cpus), &r.Shared},
	}
	// Kinds take turns in short windows: what CPUs give when both work changes with what
	// else the host does.
	const turns = 4
	for round := range turns * cfg.Rounds {
		for _, p := range pairs {
			cfg.step(p.what, round/turns, cfg.Rounds)
			var alone, both pace
			for _, sides := range [][]*side{p.sides[:1], p.sides[:], p.sides[1:]} {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				is, err := b.together(cfg.Window/turns, sides...)
				if err != nil {
					return err
				}
				if len(sides) == 2 {
					both = is
				} else {
					alone.wall += is.wall / 2
					alone.cpu += is.cpu / 2
				}
			}
			p.into.Wall = append(p.into.Wall, both.wall/alone.wall)
			p.into.CPU = append(p.into.CPU, both.cpu/alone.cpu)
		}
	}
	return nil
}

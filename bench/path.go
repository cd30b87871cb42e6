package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"vsnat/bench/lab"
	"vsnat/bench/peer"
)

// PathConfig says what [Path] measures.
type PathConfig struct {
	Program string        // vsnat itself
	Rounds  int           // times that every peer does every load
	Warm    time.Duration // of every load, before it counts
	Window  time.Duration // that counts
	Loads   []string      // names, see [PathLoads]
	Args    []string      // more arguments for `vsnat run`
	Check   bool          // compare the generators with iperf3, ab and wrk
	// Segments has client and server send TCP segments one by one.
	Segments bool
	// Step, if not nil, is told what is being done and how far it is.
	Step func(what string, done, of int)
}

// Names of those who take part besides the peers of [vsnat/bench/peer].
const (
	cableName    = "cable"                // no director at all
	besideName   = "vsnat, one CPU"       // held to the CPU of the endpoints
	ceiling      = "forwarding"           // what bulk and round trips are compared with
	kernelNAT    = "nftables"             // what small packets are compared with
	ours         = "vsnat"                // on the other CPUs where the endpoints have one
	frameBytes   = MinFrame               // of UDP loads
	turnOverhead = 200 * time.Millisecond // of a turn's start and end, about
	turnSpare    = 3 * partPatience       // what a turn may take beyond its plan
	flowSpare    = 12 * time.Second       // for all flows of a load to be sent once or twice
	sourceStep   = 1 << 14                // client addresses of one turn
	sourceRoom   = 1<<22/sourceStep - 1   // turns until they come again
)

// PathResult is everything that [Path] measured.
type PathResult struct {
	Machine Machine `json:"machine"`
	Rounds  int     `json:"rounds"`
	Window  float64 `json:"window_s"`
	Warm    float64 `json:"warm_s"`
	CPUs    []int   `json:"cpus"` // that the endpoints and the director were held to
	// Congestion is the congestion control of client and server (tcp_congestion_control).
	Congestion map[string]string `json:"congestion_control"`
	Args       []string          `json:"director_args,omitempty"`
	Segments   bool              `json:"segments,omitempty"` // client and server sent TCP segments one by one
	Rules      string            `json:"rules"`              // what vsnat and IPVS were set up with
	Loads      []PathLoad        `json:"loads"`
	Peers      []string          `json:"peers"`
	Missing    []string          `json:"missing,omitempty"`
	Notes      []string          `json:"notes,omitempty"`
	Turns      []Turn            `json:"turns"`
	Drops      [][]any           `json:"drops,omitempty"` // vsnat's own ledger, one for each time it ran
	Checks     []Check           `json:"checks,omitempty"`
	Targets    []Target          `json:"targets"`
}

// path is a measurement under way.
type path struct {
	cfg    *PathConfig
	lab    *lab.Lab
	sink   *sink
	server *process
	res    *PathResult
	loads  []PathLoad
	kernel []int // ksoftirqd
	turn   int
	turns  int
}

// Path measures vsnat beside its peers, in namespaces it makes: the kernel's
// forwarding, nftables, and the kernel's IPVS where there is one. Peers take
// turns, in another order each round, so that whatever disturbs the machine
// disturbs all of them.
func Path(ctx context.Context, cfg PathConfig) (_ *PathResult, err error) {
	p := &path{cfg: &cfg, kernel: softirqThreads()}
	for _, l := range PathLoads() {
		if len(cfg.Loads) == 0 || slices.Contains(cfg.Loads, l.Name) {
			p.loads = append(p.loads, l)
		}
	}
	p.res = &PathResult{
		Machine: machine(), Rounds: cfg.Rounds, Window: cfg.Window.Seconds(), Warm: cfg.Warm.Seconds(),
		Args: cfg.Args, Segments: cfg.Segments, Rules: peer.Rules(services()), Loads: p.loads,
	}
	if p.res.CPUs, err = allowedCPUs(); err != nil {
		return nil, err
	}
	cfg.step("raising the cluster", 0, 0)
	if p.lab, err = lab.Start(ctx, lab.Options{Topology: pathTopology()}); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.lab.Close()) }()
	if cfg.Segments {
		if err := p.sendSegments(); err != nil {
			return nil, err
		}
	}
	if err := ownClients(p.lab.Host(clientHost)); err != nil {
		return nil, err
	}
	if p.sink, err = newSink(p.lab.Host(serverHost)); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.sink.close()) }()
	if p.server, err = startPart(ctx, cfg.Program, p.lab.Host(serverHost), &PartSpec{Kind: PartServe}); err != nil {
		return nil, err
	}
	defer p.server.kill()
	undo, note := p.makeRoom()
	defer func() { err = errors.Join(err, undo()) }()
	p.note(note)

	all, err := p.contestants(ctx)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(p.offloads(), p.congestion()); err != nil {
		return nil, err
	}
	if err := p.rounds(ctx, all); err != nil {
		return nil, err
	}
	if cfg.Check {
		if err := p.check(ctx); err != nil {
			return nil, err
		}
	}
	p.res.targets()
	return p.res, nil
}

func (cfg *PathConfig) step(what string, done, of int) {
	if cfg.Step != nil {
		cfg.Step(what, done, of)
	}
}

func (p *path) note(s string) {
	if s != "" {
		p.res.Notes = append(p.res.Notes, s)
	}
}

// makeRoom lets the kernel's connection tracking hold the flows of all loads.
func (p *path) makeRoom() (undo func() error, note string) {
	return raiseConntrack(p.room())
}

// room is how many connections a peer must hold: the flows of the load that has
// most, and as many again, as those of the loads before have not ended yet.
func (p *path) room() int {
	most := 0
	for _, l := range p.loads {
		most = max(most, l.flows)
	}
	return 2 * most
}

// directorArgs are those of vsnat, which is to have the room that the kernel's
// tracking is given. What the user wants comes later, and so counts.
func (p *path) directorArgs() []string {
	const least = 1 << 20 // vsnat's default
	return append([]string{"--max-conns", strconv.Itoa(max(p.room(), least))}, p.cfg.Args...)
}

func (p *path) director() peer.Director { return peer.Director{Lab: p.lab, Host: directorHost} }

// contestants returns who can take part here.
func (p *path) contestants(ctx context.Context) (all []peer.Peer, err error) {
	for _, c := range []peer.Peer{
		cable{}, peer.Forward{}, peer.NFTables{}, peer.IPVS{}, peer.Vsnat{Program: p.cfg.Program, Args: p.directorArgs()},
	} {
		if why := c.Missing(ctx, p.director()); why != "" {
			p.res.Missing = append(p.res.Missing, c.Name()+" takes no part: "+why)
			continue
		}
		all = append(all, c)
		p.res.Peers = append(p.res.Peers, c.Name())
		if c.Name() == ours {
			p.res.Peers = append(p.res.Peers, besideName)
		}
	}
	return all, ctx.Err()
}

// cable is no director: the client's own link to the server.
type cable struct{ peer.Forward }

func (cable) Name() string { return cableName }

// offloads records those of the NICs that are used.
func (p *path) offloads() error {
	p.res.Machine.Offloads = map[string]string{}
	for host, nics := range map[string][]string{
		clientHost: {clientNIC}, directorHost: {directorNIC, "director-1"}, serverHost: {serverNIC},
	} {
		for _, nic := range nics {
			err := p.lab.Host(host).Do(func() (err error) {
				p.res.Machine.Offloads[nic], err = lab.Offloads(nic)
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// sendSegments has client and server send without segmentation offload.
func (p *path) sendSegments() error {
	for _, n := range []lab.End{{Host: clientHost, NIC: clientNIC}, {Host: clientHost, NIC: cableNIC}, {Host: serverHost, NIC: serverNIC}, {Host: serverHost, NIC: serverCable}} {
		if err := p.lab.Host(n.Host).Do(func() error { return lab.SendSegments(n.NIC) }); err != nil {
			return err
		}
	}
	return nil
}

// congestion records the congestion control of the endpoints.
func (p *path) congestion() error {
	p.res.Congestion = map[string]string{}
	for _, host := range []string{clientHost, serverHost} {
		err := p.lab.Host(host).Do(func() error {
			b, err := os.ReadFile("/proc/sys/net/ipv4/tcp_congestion_control")
			p.res.Congestion[host] = strings.TrimSpace(string(b))
			return err
		})
		if err != nil {
			return fmt.Errorf("bench: %w", err)
		}
	}
	return nil
}

// rounds has everybody do everything, again and again.
func (p *path) rounds(ctx context.Context, all []peer.Peer) error {
	var plan time.Duration
	for _, l := range p.loads {
		turns := p.cfg.Rounds * len(all)
		if l.kind == PartRR {
			turns += p.cfg.Rounds
		}
		p.turns += turns
		plan += time.Duration(turns) * (p.cfg.Warm + p.cfg.Window + turnOverhead)
		if l.flows > 1<<16 {
			plan += time.Duration(turns) * flowSpare
		}
	}
	// Should turn after turn fail slowly, it ends all the same.
	ctx, cancel := context.WithTimeoutCause(ctx, 3*plan+time.Minute, fmt.Errorf("bench: not done after three times the %v it was to take", plan.Round(time.Second)))
	defer cancel()
	for round := range p.cfg.Rounds {
		g, err := gaps(p.res.CPUs)
		if err != nil {
			return err
		}
		p.res.Machine.Gaps = append(p.res.Machine.Gaps, g...)
		for i := range all {
			if err := p.session(ctx, round, all[(i+round)%len(all)]); err != nil {
				if why := context.Cause(ctx); why != nil {
					return why
				}
				return err
			}
		}
	}
	return nil
}

// session has one peer do all loads.
func (p *path) session(ctx context.Context, round int, c peer.Peer) error {
	for _, s := range p.shifts(c.Name()) {
		if err := p.shift(ctx, round, c, s); err != nil {
			return err
		}
	}
	return nil
}

// shift is loads that one run of a peer does.
type shift struct {
	name  string // in the tables
	loads []PathLoad
	cpus  []int // for the director
}

// shifts returns those of a peer. The kernel's peers have one. A director that is a
// process is started for each set of CPUs that it is held to, as it looks how many
// there are.
func (p *path) shifts(name string) (all []shift) {
	if name != ours {
		return []shift{{name: name, loads: p.loads, cpus: p.res.CPUs}}
	}
	near := shift{name: name, cpus: others(p.res.CPUs, true)}
	beside := shift{name: besideName, cpus: p.res.CPUs[:1]}
	far := shift{name: name, cpus: p.res.CPUs}
	for _, l := range p.loads {
		if l.near {
			near.loads = append(near.loads, l)
		} else {
			far.loads = append(far.loads, l)
		}
		if l.kind == PartRR {
			beside.loads = append(beside.loads, l)
		}
	}
	return slices.DeleteFunc([]shift{near, beside, far}, func(s shift) bool { return len(s.loads) == 0 })
}

// shift starts a peer and has it do loads.
func (p *path) shift(ctx context.Context, round int, c peer.Peer, s shift) (err error) {
	// A process inherits from the thread that starts it.
	if err := pin(0, s.cpus); err != nil {
		return err
	}
	r, err := c.Start(ctx, p.director(), services())
	if err := errors.Join(err, pin(0, p.res.CPUs)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Stop()) }()
	for _, l := range s.loads {
		if err := p.take(ctx, round, s.name, r.PID, l); err != nil {
			return err
		}
	}
	if c.Name() != ours {
		return nil
	}
	var drops struct {
		NICs []any `json:"nics"`
	}
	err = peer.Ask(ctx, p.lab.Socket(), "drops", &drops)
	p.res.Drops = append(p.res.Drops, drops.NICs)
	return err
}

// others returns the CPUs for the director: all, or those that near endpoints
// leave.
func others(cpus []int, near bool) []int {
	if near && len(cpus) > 1 {
		return cpus[1:]
	}
	return cpus
}

// ends returns the CPUs for client and server: all, or one.
func ends(cpus []int, near bool) []int {
	if near {
		return cpus[:1]
	}
	return cpus
}

// take is one turn. That a load fails is noted with the turn and ends nothing.
func (p *path) take(ctx context.Context, round int, name string, pid int, l PathLoad) error {
	p.cfg.step(fmt.Sprintf("round %d of %d: %s", round+1, p.cfg.Rounds, name), p.turn, p.turns)
	t := Turn{Round: round, Peer: name, Load: l.Name}
	err := p.measure(ctx, &t, pid, l)
	p.turn++
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		t.Error = err.Error()
	}
	p.res.Turns = append(p.res.Turns, t)
	m := &p.res.Machine
	m.Ticks = m.Ticks.plus(t.Ticks)
	m.Others += t.Others
	return nil
}

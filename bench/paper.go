package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"vsnat/bench/lab"
	"vsnat/bench/peer"
)

// PaperRate is what each real server is held to: ten times the paper's one.
const PaperRate = 10 * 71.24

// PaperConfig says how the paper's experiment is done.
type PaperConfig struct {
	Program     string  // vsnat itself
	Sizes       []int   // requests to one server, each a run
	Requests    int     // requests to the cluster
	Concurrency int     // clients at a time
	Rate        float64 // requests/s each server is held to; 0 is no limit
	Scheduler   string
	// Step, if not nil, is told what is being done and how far it is. done
	// falls to 0 when something new begins.
	Step func(what string, done, of int)
}

// PaperResult is what it came to.
type PaperResult struct {
	Rate    float64           `json:"server_rate"`
	Direct  []*LoadResult     `json:"direct"`  // one server, one for each of Sizes
	Cluster *LoadResult       `json:"cluster"` // through the director
	Shares  []Share           `json:"shares"`
	Latency DirectorLatency   `json:"latency"`
	Drops   []DirectorDrops   `json:"drops"`
	Setup   []string          `json:"setup"` // the commands that set the director up
	Kernel  string            `json:"kernel"`
	CPUs    int               `json:"cpus"`
	Reasons map[string]string `json:"drop_reasons"`
}

// Share is how many requests of the cluster one server took.
type Share struct {
	Server string `json:"server"`
	Served uint64 `json:"served"`
	// Lost is why that is not known: the server has ended.
	Lost string `json:"lost,omitempty"`
}

// DirectorDrops is one NIC's part of the report at /v1/drops.
type DirectorDrops struct {
	Name      string            `json:"name"`
	Received  uint64            `json:"received"`
	Forwarded uint64            `json:"forwarded"`
	Replied   uint64            `json:"replied"`
	Passed    uint64            `json:"passed"`
	Held      uint64            `json:"held"`
	Dropped   map[string]uint64 `json:"dropped"`
	RingFull  uint64            `json:"ring_full"`
	Balanced  bool              `json:"balanced"`
}

const (
	directorHost = "director"
	clientHost   = "client"
	vip          = "192.168.28.167:80"
)

// Failed returns how many requests failed in all runs.
func (r *PaperResult) Failed() int {
	n := r.Cluster.Failed
	for _, d := range r.Direct {
		n += d.Failed
	}
	return n
}

// Lost returns why servers did not live to the end, one error for each.
func (r *PaperResult) Lost() (all []error) {
	for _, s := range r.Shares {
		if s.Lost != "" {
			all = append(all, errors.New(s.Lost))
		}
	}
	return all
}

// Paper does the paper's experiment: the requests to one real server, through
// the director's kernel as a plain router; then to the VIP, through vsnat.
func Paper(ctx context.Context, cfg PaperConfig) (_ *PaperResult, err error) {
	topology, err := lab.Paper(lab.PaperOptions{Forward: true})
	if err != nil {
		return nil, err
	}
	cfg.step("raising the cluster", 0, 0)
	l, err := lab.Start(ctx, lab.Options{Topology: topology, Page: &lab.PageOptions{Rate: cfg.Rate}})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()

	res := &PaperResult{Rate: cfg.Rate, CPUs: cpus(), Kernel: kernel()}
	servers := topology.Names(lab.Server)
	first := net.JoinHostPort(topology.Addr(servers[0]).String(), "80")
	for _, n := range cfg.Sizes {
		r, err := cfg.load(ctx, l, "one real server", first, "10000 37999", n)
		if err != nil {
			return nil, err
		}
		res.Direct = append(res.Direct, r)
	}

	cfg.step("starting the director", 0, 0)
	director, err := peer.Vsnat{Program: cfg.Program}.Start(ctx, peer.Director{Lab: l, Host: directorHost}, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, director.Stop()) }()
	if err := cfg.setUp(ctx, l, topology, res); err != nil {
		return nil, err
	}
	before := served(ctx, l, servers)
	if res.Cluster, err = cfg.load(ctx, l, "the cluster", vip, "38000 65500", cfg.Requests); err != nil {
		return nil, err
	}
	res.Shares = served(ctx, l, servers)
	for i := range res.Shares {
		if s := &res.Shares[i]; s.Lost == "" {
			s.Served -= before[i].Served
		}
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx) // it was that, and no server
	}
	if err := peer.Ask(ctx, l.Socket(), "latency", &res.Latency); err != nil {
		return nil, err
	}
	var drops struct {
		NICs    []DirectorDrops   `json:"nics"`
		Reasons map[string]string `json:"reasons"`
	}
	if err := peer.Ask(ctx, l.Socket(), "drops", &drops); err != nil {
		return nil, err
	}
	res.Drops, res.Reasons = drops.NICs, drops.Reasons
	return res, nil
}

func (cfg *PaperConfig) step(what string, done, of int) {
	if cfg.Step != nil {
		cfg.Step(what, done, of)
	}
}

// setUp gives the director the paper's own commands.
func (cfg *PaperConfig) setUp(ctx context.Context, l *lab.Lab, t lab.Topology, res *PaperResult) error {
	commands := [][]string{{"-A", "-t", vip, "-s", cfg.Scheduler}}
	for _, name := range t.Names(lab.Server) {
		rip := net.JoinHostPort(t.Addr(name).String(), "80")
		commands = append(commands, []string{"-a", "-t", vip, "-r", rip, "-m", "-w", "1"})
	}
	for _, c := range commands {
		res.Setup = append(res.Setup, "ipvsadm "+strings.Join(c, " "))
		cmd := l.Host(directorHost).Command(ctx, cfg.Program, append([]string{"ipvsadm"}, c...)...)
		cmd.Env = append(os.Environ(), l.Env(directorHost)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("bench: ipvsadm %s: %w: %s", strings.Join(c, " "), err, out)
		}
	}
	return nil
}

// served returns what each server has served so far. One that has ended takes
// nothing from what was measured of the others.
func served(ctx context.Context, l *lab.Lab, servers []string) []Share {
	all := make([]Share, len(servers))
	for i, name := range servers {
		all[i].Server = l.Topology().Addr(name).String()
		stats, err := l.PageStats(ctx, name)
		if err != nil {
			all[i].Lost = err.Error()
			for _, p := range l.Processes {
				if p.Host == name && p.State() != "running" {
					all[i].Lost = fmt.Sprintf("lab: the page server of %s has ended (%s)", name, p.State())
				}
			}
		}
		all[i].Served = stats.Served
	}
	return all
}

// setPorts chooses the client's ports. Each run has a range of its own: the
// real server asked directly keeps its connections in TIME_WAIT, and if one came
// again from the same port by way of the VIP, with timestamps of another
// destination, it would be refused at first and be scheduled twice.
func setPorts(l *lab.Lab, ports string) error {
	err := l.Host(clientHost).Do(func() error {
		return os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte(ports), 0o644)
	})
	if err != nil {
		return fmt.Errorf("bench: client's port range: %w", err)
	}
	return nil
}

// load runs the load as a process of the client host, so that it shares
// neither memory nor garbage collector with anything that is measured.
func (cfg *PaperConfig) load(ctx context.Context, l *lab.Lab, what, address, ports string, requests int) (*LoadResult, error) {
	cfg.step(what, 0, requests)
	if err := setPorts(l, ports); err != nil {
		return nil, err
	}
	cmd := l.Host(clientHost).Command(ctx, cfg.Program, "bench", "load",
		"--requests", strconv.Itoa(requests), "--concurrency", strconv.Itoa(cfg.Concurrency),
		"--length", strconv.Itoa(lab.PageSize), address)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("bench: start the load: %w", err)
	}
	res, readErr := cfg.follow(out, what, requests)
	if err := cmd.Wait(); err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx) // it was killed for that
		}
		return nil, fmt.Errorf("bench: load on %s: %w: %s", address, err, stderr.String())
	}
	return res, readErr
}

// follow reads what [Load.Report] writes.
func (cfg *PaperConfig) follow(r io.Reader, what string, requests int) (*LoadResult, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if n, err := strconv.Atoi(lines.Text()); err == nil {
			cfg.step(what, n, requests)
			continue
		}
		res := new(LoadResult)
		if err := json.Unmarshal(lines.Bytes(), res); err != nil {
			return nil, fmt.Errorf("bench: the load's result: %w", err)
		}
		return res, nil
	}
	return nil, errors.New("bench: the load ended without a result")
}

// Report runs the load and writes to w, line by line, how many requests are
// done, and at last the result as JSON.
func (l *Load) Report(ctx context.Context, w io.Writer) error {
	done := make(chan *LoadResult, 1)
	go func() { done <- l.Run(ctx) }()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case res := <-done:
			return json.NewEncoder(w).Encode(res)
		case <-tick.C:
			if _, err := fmt.Fprintln(w, l.Progress.Load()); err != nil {
				return err
			}
		}
	}
}

package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// Check is one of our generators beside a program that others trust, over the
// kernel's forwarding.
type Check struct {
	Tool    string `json:"tool"`
	Load    string `json:"load"`
	Unit    string `json:"unit"`
	Ours    Series `json:"ours"`
	Theirs  Series `json:"theirs"`
	Missing string `json:"missing,omitempty"` // why there is nothing
}

// tool is a program to compare a load's generator with.
type tool struct {
	name, pkg, load string
	serve           []string // what it needs on the server, if it needs anything
	argv            func(seconds, server string) []string
	rate            func(out []byte) (float64, error) // in units/s
}

func tools() []tool {
	iperf3 := func(load, streams string) tool {
		return tool{
			name: "iperf3", pkg: "iperf3", load: load, serve: []string{"iperf3", "-s", "-p", "5201"},
			argv: func(seconds, server string) []string {
				return []string{"iperf3", "-c", server, "-p", "5201", "-t", seconds, "-P", streams, "-J"}
			},
			rate: iperf3Rate,
		}
	}
	return []tool{
		iperf3("tcp-1", "1"),
		iperf3("tcp-16", "16"),
		{
			name: "ab", pkg: "apache2-utils", load: "http",
			argv: func(seconds, server string) []string {
				return []string{"ab", "-q", "-t", seconds, "-n", "10000000", "-c", "16", "http://" + server + "/"}
			},
			rate: matchRate(regexp.MustCompile(`Requests per second:\s+([0-9.]+)`)),
		},
		{
			name: "wrk", pkg: "wrk", load: "http",
			argv: func(seconds, server string) []string {
				return []string{"wrk", "-t", "1", "-c", "16", "-d", seconds + "s", "-H", "Connection: close", "http://" + server + "/"}
			},
			rate: matchRate(regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)),
		},
	}
}

func iperf3Rate(out []byte) (float64, error) {
	var r struct {
		Error string `json:"error"`
		End   struct {
			Received struct {
				Bits float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	if err := json.Unmarshal(out, &r); err != nil {
		return 0, err
	}
	if r.Error != "" {
		return 0, fmt.Errorf("it says: %s", r.Error)
	}
	return r.End.Received.Bits, nil
}

func matchRate(re *regexp.Regexp) func([]byte) (float64, error) {
	return func(out []byte) (float64, error) {
		m := re.FindSubmatch(out)
		if m == nil {
			return 0, fmt.Errorf("no rate in what it says: %.200q", out)
		}
		return strconv.ParseFloat(string(m[1]), 64)
	}
}

// checkRounds is how often a tool and our generator take turns.
const checkRounds = 3

// check compares our generators with the tools that are there.
func (p *path) check(ctx context.Context) error {
	for _, t := range tools() {
		c := Check{Tool: t.name, Load: t.load}
		if _, err := exec.LookPath(t.name); err != nil {
			c.Missing = "not installed (package " + t.pkg + ")"
			p.res.Checks = append(p.res.Checks, c)
			continue
		}
		if err := p.checkWith(ctx, &t, &c); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			c.Missing = err.Error()
		}
		p.res.Checks = append(p.res.Checks, c)
	}
	return nil
}

// checkWith compares with one tool.
func (p *path) checkWith(ctx context.Context, t *tool, c *Check) error {
	if t.serve != nil {
		s := p.lab.Host(serverHost).Command(ctx, t.serve[0], t.serve[1:]...)
		if err := s.Start(); err != nil {
			return fmt.Errorf("bench: %s: %w", t.name, err)
		}
		defer func() {
			_ = s.Process.Kill() // fails only if it has ended
			_ = s.Wait()         // tells that it was killed
		}()
	}
	all := PathLoads()
	l := &all[slices.IndexFunc(all, func(l PathLoad) bool { return l.Name == t.load })]
	c.Unit = l.Unit
	for i := range checkRounds {
		p.cfg.step("checking our generators with "+t.name, i, checkRounds)
		if err := p.compare(ctx, t, l, c); err != nil {
			return err
		}
	}
	return nil
}

// compare measures by our generator and by a tool.
func (p *path) compare(ctx context.Context, t *tool, l *PathLoad, c *Check) error {
	turn := Turn{Peer: ceiling, Load: l.Name}
	p.turn++ // clients of its own
	if err := p.measure(ctx, &turn, 0, *l); err != nil {
		return err
	}
	window := max(1, math.Round(p.cfg.Window.Seconds()))
	ctx, cancel := context.WithTimeout(ctx, time.Duration(window)*time.Second+2*partPatience)
	defer cancel()
	argv := t.argv(strconv.Itoa(int(window)), pathServers[0].String())
	out, err := p.runTool(ctx, argv)
	// What it needs on the server may not listen yet. Asking by connecting would
	// confuse it.
	for try := 0; err != nil && t.serve != nil && try < checkTries && sleep(ctx, 10*settle) == nil; try++ {
		out, err = p.runTool(ctx, argv)
	}
	if err != nil {
		return fmt.Errorf("bench: %s: %w", t.name, err)
	}
	rate, err := t.rate(out)
	if err != nil {
		return fmt.Errorf("bench: %s: %w", t.name, err)
	}
	c.Ours = append(c.Ours, turn.Rate)
	c.Theirs = append(c.Theirs, rate/l.scale)
	return nil
}

// checkTries is how often a tool is started once more.
const checkTries = 10

// runTool runs a tool on the client and returns what it says.
func (p *path) runTool(ctx context.Context, argv []string) ([]byte, error) {
	cmd := p.lab.Host(clientHost).Command(ctx, argv[0], argv[1:]...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%w: %s%.200s", err, stderr.String(), out)
	}
	return out, nil
}

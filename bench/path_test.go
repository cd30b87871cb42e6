package bench

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
)

// pathResult is three rounds of figures, vsnat's n-th rate being half of
// forwarding's, and its third round having failed.
func pathResult() *PathResult {
	r := &PathResult{Rounds: 3, CPUs: []int{0, 1}, Loads: PathLoads(), Peers: []string{cableName, ceiling, kernelNAT, ours, besideName}}
	for round := range 3 {
		for _, l := range r.Loads {
			for i, name := range r.Peers {
				t := Turn{Round: round, Peer: name, Load: l.Name, Rate: 100 + float64(round), Cost: Cost{Client: 1000 * float64(i+1), SoftIRQ: 5}}
				if name == ours {
					t.Rate /= 2
					t.Loss = 0.5
					t.Cost.Director = 200
					if round == 2 {
						t = Turn{Round: round, Peer: name, Load: l.Name, Error: "it was refused"}
					}
				}
				r.Turns = append(r.Turns, t)
			}
		}
	}
	r.targets()
	return r
}

func TestPathReport(t *testing.T) {
	r := pathResult()
	var b strings.Builder
	r.WriteReport(&b)
	text := b.String()
	for _, want := range []string{
		"failed in round 3: it was refused",
		"50.2 (50.0..50.5)", // vsnat's rates
		"0.50 (0.50..0.50)", // of forwarding
		"1000 (1000..1000) ns",
		"vsnat against forwarding: fewer than 3 rounds",
		"TARGET tcp-1: bit/s, of forwarding",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	for line := range strings.Lines(text) {
		if len([]rune(line)) > 140 {
			t.Errorf("a line of %d columns: %s", len([]rune(line)), line)
		}
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
}

// TestDirectorCost checks the arithmetic: what was spent on packets that were
// lost is the director's but for the cable's share of it.
func TestDirectorCost(t *testing.T) {
	r := pathResult()
	if got := r.director(kernelNAT, "udp-1k").Median(); got != 2000 {
		t.Errorf("nftables: %v ns", got)
	}
	s := r.director(ours, "udp-1k")
	if want := 4205 - 2*1005.0; s[0] != want || s[1] != want || !math.IsNaN(s[2]) {
		t.Errorf("vsnat: %v, want %v", s, want)
	}
}

func TestTurnWithoutArrivalsFails(t *testing.T) {
	for _, l := range PathLoads() {
		var turn Turn
		begin := instant{part: Sample{Time: 1e9}, arrived: Sample{Time: 1e9}, clock: 1e9}
		end := instant{part: Sample{Time: 2e9}, arrived: Sample{Time: 2e9}, clock: 2e9}
		if err := turn.fill(&l, &begin, &end); err == nil {
			t.Errorf("%s: taken for a measurement", l.Name)
		}
	}
}

func TestTurnFigures(t *testing.T) {
	loads := map[string]PathLoad{}
	for _, l := range PathLoads() {
		loads[l.Name] = l
	}
	begin := instant{clock: 0, cpu: [4]int64{1, 2, 3, 4}}
	end := instant{
		part: Sample{Time: 2e9, Count: 4000, Bytes: 500e6}, arrived: Sample{Time: 1e9, Count: 1000},
		clock: 2e9, cpu: [4]int64{1 + 2e9, 2 + 1e9, 3, 4},
	}
	for name, want := range map[string]Turn{
		"udp-1k": {Rate: 1, Units: 1000, Loss: 0.5, Cost: Cost{Client: 1e6, Server: 5e5}},
		"tcp-1":  {Rate: 2, Units: 250e3, Cost: Cost{Client: 4000, Server: 2000}},
		"rr":     {Rate: 7, Units: 2000, Cost: Cost{Client: 5e5, Server: 25e4}},
		"http":   {Rate: 2000, Units: 2000, Cost: Cost{Client: 5e5, Server: 25e4}},
	} {
		got := Turn{Result: PartResult{P50: 7000}}
		l := loads[name]
		if err := got.fill(&l, &begin, &end); err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(got.Rate, got.Units, got.Loss, got.Cost) != fmt.Sprint(want.Rate, want.Units, want.Loss, want.Cost) {
			t.Errorf("%s: %v %v %v %v, want %v %v %v %v", name, got.Rate, got.Units, got.Loss, got.Cost, want.Rate, want.Units, want.Loss, want.Cost)
		}
	}
}

func TestToolsRates(t *testing.T) {
	said := map[string]string{
		"iperf3": `{"end":{"sum_received":{"bits_per_second":1.5}}}`,
		"ab":     "Requests per second:    1.50 [#/sec] (mean)\n",
		"wrk":    "Requests/sec:      1.50\n",
	}
	for _, tool := range tools() {
		if got, err := tool.rate([]byte(said[tool.name])); err != nil || got != 1.5 {
			t.Errorf("%s: %v, %v", tool.name, got, err)
		}
		if _, err := tool.rate([]byte("no such thing")); err == nil {
			t.Errorf("%s: a rate in nothing", tool.name)
		}
	}
	if _, err := iperf3Rate([]byte(`{"error":"unable to connect"}`)); err == nil || !strings.Contains(err.Error(), "unable to connect") {
		t.Errorf("iperf3's refusal: %v", err)
	}
}

func TestCPUTime(t *testing.T) {
	before, err := cpuTime(0)
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		monotonic()
	}
	after, err := cpuTime(0)
	if err != nil || after <= before {
		t.Errorf("%d, then %d: %v", before, after, err)
	}
	if now, err := ticks(); err != nil || now.all() <= 0 {
		t.Errorf("%+v, %v", now, err)
	}
}

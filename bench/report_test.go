package bench

import (
	"flag"
	"os"
	"strings"
	"testing"
	"unicode/utf8"
)

var update = flag.Bool("update", false, "write the golden text anew")

func sample() *PaperResult {
	direct := &LoadResult{Complete: 10000, Seconds: 14.04, Bytes: 43_000_000, Concurrency: 16, Errors: map[string]int{}}
	cluster := &LoadResult{
		Complete: 9998, Failed: 2, Seconds: 3.6, Bytes: 42_990_000, Concurrency: 16,
		Errors: map[string]int{"dial: connection refused": 2},
	}
	for p := range 101 {
		direct.Percentiles[p] = int64(p) * 300_000
		cluster.Percentiles[p] = int64(p) * 80_000
	}
	return &PaperResult{
		Rate: PaperRate, Direct: []*LoadResult{direct}, Cluster: cluster, Kernel: "6.18.0", CPUs: 2,
		Setup:  []string{"ipvsadm -A -t 192.168.28.167:80 -s rr"},
		Shares: []Share{{Server: "10.0.100.11", Served: 2500}, {Server: "10.0.100.12", Served: 2500}, {Server: "10.0.100.13", Served: 2499}, {Server: "10.0.100.15", Served: 2499}},
		Latency: DirectorLatency{
			Budget:  100_000,
			Verdict: Latency{Count: 100000, Mean: 1234, P50: 980, P90: 3_000, P99: 9_900, P999: 45_000, Max: 200_000, Over: 0.0001},
			Pickup:  Latency{Count: 100000, Mean: 12345, P50: 9_800, P90: 30_000, P99: 99_000, P999: 450_000, Max: 2_000_000, Over: 0.0098},
			Receive: Latency{
				Count: 100000, Mean: 22345, P50: 19_800, P90: 60_000, P99: 199_000, P999: 950_000, Max: 12_000_000, Over: 0.031,
				Buckets: []LatencyBucket{{4000, 10}, {19_900, 60000}, {60_000, 36890}, {199_000, 3000}, {12_000_000, 100}},
			},
		},
		Drops: []DirectorDrops{
			{Name: "director-0", Received: 60000, Forwarded: 59990, Passed: 9, Dropped: map[string]uint64{"table-full": 1}, Balanced: true},
		},
		Reasons: map[string]string{"table-full": "no room for one more connection"},
	}
}

func TestReport(t *testing.T) {
	var b strings.Builder
	sample().WriteReport(&b)
	const golden = "testdata/report.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("the report differs from %s (run with -update to accept):\n%s", golden, b.String())
	}
	checkWidth(t, b.String())
}

// checkWidth holds a report to what fits on a terminal.
func checkWidth(t *testing.T, report string) {
	t.Helper()
	for line := range strings.Lines(report) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}

func TestReportTables(t *testing.T) {
	large := &LoadResult{Complete: TableII.Requests, Seconds: 140, Errors: map[string]int{}}
	for _, c := range []struct {
		name   string
		direct []*LoadResult
		rate   float64
		want   []string // in this order
	}{
		{"one run", sample().Direct, PaperRate, []string{"Table I:", "712.25", "Table II:", "not measured", "Table III:", "2777.22"}},
		{"one run of the larger size", []*LoadResult{large}, PaperRate, []string{"Table I:", "not measured", "Table II:", "714.29", "Table III:"}},
		{"full", append(sample().Direct, large), PaperRate, []string{"Table I:", "712.25", "Table II:", "714.29", "Table III:"}},
		{"no limit", sample().Direct, 0, []string{"not held to any rate", "Figure 3", "its\n  own limit here"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := sample()
			r.Direct, r.Rate = c.direct, c.rate
			var b strings.Builder
			r.WriteReport(&b)
			checkWidth(t, b.String())
			rest := b.String()
			for _, want := range c.want {
				_, after, found := strings.Cut(rest, want)
				if !found {
					t.Fatalf("no %q, or not in its place:\n%s", want, b.String())
				}
				rest = after
			}
		})
	}
}

// A server that ended leaves the report whole, and is named in it.
func TestReportWithoutAServer(t *testing.T) {
	r := sample()
	r.Direct[0].Complete, r.Direct[0].Failed = 0, 10000
	r.Shares[2] = Share{Server: "10.0.100.13", Lost: "lab: the page server of server3 has ended (signal: killed)"}
	var b strings.Builder
	r.WriteReport(&b)
	checkWidth(t, b.String())
	for _, want := range []string{"10.0.100.13      not known:\n    the page server of server3 has ended (signal: killed)", "33.34 %", "What became of every frame", "10002 requests were not answered"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "Inf") || len(r.Lost()) != 1 {
		t.Errorf("lost %v, in\n%s", r.Lost(), b.String())
	}
}

func TestCapacityOfThePaper(t *testing.T) {
	bandwidth, servers := Capacity(PaperPacketTime)
	if bandwidth != 15e6 || servers != 50 {
		t.Errorf("%v bytes/s, %d servers; want 15 MB/s and 50", bandwidth, servers)
	}
	// The paper's own 14.3 MB/s gives its 48 servers, less a rest.
	if n := PaperBandwidth / PaperServerRate; int(n+0.5) != PaperServers {
		t.Errorf("%v servers, the paper has %d", n, PaperServers)
	}
}

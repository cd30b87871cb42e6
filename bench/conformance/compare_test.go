package conformance

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"vsnat/nat"
)

// recordEngine has an engine do the run, a millisecond a step, as if it were
// the kernel.
func recordEngine(t *testing.T, r *Run, seed uint64, twist func(i int, s *Step)) []Seen {
	t.Helper()
	d, err := newEngine(seed)
	if err != nil {
		t.Fatal(err)
	}
	o := newPlayer(d)
	var all []Seen
	at := time.Duration(0)
	for i := range r.Steps {
		s := r.Steps[i]
		if twist != nil {
			twist(i, &s)
		}
		at += time.Millisecond + time.Duration(s.Seconds)*time.Second
		seen, err := o.Do(&s, at)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, seen)
	}
	return all
}

func compareWithEngine(t *testing.T, r *Run, kernel []Seen) *Difference {
	t.Helper()
	o, err := NewEngine()
	if err != nil {
		t.Fatal(err)
	}
	d, err := Compare(r, kernel, o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestEngineIsLikeItself(t *testing.T) {
	for _, name := range Schedulers() {
		r := Generate(Config{Scheduler: name, Seed: 3, Steps: 1000})
		// With another seed a random scheduler draws other picks.
		if d := compareWithEngine(t, &r, recordEngine(t, &r, 2, nil)); d != nil {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

// TestPlantedDifference plants one wrong thing in a recording: it must be found
// where it is, and named.
func TestPlantedDifference(t *testing.T) {
	r := Generate(Config{Scheduler: "wlc", Seed: 3, Steps: 600})
	find := func(seen []Seen, what func(*Seen) bool) int {
		for i := len(seen) / 3; i < len(seen); i++ {
			if what(&seen[i]) {
				return i
			}
		}
		t.Fatal("the run has no such step")
		return 0
	}
	forwarded := func(s *Seen) bool { return s.Real.IsValid() }
	listed := func(s *Seen) bool { return len(s.Servers) > 1 }
	looked := func(s *Seen) bool { return s.All != nil && len(s.All.Conns) > 0 && len(s.All.Services) > 0 }
	tests := []struct {
		name  string
		where func(*Seen) bool
		plant func(*Seen)
		want  string
	}{
		{"another pick", forwarded, func(s *Seen) { s.Out[0] = strings.Replace(s.Out[0], "to 10.2.0.", "to 10.2.0.9", 1) }, "packets: kernel"},
		{"a packet more", forwarded, func(s *Seen) { s.Out = append(s.Out, s.Out[0]) }, "packets: kernel"},
		{"no packet", forwarded, func(s *Seen) { s.Out = nil }, "packets: kernel nothing, vsnat to the servers"},
		{"refusal", func(s *Seen) bool { return s.Refused == "" && len(s.Out) == 0 }, func(s *Seen) { s.Refused = "EEXIST" }, "refused with: kernel EEXIST, vsnat nothing"},
		{"active", listed, func(s *Seen) { s.Servers[1].Active++ }, "server 2: kernel"},
		{"list order", listed, func(s *Seen) { s.Servers[0], s.Servers[1] = s.Servers[1], s.Servers[0] }, "server 1: kernel"},
		{"a server less", listed, func(s *Seen) { s.Servers = s.Servers[1:] }, "vsnat 10.2.0."},
		{"a connection less", looked, func(s *Seen) { s.All.Conns = s.All.Conns[1:] }, "connection only in vsnat"},
		{"state", looked, func(s *Seen) { s.All.Conns[0].State = "LISTEN" }, "connection only in the kernel"},
		{"timer", looked, func(s *Seen) { s.All.Conns[0].Expires += expirySlack + 1 }, "connection only in the kernel"},
		{"service", looked, func(s *Seen) { s.All.Services[0].Key += " -p 1" }, "services: kernel"},
		{"counter", func(s *Seen) bool { return looked(s) && s.All.Services[0].Counters != (nat.Counters{}) }, func(s *Seen) { s.All.Services[0].Counters.OutBytes++ }, "counters: kernel"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			kernel := recordEngine(t, &r, 1, nil)
			at := find(kernel, tc.where)
			tc.plant(&kernel[at])
			d := compareWithEngine(t, &r, kernel)
			if d == nil {
				t.Fatal("not found")
			}
			if d.Step != at+1 || d.Text != r.Steps[at].String() {
				t.Errorf("found at step %d (%s), planted at %d", d.Step, d.Text, at+1)
			}
			if text := strings.Join(d.What, "\n"); !strings.Contains(text, tc.want) {
				t.Errorf("told as %q, want %q in it", text, tc.want)
			}
		})
	}
	t.Run("timer within the slack", func(t *testing.T) {
		kernel := recordEngine(t, &r, 1, nil)
		kernel[find(kernel, looked)].All.Conns[0].Expires += expirySlack
		if d := compareWithEngine(t, &r, kernel); d != nil {
			t.Errorf("found %+v", d)
		}
	})
}

// TestCrowdTellsTheLoadRule holds the runs of lc and wlc to a choice that is
// made otherwise where an active connection counts as 256 inactive ones, and not
// as 257: one server has a single active connection, the other as many inactive
// ones.
func TestCrowdTellsTheLoadRule(t *testing.T) {
	for _, name := range []string{"lc", "wlc"} {
		r := Generate(Config{Scheduler: name, Seed: 1, Steps: 2000})
		found := false
		for i, seen := range recordEngine(t, &r, 1, nil) {
			s := &r.Steps[i]
			if s.Op != FromClient || s.Service.Key.Port != crowdPort || len(seen.Servers) != 2 {
				continue
			}
			// The second has the new connection; without it, it had 256 inactive ones.
			a, b := &seen.Servers[0], &seen.Servers[1]
			found = found || a.Active == 1 && a.Inactive == 0 && b.Active == 1 && b.Inactive == 256
		}
		if !found {
			t.Errorf("%s: no such choice", name)
		}
	}
}

// TestPlantedMisbehaviour has one side treat a step otherwise.
func TestPlantedMisbehaviour(t *testing.T) {
	tests := []struct {
		name  string
		c     Config
		twist func(i int, s *Step)
	}{
		{"a weight", Config{Scheduler: "wrr", Seed: 5, Steps: 800}, func(_ int, s *Step) {
			if s.Op == AddServer && s.Server.Weight > 0 {
				s.Server.Weight++
			}
		}},
		{"a scheduler", Config{Scheduler: "lc", Seed: 5, Steps: 800}, func(_ int, s *Step) {
			if s.Service.Scheduler == "lc" {
				s.Service.Scheduler = "sed"
			}
		}},
		{"a setting", Config{Scheduler: "rr", Seed: 6, Steps: 2000}, func(_ int, s *Step) {
			if s.Setting == "conn_reuse_mode" {
				s.Value = 1 - s.Value
			}
		}},
		{"picks of a random scheduler", Config{Scheduler: "twos", Seed: 5, Steps: 2000}, func(_ int, s *Step) {
			if s.Service.Scheduler == "twos" {
				s.Service.Scheduler = "fo"
			}
		}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			r := Generate(tc.c)
			if d := compareWithEngine(t, &r, recordEngine(t, &r, 1, tc.twist)); d == nil {
				t.Error("not found")
			}
		})
	}
}

func TestReport(t *testing.T) {
	r := Generate(Config{Scheduler: "rr", Seed: 3, Steps: 300})
	wrong := recordEngine(t, &r, 1, nil)
	wrong[200].Refused = "EPERM"
	rec := &Recording{Release: "6.99", Runs: []Run{r, r, r}, Traces: []Trace{{Seen: recordEngine(t, &r, 1, nil)}, {Missing: "scheduler rr"}, {Seen: wrong}}}
	rep, err := CompareAll(rec)
	if err != nil {
		t.Fatal(err)
	}
	if n := rep.Differences(); n != 1 {
		t.Errorf("%d differences, want 1", n)
	}
	var text strings.Builder
	rep.Write(&text)
	for _, want := range []string{
		"Linux 6.99", "the same", "left out: this kernel has no scheduler rr", "DIFFERENT at step 201",
		"refused with: kernel EPERM, vsnat nothing", r.Steps[200].String(), "before it that", "--scheduler rr --seed 3 --seeds 1 --steps 300",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, text.String())
		}
	}
}

func TestWindows(t *testing.T) {
	w := windows{timeouts: timeouts}
	for _, at := range []time.Duration{0, 300 * time.Millisecond, time.Second, 15 * time.Second} {
		if until := w.blocked(at); until != 0 {
			t.Errorf("blocked at %v until %v", at, until)
		}
		w.did(at)
	}
	want := []span{{0, 300 * time.Millisecond}, {time.Second, time.Second}, {15 * time.Second, 15 * time.Second}}
	if !slices.Equal(w.spans, want) {
		t.Errorf("spans %v, want %v", w.spans, want)
	}
	for _, at := range []time.Duration{9400 * time.Millisecond, 12 * time.Second, 20 * time.Second, 25 * time.Second, 60 * time.Second, 125 * time.Second} {
		if w.blocked(at) <= at {
			t.Errorf("not blocked at %v, when a timer may fire", at)
		}
	}
	for _, at := range []time.Duration{9 * time.Second, 14 * time.Second, 50 * time.Second, 110 * time.Second} {
		if until := w.blocked(at); until != 0 {
			t.Errorf("blocked at %v until %v", at, until)
		}
	}
}

func TestBuild(t *testing.T) {
	src, dst := netip.MustParseAddrPort("10.1.0.1:1025"), netip.MustParseAddrPort("10.9.0.1:53")
	for _, p := range []Packet{
		{Proto: nat.ProtoTCP, Flags: 2, Length: 17},
		{Proto: nat.ProtoUDP, Length: 3},
		{Proto: nat.ProtoUDP, NoSum: true},
		{Proto: nat.ProtoSCTP, Flags: 1},
		{Proto: nat.ProtoSCTP, Flags: 10, Length: 5, Next: 6},
	} {
		got, ok := parse(build(&p, src, dst))
		if !ok || nat.AddrPort(got.Src, got.SrcPort) != src || nat.AddrPort(got.Dst, got.DstPort) != dst || got.Proto != p.Proto {
			t.Errorf("%+v was built as %+v, %v", p, got, ok)
		}
	}
}

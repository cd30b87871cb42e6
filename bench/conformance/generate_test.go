package conformance

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"

	"vsnat/nat"
)

func TestGenerateIsDeterministic(t *testing.T) {
	c := Config{Scheduler: "wrr", Seed: 7, Steps: 2000}
	a, b := Generate(c), Generate(c)
	if !reflect.DeepEqual(a, b) {
		t.Error("the same configuration gave two different runs")
	}
	c.Seed++
	if other := Generate(c); reflect.DeepEqual(a.Steps, other.Steps) {
		t.Error("another seed gave the same steps")
	}
	// A guest gets the steps as JSON.
	data, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	var back Run
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(a, back) {
		t.Error("a run changed on its way through JSON")
	}
}

// TestGenerateCovers holds the generator to using all that can be compared.
func TestGenerateCovers(t *testing.T) {
	for _, name := range Schedulers() {
		r := Generate(Config{Scheduler: name, Seed: 1, Steps: 2000})
		ops, settings, schedulers := map[Op]int{}, map[string]int{}, map[string]int{}
		complained := map[Op]int{}
		for i := range r.Steps {
			s := &r.Steps[i]
			ops[s.Op]++
			settings[s.Setting]++
			if s.Packet.Error != 0 {
				complained[s.Op]++
			}
			if s.Op == AddService || s.Op == EditService {
				schedulers[s.Service.Scheduler]++
			}
			if s.String() == string(s.Op) {
				t.Errorf("step %q has no words", s.Op)
			}
		}
		if complained[FromClient] == 0 || complained[FromServer] == 0 {
			t.Errorf("%s: ICMP errors %v", name, complained)
		}
		want := []Op{AddService, EditService, AddServer, EditServer, FromClient, FromServer, Set, Rest}
		if !r.Config.random() {
			want = append(want, DeleteServer, DeleteService)
		}
		for _, op := range want {
			if ops[op] == 0 {
				t.Errorf("%s: no step %q", name, op)
			}
		}
		if len(r.Steps) < 2000 || !r.Steps[len(r.Steps)-1].Look && r.Steps[len(r.Steps)-1].Op != Zero {
			t.Errorf("%s: %d steps, the last is %+v", name, len(r.Steps), r.Steps[len(r.Steps)-1])
		}
		if name == Mixed {
			if n := len(schedulers); n < len(deterministic)/2 {
				t.Errorf("mixed: services with %d schedulers only", n)
			}
		} else if schedulers[name] == 0 {
			t.Errorf("%s: no service has it", name)
		}
		if r.Config.random() {
			for _, op := range []Op{DeleteServer, Flush} {
				if ops[op] > 0 && !refusedOnly(r.Steps, op) {
					t.Errorf("%s: a step %q makes more than the picks depend on chance", name, op)
				}
			}
		}
	}
}

// TestGenerateKeepsAService holds the generator to sending nothing while there is
// no service at all.
func TestGenerateKeepsAService(t *testing.T) {
	flushes := 0
	for seed := range uint64(60) {
		r := Generate(Config{Scheduler: "sh", Seed: seed, Steps: 1000})
		there := map[nat.ServiceKey]bool{}
		for i := range r.Steps {
			switch s := &r.Steps[i]; s.Op {
			case AddService:
				if s.Service.Scheduler != "nosuch" {
					there[s.Service.Key] = true
				}
			case DeleteService:
				delete(there, s.Service.Key)
			case Flush:
				flushes++
				clear(there)
			case FromClient, FromServer:
				if len(there) == 0 {
					t.Fatalf("seed %d, step %d: %s, and there is no service", seed, i+1, s)
				}
			}
		}
	}
	if flushes == 0 {
		t.Error("no run has all services deleted at once")
	}
}

// refusedOnly reports whether every step with op names what is not there.
func refusedOnly(steps []Step, op Op) bool {
	return !slices.ContainsFunc(steps, func(s Step) bool {
		return s.Op == op && s.Server.Key.Addr != realServer(99).As16() && s.Service.Key.Port != 9999
	})
}

// TestGenerateIPv6 holds a run over IPv6 to being the one over IPv4 with other
// addresses.
func TestGenerateIPv6(t *testing.T) {
	c := Config{Scheduler: Mixed, Seed: 5, Steps: 1000}
	a := Generate(c)
	c.IPv6 = true
	b := Generate(c)
	if len(a.Steps) != len(b.Steps) {
		t.Fatalf("%d and %d steps", len(a.Steps), len(b.Steps))
	}
	for i := range b.Steps {
		was, s := a.Steps[i], b.Steps[i]
		if was.Op != s.Op || was.Packet.Client.IsValid() && (!s.Packet.Client.Addr().Is6() || four(s.Packet.Client.Addr()) != was.Packet.Client.Addr()) {
			t.Fatalf("step %d: %s became %s", i+1, &was, &s)
		}
		if s.Op == AddService && (s.Service.Netmask < 96 || s.Service.Netmask > 128 || (s.Service.Key.Mark != 0) != s.Service.Key.V6) {
			t.Errorf("step %d: %s", i+1, &s)
		}
	}
}

// A wide run has what others lack, and another run has none of it.
func TestGenerateWide(t *testing.T) {
	for _, wide := range []bool{true, false} {
		r := Generate(Config{Scheduler: "rr", Seed: 1, Steps: 2000, Wide: wide})
		seen := map[string]bool{}
		for i := range r.Steps {
			s := &r.Steps[i]
			seen[s.Setting] = true
			switch {
			case s.Packet.ESP:
				seen["ESP"] = true
			case s.Packet.Proto == nat.ProtoSCTP && s.Service.Key.Mark != 0:
				seen["SCTP by mark"] = true
			case s.Packet.Proto == nat.ProtoSCTP:
				seen["SCTP"] = true
			}
			if outside.Contains(s.Packet.Virtual.Addr()) {
				seen["outside"] = true
			}
		}
		for _, what := range []string{"sloppy_sctp", "schedule_icmp", "nat_icmp_send", "cache_bypass", "SCTP", "SCTP by mark", "outside", "ESP"} {
			if seen[what] != wide {
				t.Errorf("wide %v: %s is there: %v", wide, what, seen[what])
			}
		}
	}
}

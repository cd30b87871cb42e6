package conformance

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"

	"vsnat/nat"
	"vsnat/nat/wire"
)

// Config says what run is wanted.
type Config struct {
	// Scheduler is that of the services, or [Mixed], or [FTP].
	Scheduler string `json:"scheduler"`
	Seed      uint64 `json:"seed"`
	Steps     int    `json:"steps"` // or a few more
	// NoThresholds leaves servers without thresholds. Kernels before 6.1.183
	// look after them otherwise.
	NoThresholds bool `json:"noThresholds,omitempty"`
	// IPv6 has all addresses be IPv6's.
	IPv6 bool `json:"ipv6,omitempty"`
	// Wide has SCTP services too, and the settings sloppy_sctp, schedule_icmp,
	// nat_icmp_send and cache_bypass.
	Wide bool `json:"wide,omitempty"`
}

// Mixed stands for a run whose services have all kinds of deterministic
// schedulers.
const Mixed = "mixed"

// String returns the configuration in words.
func (c Config) String() string {
	text := fmt.Sprintf("scheduler %s, seed %d, %d steps", c.Scheduler, c.Seed, c.Steps)
	if c.IPv6 {
		text += ", IPv6"
	}
	if c.Wide {
		text += ", wide"
	}
	return text
}

// endpoints are the services there may be in the run.
func (c Config) endpoints() []nat.ServiceKey {
	if c.Wide {
		return wideEndpoints
	}
	return endpoints
}

// random reports whether the scheduler draws its picks: then only that some
// server was picked can be compared, and no step makes anything else depend on
// which one.
func (c Config) random() bool { return c.Scheduler == "twos" }

// Run is a list of steps with what it was made from.
type Run struct {
	Config Config `json:"config"`
	Steps  []Step `json:"steps"`
}

// deterministic are the kernel's schedulers of which every pick can be
// compared.
var deterministic = []string{"rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "mh", "sed", "nq", "fo", "ovf"}

// Schedulers returns all that can be compared: the kernel's, and [Mixed]. [FTP] is
// another matter.
func Schedulers() []string { return append(slices.Clone(deterministic), "twos", Mixed) }

const (
	lookEvery = 100 // steps
	// shortRest outlasts TCP's CLOSE (10 s) and longRest also SYN_RECV and
	// CLOSE_WAIT (60 s), in seconds. Both bring the kernel's counters up to date.
	shortRest, longRest = 12, 66
	recent              = 60 // flows that go on being used
)

// Generate makes a run. The same configuration always gives the same run.
func Generate(c Config) Run {
	if c.Scheduler == FTP {
		return generateFTP(c)
	}
	g := &generator{
		Config: c, r: rand.New(rand.NewPCG(c.Seed, 0x9e3779b97f4a7c15)),
		services: map[nat.ServiceKey]*made{}, settings: map[string]int{},
		known: map[flow]bool{}, shrunk: map[nat.ServiceKey]bool{},
	}
	for _, k := range c.endpoints() {
		g.addService(k)
		for range 2 + g.r.IntN(4) {
			g.addServer(k)
		}
	}
	quarter := max(c.Steps/4, 1)
	for next := quarter; len(g.steps) < c.Steps; {
		g.step()
		if n := len(g.steps); n >= next && n < c.Steps {
			long := n >= 3*quarter
			g.rest(long)
			next += quarter
			if long && (c.Scheduler == "lc" || c.Scheduler == "wlc") {
				g.crowd()
			}
		}
	}
	g.rest(false)
	for i := range g.steps {
		g.steps[i].Look = g.steps[i].Look || i%lookEvery == lookEvery-1
	}
	if c.IPv6 {
		overIPv6(g.steps)
	}
	return Run{Config: c, Steps: g.steps}
}

// generator knows what a director would hold after the steps, as far as it
// takes to make sensible ones.
type generator struct {
	Config
	r        *rand.Rand
	steps    []Step
	services map[nat.ServiceKey]*made
	settings map[string]int
	flows    []used
	known    map[flow]bool           // packets were sent on it
	shrunk   map[nat.ServiceKey]bool // a server was deleted some time
}

type made struct {
	spec    nat.ServiceSpec
	servers []nat.ServerSpec
}

// used is a flow that packets were sent on, and its service.
type used struct {
	flow
	service nat.ServiceKey
}

func (g *generator) chance(percent int) bool { return g.r.IntN(100) < percent }

func pick[T any](g *generator, all []T) T { return all[g.r.IntN(len(all))] }

func (g *generator) add(s Step) { g.steps = append(g.steps, s) }

func (g *generator) step() {
	switch n := g.r.IntN(100); {
	case n < 45 || len(g.flows) == 0:
		g.connect()
	case n < 80:
		g.goOn()
	case n < 97:
		g.command()
	default:
		g.set()
	}
}

// crowdPort is that of the service that [generator.crowd] makes for itself.
const crowdPort = 9000

// crowd has so many connections end that, for schedulers that go by the load,
// the inactive ones of one server come to weigh as much as the single active one
// of another: 256 (6.1.183 and later: 257) of them.
func (g *generator) crowd() {
	const many = 300 // with drop_packet on, one in ten is lost
	k := nat.ServiceKey{Proto: nat.ProtoTCP, Addr: vip(1).As16(), Port: crowdPort}
	vip := netip.AddrPortFrom(netip.AddrFrom16(k.Addr).Unmap(), k.Port)
	spec := nat.ServiceSpec{Key: k, Scheduler: g.Scheduler, Netmask: allOnes}
	g.add(Step{Op: AddService, Service: spec})
	for n := range 2 {
		server := nat.ServerSpec{Key: nat.ServerKey{Addr: realServer(1 + n).As16(), Port: k.Port}, Weight: 1}
		g.add(Step{Op: AddServer, Service: nat.ServiceSpec{Key: k}, Server: server})
	}
	for n := range many {
		p := Packet{Proto: k.Proto, Client: netip.AddrPortFrom(client(n%6<<8|1+n/6), 2000), Virtual: vip, Flags: wire.SYN}
		g.add(Step{Op: FromClient, Service: nat.ServiceSpec{Key: k}, Packet: p})
		if n > 0 {
			p.Flags = wire.FIN | wire.ACK
			g.add(Step{Op: FromServer, Service: nat.ServiceSpec{Key: k}, Packet: p})
		}
	}
	g.add(Step{Op: DeleteService, Service: nat.ServiceSpec{Key: k}, Settle: true})
}

// set changes a setting that is in force at once, most often to its default.
func (g *generator) set() {
	names := []string{"conn_reuse_mode", "expire_nodest_conn", "expire_quiescent_template", "sloppy_tcp"}
	if g.Wide {
		names = append(names, "sloppy_sctp", "schedule_icmp", "nat_icmp_send", "cache_bypass")
	}
	name := pick(g, names)
	usual := 0
	if name == "conn_reuse_mode" {
		usual = 1
	}
	value := usual
	if g.chance(45) && !g.random() {
		value = 1 - usual
	}
	g.settings[name] = value
	g.add(Step{Op: Set, Setting: name, Value: value})
}

// rest lets time pass. The kernel's defences, which it looks after once a
// second, change just before. The counters sometimes begin anew after it.
func (g *generator) rest(long bool) {
	if !g.random() {
		g.add(Step{Op: Set, Setting: "secure_tcp", Value: pick(g, []int{0, 0, 3})})
		g.add(Step{Op: Set, Setting: "drop_packet", Value: pick(g, []int{0, 0, 0, 3})})
	}
	seconds := shortRest
	if long {
		seconds = longRest
	}
	g.add(Step{Op: Rest, Seconds: seconds, Look: true})
	if g.chance(50) {
		g.add(Step{Op: Zero})
	}
}

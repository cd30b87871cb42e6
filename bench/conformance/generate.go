package conformance

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"

	"vsnat/conntrack"
	"vsnat/nat"
	"vsnat/nat/wire"
	"vsnat/sched"
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

// connect begins a connection, and often completes TCP's handshake.
func (g *generator) connect() {
	k := pick(g, g.endpoints())
	f := flow{proto: k.Proto, client: g.client(), virtual: netip.AddrPortFrom(netip.AddrFrom16(k.Addr).Unmap(), k.Port)}
	if k.Mark != 0 {
		a, protos := markedVIPs.Addr().As4(), []uint8{nat.ProtoTCP, nat.ProtoUDP}
		if g.Wide {
			protos = nat.Protocols()
			if g.chance(50) && !g.IPv6 {
				a = outside.Addr().As4()
			}
		}
		a[3] = byte(1 + g.r.IntN(40))
		f.proto = pick(g, protos)
		f.virtual = netip.AddrPortFrom(netip.AddrFrom4(a), pick(g, []uint16{80, 443, 8000}))
	} else if k.Port == 0 || g.chance(2) {
		// Sometimes a port that no service has.
		f.virtual = netip.AddrPortFrom(f.virtual.Addr(), uint16(1000+g.r.IntN(50)))
	}
	if old := g.flows[max(0, len(g.flows)-recent):]; len(old) > 0 && g.chance(50) {
		// A client that was here before: its template may be.
		if o := pick(g, old); o.service == k {
			f.client = netip.AddrPortFrom(o.client.Addr(), f.client.Port())
		}
	}
	if f.virtual.Port() == isakmp {
		f.client = netip.AddrPortFrom(f.client.Addr(), isakmp)
	}
	u := used{f, k}
	g.flows = append(g.flows, u)
	switch f.proto {
	case nat.ProtoUDP:
		g.packet(FromClient, u, 0)
		return
	case nat.ProtoSCTP:
		g.associate(u)
		return
	}
	if g.chance(3) {
		g.packet(FromClient, u, pick(g, []uint8{wire.ACK, wire.FIN | wire.ACK, wire.RST, 0, wire.SYN | wire.ACK}))
		return
	}
	g.packet(FromClient, u, wire.SYN)
	if g.chance(75) {
		g.packet(FromServer, u, wire.SYN|wire.ACK)
		g.packet(FromClient, u, wire.ACK)
	}
}

// client returns an address and port: of few networks and hosts, so that
// templates matter, and rarely FTP's data port.
func (g *generator) client() netip.AddrPort {
	port := uint16(1024 + g.r.IntN(60000))
	if g.chance(1) {
		port = 20
	}
	return netip.AddrPortFrom(client(g.r.IntN(6)<<8|1+g.r.IntN(8)), port)
}

// goOn sends a packet of a flow that was used lately.
func (g *generator) goOn() {
	u := pick(g, g.flows[max(0, len(g.flows)-recent):])
	from := pick(g, []Op{FromClient, FromServer})
	// What was passed on without a server is another matter (docs/differences.md).
	if g.chance(8) && !outside.Contains(u.virtual.Addr()) {
		g.complaint(from, u)
		return
	}
	switch u.proto {
	case nat.ProtoUDP:
		g.packet(from, u, 0)
		if s := &g.steps[len(g.steps)-1]; u.client.Port() == isakmp && g.chance(70) {
			s.Packet.ESP, s.Packet.NoSum = true, false
		}
		return
	case nat.ProtoSCTP:
		g.chunk(from, u)
		return
	}
	switch n := g.r.IntN(100); {
	case n < 25 && from == FromClient:
		g.packet(from, u, wire.SYN)
	case n < 15:
		g.packet(from, u, wire.SYN|wire.ACK)
	case n < 45:
		g.packet(from, u, wire.ACK)
	case n < 75:
		g.packet(from, u, wire.FIN|wire.ACK)
	case n < 85:
		g.packet(from, u, wire.RST)
	case n < 89:
		g.packet(from, u, uint8(g.r.IntN(32)))
	default:
		// The whole of an orderly end, and another connection of the same name.
		g.packet(FromServer, u, wire.FIN|wire.ACK)
		g.packet(FromClient, u, wire.FIN|wire.ACK)
		g.packet(FromServer, u, wire.ACK)
		if g.chance(50) {
			g.packet(FromClient, u, wire.SYN)
		}
	}
}

// complaint sends an ICMP error about a packet of the flow that came from where it
// goes. Kernels before 6.1.183 drop those from servers in IPv6, and verify the
// checksum of others than they do now.
func (g *generator) complaint(op Op, u used) {
	old := g.NoThresholds
	if g.IPv6 && old {
		op = FromClient
	}
	p := Packet{
		Proto: u.proto, Client: u.client, Virtual: u.virtual,
		Error: 1 + g.r.IntN(len(complaints)), Quote: pick(g, []int{4, 8, 20, 28, 100, 501}),
		Last: g.chance(5), NoSum: g.chance(10) && !old,
	}
	g.add(Step{Op: op, Service: nat.ServiceSpec{Key: u.service}, Packet: p})
}

func (g *generator) packet(op Op, u used, flags uint8) {
	length := 0
	switch n := g.r.IntN(100); {
	case n < 40:
		length = g.r.IntN(400)
	case n < 43:
		length = mtu - 50 + g.r.IntN(50) // some do not fit the next link
	}
	p := Packet{Proto: u.proto, Client: u.client, Virtual: u.virtual, Flags: flags, Length: length}
	p.Last = g.chance(2)
	if outside.Contains(u.virtual.Addr()) {
		// The kernel's own error about it would pass its IPVS once more, or cannot be
		// sent and is not counted.
		p.Length, p.Last = min(p.Length, 100), false
	}
	p.NoSum = p.Proto == nat.ProtoUDP && g.chance(10)
	if p.Proto == nat.ProtoSCTP && g.chance(20) {
		p.Next = pick(g, []uint8{wire.SCTPAbort, wire.SCTPAbort, wire.SCTPSack, wire.SCTPCookieEcho})
	}
	// A client that begins anew, or whose server is gone, may end a connection.
	ends := op == FromClient && g.known[u.flow] && (p.begins() || g.settings["expire_nodest_conn"] != 0 && g.shrunk[u.service])
	g.known[u.flow] = true
	g.add(Step{Op: op, Service: nat.ServiceSpec{Key: u.service}, Packet: p, Settle: ends})
}

// command changes the services; one in twenty is one that should be refused.
func (g *generator) command() {
	k := pick(g, g.endpoints())
	svc := g.services[k]
	if g.chance(5) {
		g.wrong(k)
		return
	}
	if svc == nil {
		g.addService(k)
		return
	}
	switch n := g.r.IntN(100); {
	case n < 40 && len(svc.servers) > 0:
		g.editServer(k)
	case n < 65 || len(svc.servers) == 0:
		g.addServer(k)
	case n < 83 && !g.random():
		g.deleteServer(k)
	case n < 97:
		svc.spec = g.serviceSpec(k)
		if g.chance(80) {
			g.add(Step{Op: EditService, Service: svc.spec})
		} else if !g.random() {
			// To another scheduler and back: the old one's state is lost.
			other := svc.spec
			other.Scheduler, other.Flags = pick(g, []string{"rr", "wlc", "sh"}), 0
			g.add(Step{Op: EditService, Service: other})
			g.add(Step{Op: EditService, Service: svc.spec})
		}
	case g.random():
	case n < 99:
		g.add(Step{Op: DeleteService, Service: nat.ServiceSpec{Key: k}, Settle: true})
		delete(g.services, k)
		g.shrunk[k] = true
		g.keepOne()
	case g.chance(20):
		g.add(Step{Op: Flush, Settle: true})
		clear(g.services)
		for _, k := range g.endpoints() {
			g.shrunk[k] = true
		}
		g.keepOne()
	}
}

// keepOne adds a service if there is none. Without any, the kernel leaves all
// packets alone, those of its connections too; vsnat does not.
func (g *generator) keepOne() {
	if len(g.services) == 0 {
		g.addService(pick(g, g.endpoints()))
	}
}

// wrong gives a command that should be refused.
func (g *generator) wrong(k nat.ServiceKey) {
	svc := nat.ServiceSpec{Key: k}
	srv := g.serverSpec(k)
	switch g.r.IntN(8) {
	case 0:
		spec := g.serviceSpec(k)
		g.add(Step{Op: AddService, Service: spec})
		if g.services[k] == nil {
			g.services[k] = &made{spec: spec}
		}
	case 1:
		spec := g.serviceSpec(k)
		spec.Scheduler = "nosuch"
		g.add(Step{Op: pick(g, []Op{AddService, EditService}), Service: spec})
	case 2:
		srv.Weight = -1
		g.add(Step{Op: pick(g, []Op{AddServer, EditServer}), Service: svc, Server: srv})
	case 3:
		srv.Upper, srv.Lower = 3, 4
		g.add(Step{Op: pick(g, []Op{AddServer, EditServer}), Service: svc, Server: srv})
	case 4:
		srv.Key.Addr = netip.MustParseAddr("224.0.0.1").As16()
		g.add(Step{Op: AddServer, Service: svc, Server: srv})
	case 5:
		srv.Key.Addr = realServer(99).As16()
		g.add(Step{Op: pick(g, []Op{EditServer, DeleteServer}), Service: svc, Server: srv})
	case 6:
		if made := g.services[k]; made != nil && len(made.servers) > 0 {
			srv.Key = pick(g, made.servers).Key
			g.add(Step{Op: AddServer, Service: svc, Server: srv})
		}
	default:
		svc.Key = nat.ServiceKey{Proto: nat.ProtoTCP, Addr: vip(1).As16(), Port: 9999}
		g.add(Step{Op: pick(g, []Op{AddServer, EditServer, DeleteServer, DeleteService}), Service: svc, Server: srv})
	}
}

func (g *generator) addService(k nat.ServiceKey) {
	spec := g.serviceSpec(k)
	g.services[k] = &made{spec: spec}
	g.add(Step{Op: AddService, Service: spec})
}

func (g *generator) serviceSpec(k nat.ServiceKey) nat.ServiceSpec {
	s := nat.ServiceSpec{Key: k, Scheduler: g.Scheduler, Netmask: allOnes}
	if s.Scheduler == Mixed {
		s.Scheduler = pick(g, deterministic)
	}
	if s.Scheduler == "sh" || s.Scheduler == "mh" {
		s.Flags = sched.Flags(g.r.IntN(4))
	}
	// A service of all ports is of use only to persistent clients.
	if g.chance(40) || k.Port == 0 && k.Mark == 0 && g.chance(80) {
		s.Persistent = true
		s.Timeout = pick(g, []uint32{600, 1200, 3600}) // longer than a run
		s.Netmask = pick(g, []uint32{allOnes, allOnes, 0xffffff00, 0xffff0000})
	}
	s.OnePacket = (k.Proto == nat.ProtoUDP || k.Mark != 0) && g.chance(30)
	return s
}

func (g *generator) serverSpec(k nat.ServiceKey) nat.ServerSpec {
	port := k.Port
	if k.Mark != 0 {
		port = pick(g, []uint16{0, 80})
	}
	if g.chance(15) {
		port = pick(g, []uint16{0, 8080})
	}
	s := nat.ServerSpec{Key: nat.ServerKey{Addr: realServer(1 + g.r.IntN(8)).As16(), Port: port}}
	if g.chance(15) && !g.random() {
		s.Method = conntrack.Direct
	}
	g.shape(&s)
	return s
}

// shape gives a server a weight and thresholds.
func (g *generator) shape(s *nat.ServerSpec) {
	s.Weight = pick(g, []int32{0, 0, 1, 1, 1, 2, 3, 4, 5, 10, 20, 100})
	s.Upper, s.Lower = 0, 0
	if g.chance(20) && !g.random() && !g.NoThresholds {
		s.Upper = uint32(1 + g.r.IntN(15))
		if g.chance(50) {
			s.Lower = uint32(g.r.IntN(int(s.Upper) + 1))
		}
	}
}

func (g *generator) addServer(k nat.ServiceKey) {
	svc := g.services[k]
	spec := g.serverSpec(k)
	if slices.ContainsFunc(svc.servers, func(s nat.ServerSpec) bool { return s.Key == spec.Key }) {
		return
	}
	svc.servers = append(svc.servers, spec)
	g.add(Step{Op: AddServer, Service: nat.ServiceSpec{Key: k}, Server: spec})
}

func (g *generator) editServer(k nat.ServiceKey) {
	spec := &g.services[k].servers[g.r.IntN(len(g.services[k].servers))]
	g.shape(spec)
	g.add(Step{Op: EditServer, Service: nat.ServiceSpec{Key: k}, Server: *spec})
}

func (g *generator) deleteServer(k nat.ServiceKey) {
	svc := g.services[k]
	i := g.r.IntN(len(svc.servers))
	g.add(Step{Op: DeleteServer, Service: nat.ServiceSpec{Key: k}, Server: nat.ServerSpec{Key: svc.servers[i].Key}, Settle: g.settings["expire_nodest_conn"] != 0})
	svc.servers = slices.Delete(svc.servers, i, i+1)
	g.shrunk[k] = true
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

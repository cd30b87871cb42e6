package conformance

import (
	"net/netip"
	"slices"

	"vsnat/conntrack"
	"vsnat/nat"
	"vsnat/sched"
)

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

package daemon

import (
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"syscall"
	"testing"
	"time"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/conntrack"
	"vsnat/nat"
	"vsnat/nat/wire"
	"vsnat/nic/guard"
)

var (
	added   = netip.MustParseAddrPort("192.0.2.1:81")
	addedID = control.ServiceID{Family: control.IPv4, Protocol: control.TCP, Address: added.Addr(), Port: added.Port()}
)

func addService(id control.ServiceID) *control.Command {
	return &control.Command{Op: control.AddService, Service: &control.Service{ServiceID: id, Scheduler: "wlc"}}
}

func addServer(id control.ServiceID, s control.RealServer) *control.Command {
	return &control.Command{Op: control.AddServer, Service: &control.Service{ServiceID: id}, Server: &s}
}

// do carries out one command.
func (d *daemon) do(c *control.Command) error {
	for _, r := range d.Apply([]control.Command{*c}, control.Stop) {
		return r.Err
	}
	return nil
}

func (d *daemon) apply(t *testing.T, commands ...*control.Command) {
	t.Helper()
	for _, c := range commands {
		if err := d.do(c); err != nil {
			t.Fatalf("%s: %v", c.Op, err)
		}
	}
}

func guards(g *fakeGuard, a netip.AddrPort) (service, server bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	k := guard.Key{Addr: a.Addr().As16(), Port: a.Port(), Proto: nat.ProtoTCP}
	return slices.Contains(g.state.Services, k), slices.Contains(g.state.Servers, k)
}

// What a command sets is what a listing shows.
func TestEntriesShowWhatWasSet(t *testing.T) {
	d, _, _ := newDaemon(t)
	s := control.Service{
		ServiceID: addedID, Scheduler: "sh", Flags: control.Persistent | control.Flag1 | control.Flag2,
		Timeout: 300, Netmask: 0xffffff00,
	}
	one := control.RealServer{Address: netip.MustParseAddr("10.0.2.21"), Port: 8081, Method: control.Masq, Weight: 7, UThreshold: 100, LThreshold: 50}
	two := control.RealServer{Address: netip.MustParseAddr("10.0.2.22"), Port: 8082, Method: control.Masq}
	d.apply(t, &control.Command{Op: control.AddService, Service: &s}, addServer(addedID, one), addServer(addedID, two))
	got, err := d.Service(addedID)
	if err != nil {
		t.Fatal(err)
	}
	want := control.ServiceEntry{Service: s, Servers: []control.ServerEntry{
		{RealServer: two, State: control.StateDrain}, {RealServer: one, State: control.StateUp},
	}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	one.Weight, one.UThreshold, one.LThreshold = 0, 0, 0
	s.Scheduler, s.Flags, s.Timeout, s.Netmask = "wrr", control.OnePacket, 0, control.FullMask
	d.apply(t, &control.Command{Op: control.EditService, Service: &s},
		&control.Command{Op: control.EditServer, Service: &control.Service{ServiceID: addedID}, Server: &one},
		&control.Command{Op: control.DeleteServer, Service: &control.Service{ServiceID: addedID}, Server: &two})
	for _, tuned := range []control.Service{
		{ServiceID: addedID, Scheduler: "mh", Netmask: control.FullMask, MHTableSize: 131071},
		{ServiceID: addedID, Scheduler: "lrt", Netmask: control.FullMask, LRTHalfLife: 2500},
	} {
		d.apply(t, &control.Command{Op: control.EditService, Service: &tuned})
		if got, err := d.Service(addedID); err != nil || got.Service != tuned {
			t.Errorf("got  %+v, %v\nwant %+v", got.Service, err, tuned)
		}
	}
	d.apply(t, &control.Command{Op: control.EditService, Service: &s})
	want = control.ServiceEntry{
		Service: s,
		Servers: []control.ServerEntry{{RealServer: one, State: control.StateDrain}},
		Removed: []control.ServerEntry{{RealServer: two, State: control.StateRemoved}},
	}
	if all := d.Services(); len(all) != 2 || !reflect.DeepEqual(all[0], want) {
		t.Errorf("got  %+v\nwant %+v first", all, want)
	}
	d.apply(t, &control.Command{Op: control.DeleteService, Service: &control.Service{ServiceID: addedID}})
	if _, err := d.Service(addedID); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("a service that was deleted: %v", err)
	}
}

func TestMethodNames(t *testing.T) {
	for name, m := range methods {
		if got := methodName(m); got != name {
			t.Errorf("%d is %q, want %q", m, got, name)
		}
	}
	if got := methodName(conntrack.Bypass); got != "" {
		t.Errorf("a method without a name is %q", got)
	}
}

// What is said of a tunnel is what is listed of it.
func TestTunnelsAreListed(t *testing.T) {
	id := control.ServiceID{Family: control.IPv4, Protocol: control.TCP, Address: vip.Addr(), Port: vip.Port()}
	for i, want := range []control.RealServer{
		{TunnelType: control.IPIP, TunnelChecksum: control.NoChecksum},
		{TunnelType: control.GUE, TunnelPort: 5555, TunnelChecksum: control.RemoteChecksum},
		{TunnelType: control.GUE, TunnelPort: 1, TunnelChecksum: control.NoChecksum},
		{TunnelType: control.GRE, TunnelChecksum: control.Checksum},
	} {
		want.Address = netip.AddrFrom4([4]byte{10, 0, 2, byte(30 + i)})
		if i == 1 {
			want.Address = netip.MustParseAddr("2001:db8::30") // a tunnel crosses families
		}
		want.Port, want.Method, want.Weight = 80, control.Tunnel, 1
		d, _, _ := newDaemon(t)
		d.followRoutes()
		if err := d.do(addServer(id, want)); err != nil {
			t.Fatal(err)
		}
		e, err := d.Service(id)
		if err != nil || e.Servers[0].RealServer != want {
			t.Errorf("%v, %+v, want %+v", err, e.Servers[0].RealServer, want)
		}
	}
}

// Refusals carry the errno that the kernel gives, and leave nothing with the
// guard.
func TestRefusedCommands(t *testing.T) {
	have := control.ServiceID{Family: control.IPv4, Protocol: control.TCP, Address: vip.Addr(), Port: vip.Port()}
	masq := func(addr string) control.RealServer {
		return control.RealServer{Address: netip.MustParseAddr(addr), Port: 80, Method: control.Masq, Weight: 1}
	}
	local, tunnel := masq("10.0.2.30"), masq("10.0.2.30")
	local.Method, tunnel.Method = control.Local, control.Tunnel
	gue, unknown := tunnel, tunnel
	gue.TunnelType, unknown.TunnelType = control.GUE, "vxlan"
	v6 := control.ServiceID{Family: control.IPv6, Protocol: control.TCP, Address: netip.MustParseAddr("2001:db8::1"), Port: 80}
	pe := addService(addedID)
	pe.Service.PE = "sop"
	for _, c := range []struct {
		name string
		cmd  *control.Command
		want syscall.Errno
	}{
		{"service twice", addService(have), syscall.EEXIST},
		{"IPv6 without a prefix length", addService(v6), syscall.EINVAL},
		{"persistence engine", pe, syscall.ENOENT},
		{"server of no service", addServer(addedID, masq("10.0.2.30")), syscall.ESRCH},
		{"server twice", addServer(have, control.RealServer{Address: server.Addr(), Port: server.Port(), Method: control.Masq}), syscall.EEXIST},
		{"method", addServer(have, local), syscall.EOPNOTSUPP},
		{"GUE without a port", addServer(have, gue), syscall.EINVAL},
		{"tunnel type", addServer(have, unknown), syscall.EINVAL},
		{"multicast server", addServer(have, masq("224.0.0.1")), syscall.EINVAL},
		{"delete no server", &control.Command{Op: control.DeleteServer, Service: &control.Service{ServiceID: have}, Server: &control.RealServer{Address: added.Addr()}}, syscall.ENOENT},
		{"delete no service", &control.Command{Op: control.DeleteService, Service: &control.Service{ServiceID: addedID}}, syscall.ESRCH},
		{"edit no service", &control.Command{Op: control.EditService, Service: &control.Service{ServiceID: addedID, Scheduler: "rr"}}, syscall.ESRCH},
		{"zero no service", &control.Command{Op: control.Zero, Service: &control.Service{ServiceID: addedID}}, syscall.ESRCH},
		{"synchronisation", &control.Command{Op: control.StartDaemon, Daemon: &control.Daemon{Role: control.Master}}, syscall.EOPNOTSUPP},
		{"mh table size", &control.Command{Op: control.AddService, Service: &control.Service{ServiceID: addedID, Scheduler: "mh", MHTableSize: 4092}}, syscall.EINVAL},
		{"unknown scheduler", &control.Command{Op: control.AddService, Service: &control.Service{ServiceID: addedID, Scheduler: "rrr"}}, syscall.ENOENT},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, _, _ := newDaemon(t)
			g := d.guard.(*fakeGuard)
			d.followRoutes()
			before := g.state
			if err := d.do(c.cmd); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if !sameKeys(before.Services, g.state.Services) || !sameKeys(before.Servers, g.state.Servers) {
				t.Errorf("the guard has %+v, had %+v", g.state, before)
			}
		})
	}
}

func sameKeys(a, b []guard.Key) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(k guard.Key) bool { return !slices.Contains(b, k) })
}

// The guard owns a service and a server before the engine does, so that the host
// answers no packet that we do.
func TestGuardComesFirst(t *testing.T) {
	d, _, _ := newDaemon(t)
	g := d.guard.(*fakeGuard)
	rs := netip.MustParseAddrPort("10.0.2.21:80")
	seen := 0
	g.enter = func() {
		for _, e := range d.engine.Owned().Services {
			if e.Port == added.Port() {
				if service, _ := guards(g, added); !service {
					t.Error("the engine has the service, and the guard does not")
				}
			}
		}
		seen++
	}
	d.apply(t, addService(addedID), addServer(addedID, control.RealServer{Address: rs.Addr(), Port: rs.Port(), Method: control.Masq, Weight: 1}))
	if seen == 0 {
		t.Fatal("the guard was not asked")
	}
	if service, _ := guards(g, added); !service {
		t.Error("the guard lacks the service")
	}
	if _, server := guards(g, rs); !server {
		t.Error("the guard lacks the server")
	}
	// A guard that refuses keeps the engine from it.
	g.fail = func(string) error { return syscall.ENOSPC }
	other := addedID
	other.Port = 82
	if err := d.do(addService(other)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%v", err)
	}
	if _, err := d.Service(other); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("a service that the guard refused: %v", err)
	}
}

// The routes change while a service is being added: the guard owns it already,
// and the engine does not yet. The guard must not let go of it again.
func TestGuardKeepsWhatIsBeingAdded(t *testing.T) {
	d, _, r := newDaemon(t)
	g := d.guard.(*fakeGuard)
	held, release := make(chan struct{}), make(chan struct{})
	g.enter = func() {
		g.enter = nil
		close(held)
		<-release
	}
	applied, followed := make(chan error, 1), make(chan struct{})
	go func() { applied <- d.do(addService(addedID)) }()
	<-held
	r.mu.Lock()
	r.more = append(r.more, server.Addr().As16())
	r.mu.Unlock()
	go func() {
		d.followRoutes()
		close(followed)
	}()
	select { // it is either through, too early, or waits
	case <-followed:
	case <-time.After(50 * time.Millisecond):
	}
	close(release)
	if err := <-applied; err != nil {
		t.Fatal(err)
	}
	<-followed
	if service, _ := guards(g, added); !service {
		t.Error("the guard let go of a service that was being added")
	}
}

// Neighbours of the servers that there are, and of no others, are kept.
func TestNeighboursAreKept(t *testing.T) {
	d, _, _ := newDaemon(t)
	if err := d.own(); err != nil {
		t.Fatal(err)
	}
	rs := control.RealServer{Address: netip.MustParseAddr("10.0.2.21"), Port: 80, Method: control.Masq, Weight: 1}
	d.apply(t, addService(addedID), addServer(addedID, rs))
	kept := func() []netip.Addr {
		var all []netip.Addr
		for _, a := range d.routes.(*fakeWatcher).kept {
			all = append(all, netip.AddrFrom16(a).Unmap())
		}
		slices.SortFunc(all, netip.Addr.Compare)
		return all
	}
	if got, want := kept(), []netip.Addr{server.Addr(), rs.Address, other.Addr()}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	d.apply(t, &control.Command{Op: control.DeleteService, Service: &control.Service{ServiceID: addedID}})
	if got, want := kept(), []netip.Addr{server.Addr(), other.Addr()}; !slices.Equal(got, want) {
		t.Errorf("after the service is gone: %v, want %v", got, want)
	}
	d.apply(t, &control.Command{Op: control.Flush})
	if got := kept(); len(got) != 0 {
		t.Errorf("after a flush: %v", got)
	}
}

func TestTimeoutsCountersAndConnections(t *testing.T) {
	d, w, r := newDaemon(t, clientNIC, otherNIC)
	d.mustReconcile(t, r)
	d.apply(t, &control.Command{Op: control.SetTimeouts, Timeouts: &control.Timeouts{TCP: 100, UDP: 30}})
	if got, want := d.Timeouts(), (control.Timeouts{TCP: 100, TCPFin: 120, UDP: 30}); got != want {
		t.Errorf("timeouts %+v, want %+v", got, want)
	}
	w.passes(1, otherNIC)
	_, clients := w.at(clientNIC)
	_, others := w.at(otherNIC)
	clients.send(segment(clientNIC, from(1), vip, wire.ACK))
	others.receive()
	eventually(t, "both packets are counted", func() bool { return d.engine.Total().InPkts == 2 })
	buf := make([]control.Connection, 10)
	var all []control.Connection
	for cursor := uint64(0); ; {
		var n int
		n, cursor = d.Connections(cursor, buf)
		all = append(all, buf[:n]...)
		if cursor == 0 {
			break
		}
	}
	want := control.Connection{
		Protocol: control.TCP, Client: from(1), Virtual: vip, Destination: other, State: "ESTABLISHED", Method: control.Masq, InPkts: 2, InBytes: 80, Why: "scheduled",
	}
	if len(all) != 1 || all[0].Expires < 90 || all[0].Expires > 100 {
		t.Fatalf("%+v", all)
	}
	if all[0].Expires = 0; all[0] != want {
		t.Errorf("%+v, want %+v", all[0], want)
	}
	id := serviceID(service)
	e, err := d.Service(id)
	if err != nil || e.Stats.Conns != 1 || e.Stats.InPkts != 2 || e.Servers[0].Stats != e.Stats || e.Servers[0].Active != 1 {
		t.Errorf("%+v, %v", e, err)
	}
	d.apply(t, &control.Command{Op: control.Zero, Service: &control.Service{ServiceID: id}})
	if e, _ := d.Service(id); e.Stats != (control.Stats{}) || d.engine.Total().Conns != 1 {
		t.Errorf("after zero of the service: %+v, total %+v", e.Stats, d.engine.Total())
	}
	d.apply(t, &control.Command{Op: control.Zero})
	if total := d.engine.Total(); total != (nat.Counters{}) {
		t.Errorf("after zero: total %+v", total)
	}
}

func TestInfo(t *testing.T) {
	d, _, _ := newDaemon(t)
	if i := d.Info(); i.Version != Version || i.IPVSVersion != "1.2.1" || i.TableSize != 4096 || i.PID <= 0 {
		t.Errorf("%+v", i)
	}
	if len(d.Daemons()) != 0 {
		t.Error("a synchronisation daemon runs")
	}
}

package daemon

import (
	"fmt"
	"os"
	"syscall"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/conntrack"
	"vsnat/conntrack/state"
	"vsnat/nat"
	"vsnat/nic"
	"vsnat/sched"
)

var _ control.Director = (*daemon)(nil)

// Apply implements [control.Director].
func (d *daemon) Apply(c *control.Command) error {
	var err error
	switch c.Op {
	case control.Flush:
		d.engine.Update(func(tx *nat.Tx) { tx.Flush() })
	case control.Zero:
		err = d.zero(c.Service)
	case control.SetTimeouts:
		t := d.engine.Timeouts()
		t.Set(int64(c.Timeouts.TCP)*1e9, int64(c.Timeouts.TCPFin)*1e9, int64(c.Timeouts.UDP)*1e9)
		d.engine.SetTimeouts(t)
		return nil
	case control.StartDaemon, control.StopDaemon:
		return fmt.Errorf("daemon: connection synchronisation is not built: %w", syscall.EOPNOTSUPP)
	case control.AddService, control.EditService:
		err = d.applyService(c)
	case control.DeleteService:
		var key nat.ServiceKey
		if key, err = serviceKey(&c.Service.ServiceID); err == nil {
			d.engine.Update(func(tx *nat.Tx) { err = tx.DeleteService(key) })
		}
	default:
		err = d.applyServer(c)
	}
	if err != nil || c.Op == control.Zero || c.Op == control.AddService || c.Op == control.AddServer {
		return err // the guard has what was added already
	}
	return d.syncGuard(nat.Endpoints{})
}

func (d *daemon) zero(s *control.Service) (err error) {
	if s == nil {
		d.engine.Update(func(tx *nat.Tx) { err = tx.Zero(nil) })
		return err
	}
	key, err := serviceKey(&s.ServiceID)
	if err == nil {
		d.engine.Update(func(tx *nat.Tx) { err = tx.Zero(&key) })
	}
	return err
}

func (d *daemon) applyService(c *control.Command) error {
	key, err := serviceKey(&c.Service.ServiceID)
	if err != nil {
		return err
	}
	if f := c.Service.Flags &^ (control.Flag1 | control.Flag2 | control.Flag3); f != 0 || c.Service.PE != "" {
		return fmt.Errorf("daemon: persistence and one-packet scheduling are not built: %w", syscall.EOPNOTSUPP)
	}
	spec := nat.ServiceSpec{Key: key, Scheduler: c.Service.Scheduler, Flags: schedFlags(c.Service.Flags)}
	if c.Op == control.EditService {
		d.engine.Update(func(tx *nat.Tx) { err = tx.EditService(spec) })
		return err
	}
	// The guard comes first, so that the host answers no packet that we do.
	if err := d.syncGuard(nat.Endpoints{Services: []nat.Endpoint{key}}); err != nil {
		return err
	}
	d.engine.Update(func(tx *nat.Tx) { err = tx.AddService(spec) })
	return d.undoGuard(err)
}

func (d *daemon) applyServer(c *control.Command) error {
	key, err := serviceKey(&c.Service.ServiceID)
	if err != nil {
		return err
	}
	server := nat.ServerKey{Addr: c.Server.Address.As16(), Port: c.Server.Port}
	if c.Op == control.DeleteServer {
		d.engine.Update(func(tx *nat.Tx) { err = tx.DeleteServer(key, server) })
		d.keepNeighbours()
		return err
	}
	spec := nat.ServerSpec{
		Key: server, Method: methods[c.Server.Method], Weight: c.Server.Weight,
		Upper: c.Server.UThreshold, Lower: c.Server.LThreshold,
	}
	if c.Op == control.EditServer {
		d.engine.Update(func(tx *nat.Tx) { err = tx.EditServer(key, spec) })
		return err
	}
	if spec.Method == conntrack.Masq {
		ep := nat.Endpoint{Proto: key.Proto, Addr: server.Addr, Port: server.Port}
		if err := d.syncGuard(nat.Endpoints{Servers: []nat.Endpoint{ep}}); err != nil {
			return err
		}
	}
	d.engine.Update(func(tx *nat.Tx) { err = tx.AddServer(key, spec) })
	d.keepNeighbours()
	return d.undoGuard(err)
}

// undoGuard gives back to the host what a refused command would have owned.
func (d *daemon) undoGuard(err error) error {
	if err != nil {
		d.warn("guard", d.syncGuard(nat.Endpoints{}))
	}
	return err
}

// keepNeighbours has the kernel keep the real servers' link-layer addresses
// resolved: its own stack does not see that they are in use.
func (d *daemon) keepNeighbours() {
	seen := map[nic.Addr]bool{}
	var addrs []nic.Addr
	for _, e := range d.engine.Owned().Servers {
		if !seen[e.Addr] {
			seen[e.Addr] = true
			addrs = append(addrs, e.Addr)
		}
	}
	d.routes.Keep(addrs)
}

var methods = map[control.Method]conntrack.Method{
	control.Masq: conntrack.Masq, control.Local: conntrack.Local,
	control.Tunnel: conntrack.Tunnel, control.Direct: conntrack.Direct,
}

func methodName(m conntrack.Method) control.Method {
	for name, n := range methods {
		if n == m {
			return name
		}
	}
	return ""
}

// schedFlags moves the scheduler's flags from the kernel's bits to the first
// ones.
func schedFlags(f control.ServiceFlags) sched.Flags { return sched.Flags(f >> 3) }

func serviceKey(id *control.ServiceID) (nat.ServiceKey, error) {
	if id.FWMark != 0 {
		return nat.ServiceKey{}, fmt.Errorf("daemon: firewall mark services are not built: %w", syscall.EOPNOTSUPP)
	}
	return nat.ServiceKey{Proto: id.Protocol.Number(), Addr: id.Address.As16(), Port: id.Port}, nil
}

// Services implements [control.Director].
func (d *daemon) Services() []control.ServiceEntry {
	var infos []nat.ServiceInfo
	d.engine.Update(func(tx *nat.Tx) { infos = tx.Services() })
	entries := make([]control.ServiceEntry, len(infos))
	for i := range infos {
		entries[i] = entry(&infos[i])
	}
	return entries
}

// Service implements [control.Director].
func (d *daemon) Service(id control.ServiceID) (control.ServiceEntry, error) {
	key, err := serviceKey(&id)
	if err != nil {
		return control.ServiceEntry{}, syscall.ESRCH // none can be there
	}
	var info nat.ServiceInfo
	d.engine.Update(func(tx *nat.Tx) { info, err = tx.Service(key) })
	if err != nil {
		return control.ServiceEntry{}, err
	}
	return entry(&info), nil
}

func entry(s *nat.ServiceInfo) control.ServiceEntry {
	addr := nat.AddrPort(s.Key.Addr, s.Key.Port).Addr()
	e := control.ServiceEntry{
		Service: control.Service{
			ServiceID: control.ServiceID{
				Family: control.FamilyOf(addr), Protocol: control.ProtocolOf(s.Key.Proto), Address: addr, Port: s.Key.Port,
			},
			Scheduler: s.Scheduler,
			Flags:     control.ServiceFlags(s.Flags) << 3,
			Netmask:   control.FullMask,
		},
		Stats:   stats(&s.Counters),
		Servers: make([]control.ServerEntry, len(s.Servers)),
	}
	for i := range s.Servers {
		v := &s.Servers[i]
		ap := nat.AddrPort(v.Key.Addr, v.Key.Port)
		e.Servers[i] = control.ServerEntry{
			RealServer: control.RealServer{
				Address: ap.Addr(), Port: ap.Port(), Method: methodName(v.Method), Weight: v.Weight,
				UThreshold: v.Upper, LThreshold: v.Lower,
			},
			Active: uint32(v.Active), Inactive: uint32(v.Inactive), Stats: stats(&v.Counters),
		}
	}
	return e
}

func stats(c *nat.Counters) control.Stats {
	return control.Stats{
		Conns: c.Conns, InPkts: c.InPkts, OutPkts: c.OutPkts, InBytes: c.InBytes, OutBytes: c.OutBytes,
	}
}

// Connections implements [control.Director].
func (d *daemon) Connections(cursor uint64, buf []control.Connection) (n int, next uint64) {
	now := d.now()
	next = d.engine.Table().Scan(cursor, len(buf), func(c *conntrack.Conn) {
		buf[n] = control.Connection{
			Protocol:    control.ProtocolOf(c.Proto),
			Client:      nat.AddrPort(c.Client, c.ClientPort),
			Virtual:     nat.AddrPort(c.Virtual, c.VirtualPort),
			Destination: nat.AddrPort(c.Dest, c.DestPort),
			State:       c.StateName(),
			Expires:     uint32(max(c.Expires-now, 0) / 1e9),
			Method:      methodName(c.Method()),
			Template:    c.Flags&conntrack.Template != 0,
			FWMark:      c.Mark,
			InPkts:      c.InPkts,
		}
		n++
	})
	return n, next
}

// Timeouts implements [control.Director].
func (d *daemon) Timeouts() control.Timeouts {
	t := d.engine.Timeouts()
	return control.Timeouts{
		TCP: uint32(t.TCP[state.TCPEstablished] / 1e9), TCPFin: uint32(t.TCP[state.TCPFinWait] / 1e9), UDP: uint32(t.UDP / 1e9),
	}
}

// Daemons implements [control.Director].
func (d *daemon) Daemons() []control.Daemon { return nil }

// Info implements [control.Director].
func (d *daemon) Info() control.Info {
	return control.Info{
		Version: Version, IPVSVersion: "1.2.1",
		TableSize: d.engine.Table().Buckets(), PID: os.Getpid(),
	}
}

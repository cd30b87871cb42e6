package daemon

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"go.uber.org/zap"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/conntrack"
	"vsnat/conntrack/state"
	"vsnat/nat"
	"vsnat/sched"
)

var _ control.Director = (*daemon)(nil)

// Apply implements [control.Director].
func (d *daemon) Apply(c *control.Command) error {
	d.mu.Lock()
	defer d.mu.Unlock()
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
		d.engine.Update(func(tx *nat.Tx) { err = tx.DeleteService(serviceKey(&c.Service.ServiceID)) })
	default:
		err = d.applyServer(c)
	}
	if err != nil || c.Op == control.Zero || c.Op == control.AddService || c.Op == control.AddServer {
		return err // the guard has what was added already
	}
	return d.own(nat.Endpoints{})
}

func (d *daemon) zero(s *control.Service) (err error) {
	if s == nil {
		d.engine.Update(func(tx *nat.Tx) { err = tx.Zero(nil) })
		return err
	}
	key := serviceKey(&s.ServiceID)
	d.engine.Update(func(tx *nat.Tx) { err = tx.Zero(&key) })
	return err
}

func (d *daemon) applyService(c *control.Command) error {
	if c.Service.PE != "" {
		return fmt.Errorf("daemon: persistence engines are not built: %w", syscall.EOPNOTSUPP)
	}
	spec := serviceSpec(c.Service)
	var soon nat.Endpoints
	d.engine.Update(func(tx *nat.Tx) { soon = tx.Endpoints(spec) })
	// The guard comes first, so that the host answers no packet that we do.
	err := d.own(soon)
	if err != nil {
		return err
	}
	d.engine.Update(func(tx *nat.Tx) {
		if c.Op == control.EditService {
			err = tx.EditService(spec)
		} else {
			err = tx.AddService(spec)
		}
	})
	if err == nil {
		d.warnOfLimits(&spec, &soon)
	}
	return d.undoOwn(err)
}

// warnOfLimits says what a service that was added or edited will not do.
func (d *daemon) warnOfLimits(spec *nat.ServiceSpec, owns *nat.Endpoints) {
	name := zap.Stringer("service", spec.Key)
	if spec.Key.Mark != 0 && len(owns.Services)+len(owns.Wide) == 0 {
		d.log.Warn("no rule gives packets this mark: the service gets none", name)
	}
	if d.guard != nil && len(owns.Wide) > 0 {
		d.log.Warn("packets of this service that the guard cannot tell reach the host too, which may answer them", name)
	}
}

func (d *daemon) applyServer(c *control.Command) error {
	var err error
	key := serviceKey(&c.Service.ServiceID)
	server := nat.ServerKey{Addr: c.Server.Address.As16(), Port: c.Server.Port}
	if c.Op == control.DeleteServer {
		d.engine.Update(func(tx *nat.Tx) { err = tx.DeleteServer(key, server) })
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
		var soon nat.Endpoints
		d.engine.Update(func(tx *nat.Tx) {
			var s nat.ServiceInfo
			if s, err = tx.Service(key); err == nil {
				soon = tx.Endpoints(s.ServiceSpec, server)
			}
		})
		if err != nil {
			return err
		}
		if err := d.own(soon); err != nil {
			return err
		}
	}
	d.engine.Update(func(tx *nat.Tx) { err = tx.AddServer(key, spec) })
	return d.undoOwn(err)
}

// undoOwn gives back to the host what a refused command would have owned.
func (d *daemon) undoOwn(err error) error {
	if err != nil {
		d.warnings.tell(d.log, "guard", d.own(nat.Endpoints{}))
	}
	return err
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

func serviceKey(id *control.ServiceID) nat.ServiceKey {
	if id.FWMark != 0 {
		return nat.ServiceKey{Mark: id.FWMark, V6: id.Family == control.IPv6}
	}
	return nat.ServiceKey{Proto: id.Protocol.Number(), Addr: id.Address.As16(), Port: id.Port}
}

// serviceID is the inverse of serviceKey.
func serviceID(k nat.ServiceKey) control.ServiceID {
	if k.Mark != 0 {
		family := control.IPv4
		if k.V6 {
			family = control.IPv6
		}
		return control.ServiceID{Family: family, FWMark: k.Mark}
	}
	addr := nat.AddrPort(k.Addr, k.Port).Addr()
	return control.ServiceID{
		Family: control.FamilyOf(addr), Protocol: control.ProtocolOf(k.Proto), Address: addr, Port: k.Port,
	}
}

func serviceSpec(s *control.Service) nat.ServiceSpec {
	return nat.ServiceSpec{
		Key:        serviceKey(&s.ServiceID),
		Scheduler:  s.Scheduler,
		Flags:      schedFlags(s.Flags),
		Persistent: s.Flags&control.Persistent != 0,
		OnePacket:  s.Flags&control.OnePacket != 0,
		Timeout:    s.Timeout,
		Netmask:    uint32(s.Netmask),
		Tuning: nat.Tuning{
			MHTableSize: int(s.MHTableSize),
			LRTHalfLife: time.Duration(s.LRTHalfLife) * time.Millisecond,
		},
	}
}

// serviceFlags are a service's flags in the kernel's bits.
func serviceFlags(s *nat.ServiceSpec) control.ServiceFlags {
	f := control.ServiceFlags(s.Flags) << 3
	if s.Persistent {
		f |= control.Persistent
	}
	if s.OnePacket {
		f |= control.OnePacket
	}
	return f
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
	var info nat.ServiceInfo
	var err error
	d.engine.Update(func(tx *nat.Tx) { info, err = tx.Service(serviceKey(&id)) })
	if err != nil {
		return control.ServiceEntry{}, err
	}
	return entry(&info), nil
}

func entry(s *nat.ServiceInfo) control.ServiceEntry {
	e := control.ServiceEntry{
		Service: control.Service{
			ServiceID: serviceID(s.Key),
			Scheduler: s.Scheduler,
			Flags:     serviceFlags(&s.ServiceSpec),
			Timeout:   s.Timeout,
			Netmask:   control.Netmask(s.Netmask),

			MHTableSize: uint32(s.Tuning.MHTableSize),
			LRTHalfLife: uint32(s.Tuning.LRTHalfLife.Milliseconds()),
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
			Active: uint32(v.Active), Inactive: uint32(v.Inactive), Persistent: uint32(v.Persistent), Stats: stats(&v.Counters),
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

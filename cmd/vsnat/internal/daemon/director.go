package daemon

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/cmd/vsnat/internal/life"
	"vsnat/conntrack"
	"vsnat/conntrack/state"
	"vsnat/nat"
	"vsnat/nat/forward"
	"vsnat/nat/wire"
	"vsnat/sched"
)

var _ control.Director = (*daemon)(nil)

var methods = map[control.Method]conntrack.Method{
	control.Masq: conntrack.Masq, control.Local: conntrack.Local,
	control.Tunnel: conntrack.Tunnel, control.Direct: conntrack.Direct,
	control.Full: conntrack.Full, control.Outbound: conntrack.Outbound,
}

func methodName(m conntrack.Method) control.Method {
	for name, n := range methods {
		if n == m {
			return name
		}
	}
	return ""
}

var (
	tunnelTypes = map[control.TunnelType]forward.TunnelType{
		"": forward.IPIP, control.IPIP: forward.IPIP, control.GUE: forward.GUE, control.GRE: forward.GRE,
	}
	tunnelFlags = map[control.TunnelChecksum]forward.TunnelFlags{
		control.Checksum: forward.TunnelChecksum, control.RemoteChecksum: forward.TunnelRemoteChecksum,
	}
)

// serverTunnel is the tunnel to a server, if packets reach it by one.
func serverTunnel(s *control.RealServer) (t forward.Tunnel, err error) {
	if s.Method != control.Tunnel {
		return t, nil
	}
	t.Port, t.Flags = s.TunnelPort, tunnelFlags[s.TunnelChecksum]
	var ok bool
	if t.Type, ok = tunnelTypes[s.TunnelType]; !ok {
		return t, fmt.Errorf("daemon: a tunnel of type %q: %w", s.TunnelType, syscall.EINVAL)
	}
	return t, nil
}

// setTunnel is the inverse of serverTunnel.
func setTunnel(s *control.RealServer, t forward.Tunnel) {
	if s.Method != control.Tunnel {
		return
	}
	s.TunnelPort, s.TunnelChecksum = t.Port, control.NoChecksum
	for name, n := range tunnelTypes {
		if n == t.Type && name != "" {
			s.TunnelType = name
		}
	}
	for name, n := range tunnelFlags {
		if n == t.Flags {
			s.TunnelChecksum = name
		}
	}
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

func serviceSpec(s *control.Service) (nat.ServiceSpec, error) {
	policy, err := life.Policy(s.Life)
	return nat.ServiceSpec{
		Key:        serviceKey(&s.ServiceID),
		Scheduler:  s.Scheduler,
		Flags:      schedFlags(s.Flags),
		Persistent: s.Flags&control.Persistent != 0,
		OnePacket:  s.Flags&control.OnePacket != 0,
		Timeout:    s.Timeout,
		Netmask:    uint32(s.Netmask),
		PE:         s.PE,
		Tuning: nat.Tuning{
			MHTableSize: int(s.MHTableSize),
			LRTHalfLife: time.Duration(s.LRTHalfLife) * time.Millisecond,
		},
		Life: policy,

		ProxyProtocol: map[control.ProxyProtocol]nat.Choice{control.ProxyOff: nat.Off, control.ProxyV2: nat.On}[s.ProxyProtocol],
	}, err
}

func proxyProtocol(c nat.Choice) control.ProxyProtocol {
	if c == nat.On {
		return control.ProxyV2
	}
	return ""
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
		entries[i] = d.entry(&infos[i])
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
	return d.entry(&info), nil
}

func (d *daemon) entry(s *nat.ServiceInfo) control.ServiceEntry {
	e := control.ServiceEntry{
		Service:    serviceOf(&s.ServiceSpec),
		Stats:      stats(&s.Counters, &s.Rates),
		LifeCounts: lifeCounts(&s.LifeCounts),
		Servers:    make([]control.ServerEntry, len(s.Servers)),
	}
	for i := range s.Servers {
		e.Servers[i] = d.serverEntry(&s.Servers[i])
	}
	for i := range s.Removed {
		e.Removed = append(e.Removed, d.serverEntry(&s.Removed[i]))
	}
	return e
}

// serviceOf is the inverse of serviceSpec.
func serviceOf(s *nat.ServiceSpec) control.Service {
	return control.Service{
		ServiceID: serviceID(s.Key),
		Scheduler: s.Scheduler,
		Flags:     serviceFlags(s),
		Timeout:   s.Timeout,
		Netmask:   control.Netmask(s.Netmask),
		PE:        s.PE,

		MHTableSize: uint32(s.Tuning.MHTableSize),
		LRTHalfLife: uint32(s.Tuning.LRTHalfLife.Milliseconds()),
		Life:        life.Of(s.Life),

		ProxyProtocol: proxyProtocol(s.ProxyProtocol),
	}
}

func (d *daemon) serverEntry(v *nat.ServerInfo) control.ServerEntry {
	ap := nat.AddrPort(v.Key.Addr, v.Key.Port)
	e := control.ServerEntry{
		RealServer: control.RealServer{
			Address: ap.Addr(), Port: ap.Port(), Method: methodName(v.Method), Weight: v.Weight,
			UThreshold: v.Upper, LThreshold: v.Lower, Pool: v.Pool,
		},
		Active: uint32(v.Active), Inactive: uint32(v.Inactive), Persistent: uint32(v.Persistent), Stats: stats(&v.Counters, &v.Rates),
		State: serverState(v.Event), LifeCounts: lifeCounts(&v.LifeCounts),
	}
	setTunnel(&e.RealServer, v.Tunnel)
	if v.Deadline != 0 {
		left := uint32(max(v.Deadline-d.now(), 0) / 1e9)
		e.Deadline = &left
	}
	return e
}

func stats(c *nat.Counters, r *nat.Rates) control.Stats {
	return control.Stats{
		Conns: c.Conns, InPkts: c.InPkts, OutPkts: c.OutPkts, InBytes: c.InBytes, OutBytes: c.OutBytes,
		CPS: r.CPS, InPPS: r.InPPS, OutPPS: r.OutPPS, InBPS: r.InBPS, OutBPS: r.OutBPS,
	}
}

// Connections implements [control.Director].
func (d *daemon) Connections(cursor uint64, buf []control.Connection) (n int, next uint64) {
	now := d.now()
	table := d.engine.Table()
	next = table.Scan(cursor, len(buf), func(c *conntrack.Conn) {
		home := table.HomeOf(c)
		twin := table.Copy(c)
		buf[n] = connection(&twin, now)
		if local, port := home.Local(c); port != 0 {
			buf[n].Local = nat.AddrPort(*local, port)
		}
		if data := home.Data(c, nil); data != nil {
			buf[n].PE, buf[n].PEData = nat.PESIP, string(data)
		}
		n++
	})
	return n, next
}

// connection puts a connection in the words of the control API.
func connection(c *conntrack.Copy, now int64) control.Connection {
	told := control.Connection{
		Protocol:    control.ProtocolOf(c.Proto),
		Client:      nat.AddrPort(c.Client, c.ClientPort),
		Virtual:     nat.AddrPort(c.Virtual, c.VirtualPort),
		Destination: nat.AddrPort(c.Dest, c.DestPort),
		State:       c.StateName(),
		Age:         uint32(max(now-c.Created, 0) / 1e9),
		Expires:     uint32(max(c.Expires-now, 0) / 1e9),
		Method:      methodName(c.Method()),
		Template:    c.Flags&conntrack.Template != 0,
		FWMark:      c.Mark,
		InPkts:      c.InPkts,
		InBytes:     c.InBytes,
		OutBytes:    c.OutBytes,
		Why:         c.Why().String(),
	}
	switch c.Proto {
	case wire.ProtoICMP:
		told.Protocol = control.ICMP
	case wire.ProtoICMPv6:
		told.Protocol = control.ICMPv6
	}
	return told
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

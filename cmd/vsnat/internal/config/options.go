package config

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/sched"
)

// options are what [defaults] and a service may both say. A service has those of
// [defaults] that it does not say itself; but with a scheduler of its own it has
// none of the other scheduler's options, and with a method none of the other
// method's.
type options struct {
	scheduler   string
	flags       []*node // names
	mhTableSize uint32
	lrtHalfLife uint32 // milliseconds

	persistent uint32 // seconds; 0 is not
	netmask    *netmask
	engine     string
	onePacket  bool
	proxy      bool
	latency    bool
	life       *lifeSaid

	server serverOptions
}

// netmask is the granularity of persistence.
type netmask struct {
	at     span
	mask   control.Netmask // IPv4, if dotted
	dotted bool
	bits   int // else
}

// serverOptions are what [defaults], a service and a server may all say.
type serverOptions struct {
	method       control.Method
	pool         string
	poolAt       span
	weight       int32
	upper, lower uint32
	tunnel       tunnel
}

type tunnel struct {
	kind     control.TunnelType
	port     uint16
	checksum control.TunnelChecksum
}

// firstOptions are the options where nothing is said.
func firstOptions() options {
	return options{scheduler: DefaultScheduler, server: serverOptions{method: control.Masq, weight: DefaultWeight}}
}

// tunnelKeys are the options of the method tunnel.
var tunnelKeys = []string{"tunnel_type", "tunnel_port", "tunnel_checksum"}

// fields returns the keys of these options in table t, for a table with more.
func (r *reader) optionFields(t *node, o *options) fields {
	if t.get("scheduler") != nil {
		o.flags, o.mhTableSize, o.lrtHalfLife = nil, 0, 0
	}
	o.server.newMethod(t)
	f := r.serverFields(&o.server)
	f["scheduler"] = func(e *entry) {
		if s, ok := r.oneOf(e.value, "scheduler", append(sched.Names(), sched.None)); ok {
			o.scheduler = s
		}
	}
	f["scheduler_flags"] = func(e *entry) {
		o.flags = nil
		r.each(e, func(n *node) {
			if _, ok := r.oneOf(n, "scheduler flag", flagNames()); ok {
				o.flags = append(o.flags, n)
			}
		})
	}
	f["mh_table_size"] = func(e *entry) {
		if v, ok := r.number(e.value, 0, 1<<31-1); ok {
			o.mhTableSize = uint32(v)
		}
	}
	f["lrt_half_life"] = func(e *entry) {
		if v, ok := r.duration(e.value, time.Millisecond, time.Millisecond, 24*time.Hour); ok {
			o.lrtHalfLife = uint32(v.Milliseconds())
		}
	}
	f["persistent"] = func(e *entry) { r.persistent(e.value, o) }
	f["netmask"] = func(e *entry) { r.netmask(e.value, o) }
	f["persistence_engine"] = func(e *entry) {
		if s, ok := r.oneOf(e.value, "persistence engine", []string{"sip"}); ok {
			o.engine = s
		}
	}
	f["one_packet"] = func(e *entry) {
		if v, ok := r.bool(e.value); ok {
			o.onePacket = v
		}
	}
	f["proxy_protocol"] = func(e *entry) {
		if v, ok := r.bool(e.value); ok {
			o.proxy = v
		}
	}
	f["life"] = func(e *entry) { r.life(e, o) }
	f["latency"] = func(e *entry) {
		if v, ok := r.bool(e.value); ok {
			o.latency = v
		}
	}
	return f
}

func (r *reader) persistent(n *node, o *options) {
	if n.kind == kindBool {
		if o.persistent = 0; n.flag {
			o.persistent = DefaultPersistence
		}
		return
	}
	if n.kind != kindString {
		r.wrong(n, `true, false, or how long a client stays with its server: "6m"`)
		return
	}
	if d, ok := r.duration(n, time.Second, time.Second, maxTimeout); ok {
		o.persistent = uint32(d / time.Second)
	}
}

func (r *reader) netmask(n *node, o *options) {
	switch n.kind {
	case kindInteger:
		if v, ok := r.number(n, 0, 128); ok {
			o.netmask = &netmask{at: n.at, bits: int(v)}
		}
	case kindString:
		a, err := netip.ParseAddr(n.text)
		if err != nil || !a.Is4() {
			r.errorf(n.at, `%q is no netmask; write the length of a prefix, such as 24, or "255.255.255.0"`, n.text)
			return
		}
		m := &netmask{at: n.at, dotted: true}
		_ = m.mask.UnmarshalText([]byte(n.text)) // it is an IPv4 address
		o.netmask = m
	default:
		r.wrong(n, `the length of a prefix, such as 24, or "255.255.255.0"`)
	}
}

// mask returns the granularity for a family, complaining if there is none such.
func (r *reader) mask(m *netmask, family control.Family) control.Netmask {
	if m == nil {
		if family == control.IPv6 {
			return 128
		}
		return control.FullMask
	}
	switch {
	case family == control.IPv6 && m.dotted:
		r.errorf(m.at, "a dotted netmask is for IPv4; write the length of a prefix, 1 to 128")
	case family == control.IPv6 && m.bits == 0:
		r.errorf(m.at, "the netmask of an IPv6 service is 1 to 128")
	case family == control.IPv6:
		return control.Netmask(m.bits)
	case m.dotted:
		return m.mask
	case m.bits > 32:
		r.errorf(m.at, "%d is too long for IPv4: the netmask is 0 to 32", m.bits)
	default:
		return control.Netmask(^uint32(0) << (32 - m.bits)) // 0 for 0
	}
	return control.FullMask
}

// newMethod leaves out what belongs to another method, if table t says its own.
func (o *serverOptions) newMethod(t *node) {
	if t.get("method") != nil {
		o.tunnel, o.pool = tunnel{}, ""
	}
}

// serverFields returns the keys of these options.
func (r *reader) serverFields(o *serverOptions) fields {
	return fields{
		"pool": func(e *entry) {
			if s, ok := r.text(e.value, "the name of a pool"); ok {
				o.pool, o.poolAt = s, e.at
				r.poolUsers = append(r.poolUsers, poolUser{s, e.value.at})
			}
		},
		"method": func(e *entry) {
			if s, ok := r.oneOf(e.value, "forwarding method", []string{string(control.Masq), string(control.Direct), string(control.Tunnel), string(control.Full)}); ok {
				o.method = control.Method(s)
			}
		},
		"weight": func(e *entry) {
			if v, ok := r.number(e.value, 0, maxWeight); ok {
				o.weight = int32(v)
			}
		},
		"upper_threshold": func(e *entry) {
			if v, ok := r.number(e.value, 0, maxThreshold); ok {
				o.upper = uint32(v)
			}
		},
		"lower_threshold": func(e *entry) {
			if v, ok := r.number(e.value, 0, maxThreshold); ok {
				o.lower = uint32(v)
			}
		},
		"tunnel_type": func(e *entry) {
			if s, ok := r.oneOf(e.value, "tunnel type", []string{string(control.IPIP), string(control.GUE), string(control.GRE)}); ok {
				o.tunnel.kind = control.TunnelType(s)
			}
		},
		"tunnel_port": func(e *entry) {
			if v, ok := r.number(e.value, 1, 65535); ok {
				o.tunnel.port = uint16(v)
			}
		},
		"tunnel_checksum": func(e *entry) {
			if s, ok := r.oneOf(e.value, "tunnel checksum", []string{string(control.NoChecksum), string(control.Checksum), string(control.RemoteChecksum)}); ok {
				o.tunnel.checksum = control.TunnelChecksum(s)
			}
		},
	}
}

// flagNames are the names of the schedulers' flags.
func flagNames() []string {
	names := make([]string, len(control.SchedulerFlags))
	for i, f := range control.SchedulerFlags {
		names[i] = f.Name
	}
	return names
}

// checkScheduler checks what goes with the service's scheduler, and returns the
// flags.
func (r *reader) checkScheduler(t *node, o *options) (flags control.ServiceFlags) {
	for _, n := range o.flags {
		i := slices.IndexFunc(control.SchedulerFlags, func(f control.SchedulerFlag) bool { return f.Name == n.text })
		f := control.SchedulerFlags[i]
		if f.Scheduler != "" && f.Scheduler != o.scheduler {
			r.errorf(n.at, "%s is for the scheduler %s, and this service has %s", f.Name, f.Scheduler, o.scheduler)
			continue
		}
		flags |= f.Flag
	}
	for _, option := range []struct{ key, scheduler string }{{"mh_table_size", "mh"}, {"lrt_half_life", "lrt"}} {
		if e := t.get(option.key); e != nil && o.scheduler != option.scheduler {
			r.errorf(e.at, "%s is for the scheduler %s, and this service has %s", option.key, option.scheduler, o.scheduler)
		}
	}
	if o.scheduler != "mh" {
		o.mhTableSize = 0
	}
	if o.scheduler != "lrt" {
		o.lrtHalfLife = 0
	}
	if _, err := sched.NewWith(o.scheduler, sched.Options{MHTableSize: int(o.mhTableSize)}); err != nil {
		if e := t.get("mh_table_size"); e != nil {
			r.errorf(e.value.at, "%s", strings.TrimPrefix(err.Error(), "sched: "))
		}
	}
	return flags
}

package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"vsnat/cmd/vsnat/internal/control"
)

// listen is one virtual service that a service asks for.
type listen struct {
	at span
	id control.ServiceID
}

// serviceTables reads [service.NAME].
func (r *reader) serviceTables(e *entry) {
	if e.value.kind != kindTable {
		at := e.at
		if e.value.tables {
			at = e.value.items[0].at
		}
		r.errorf(at, "a service has a name: write [service.NAME]")
		return
	}
	for _, e := range e.value.entries {
		if e.value.kind != kindTable {
			r.errorf(e.at, "%s is %s; a service is a table: [service.%s]", e.key, e.value.kind, Quote(e.key))
			continue
		}
		r.service(e)
	}
}

// service reads [service.NAME].
func (r *reader) service(e *entry) {
	t, o := e.value, r.defaults
	var listens []listen
	var servers []*node
	var mark uint32
	var family control.Family
	f := r.optionFields(t, &o)
	f["listen"] = func(e *entry) {
		r.each(e, func(n *node) {
			if id, ok := r.listen(n); ok {
				listens = append(listens, listen{n.at, id})
			}
		})
	}
	f["mark"] = func(e *entry) {
		if v, ok := r.number(e.value, 1, 1<<32-1); ok {
			mark = uint32(v)
			r.markUsers = append(r.markUsers, markUser{mark, e.value.at})
		}
	}
	f["family"] = func(e *entry) {
		if s, ok := r.oneOf(e.value, "address family", []string{string(control.IPv4), string(control.IPv6)}); ok {
			family = control.Family(s)
		}
	}
	f["server"] = func(e *entry) { r.each(e, func(n *node) { servers = append(servers, n) }) }
	r.table(t, "[service."+Quote(e.key)+"]", f)

	has := func(key string) *entry { return t.get(key) }
	switch {
	case has("listen") != nil && has("mark") != nil:
		r.errorf(has("mark").at, "a service has listen or mark, not both: make it two services")
	case has("listen") == nil && has("mark") == nil && !r.broken:
		r.errorf(e.at, `service %s says nowhere what it listens at; add listen = "ADDRESS:PORT", or mark = NUMBER`, e.key)
	}
	if fam := has("family"); fam != nil && has("mark") == nil {
		r.errorf(fam.at, "family is for a service with a mark: an address tells its own")
	}
	if l := has("listen"); l != nil && l.value.kind == kindArray && len(l.value.items) == 0 {
		r.errorf(l.value.at, "the list is empty: write where the service listens")
	}
	if len(servers) == 0 && !r.broken {
		r.warnf(e.at, "service %s has no servers: its clients are refused", e.key)
	}
	s := r.serverList(t, o.server, servers)
	if mark != 0 {
		if family == "" {
			family = markFamily(s)
		}
		listens = append(listens, listen{has("mark").value.at, control.ServiceID{Family: family, FWMark: mark}})
	}
	flags := r.checkScheduler(t, &o)
	r.checkPersistence(t, &o)
	service := Service{Name: e.key}
	for _, l := range listens {
		service.Virtual = append(service.Virtual, r.virtual(t, l, &o, flags, s))
	}
	r.cfg.Services = append(r.cfg.Services, service)
}

// listen reads ADDRESS:PORT or ADDRESS:PORT/PROTOCOL.
func (r *reader) listen(n *node) (id control.ServiceID, ok bool) {
	s, ok := r.text(n, `"ADDRESS:PORT" or "ADDRESS:PORT/PROTOCOL", such as "192.0.2.1:53/udp"`)
	if !ok {
		return id, false
	}
	s, protocol, named := strings.Cut(s, "/")
	id.Protocol = control.TCP
	if named {
		id.Protocol = control.Protocol(strings.ToLower(protocol))
		if id.Protocol.Number() == 0 {
			r.errorf(n.at, "unknown protocol %q; choose tcp, udp or sctp", protocol)
			return id, false
		}
	}
	ap, _, ok := r.endpoint(n, s)
	id.Address, id.Port, id.Family = ap.Addr(), ap.Port(), control.FamilyOf(ap.Addr())
	return id, ok
}

// markFamily is the family of a mark's service that does not say it: that of its
// first server.
func markFamily(servers []server) control.Family {
	if len(servers) > 0 {
		return control.FamilyOf(servers[0].address)
	}
	return control.IPv4
}

// checkPersistence checks what goes with persistence.
func (r *reader) checkPersistence(t *node, o *options) {
	for _, key := range []string{"netmask", "persistence_engine"} {
		if e := t.get(key); e != nil && o.persistent == 0 && t.get("persistent") == nil {
			r.errorf(e.at, `%s is for persistent services; add persistent = "6m", or leave it out`, key)
		}
	}
}

// virtual returns the virtual service of one address and port, checked.
func (r *reader) virtual(t *node, l listen, o *options, flags control.ServiceFlags, servers []server) Virtual {
	v := Virtual{Latency: o.latency, Service: control.Service{
		ServiceID: l.id, Scheduler: o.scheduler, Flags: flags,
		Netmask: r.mask(nil, l.id.Family), Life: r.lifeOf(o.life, &l.id), MHTableSize: o.mhTableSize, LRTHalfLife: o.lrtHalfLife,
	}}
	if o.persistent > 0 {
		v.Flags |= control.Persistent
		v.Timeout, v.Netmask, v.PE = o.persistent, r.mask(o.netmask, l.id.Family), o.engine
	}
	if o.onePacket {
		v.Flags |= control.OnePacket
		if l.id.FWMark == 0 && l.id.Protocol != control.UDP {
			r.errorf(l.at, "one_packet is for UDP, and this is %s: make it a service of its own", l.id.Protocol)
		}
	}
	if o.proxy && (l.id.FWMark != 0 || l.id.Protocol == control.TCP) {
		v.ProxyProtocol = control.ProxyV2
	} else if o.proxy && t.get("proxy_protocol") != nil {
		r.errorf(l.at, "proxy_protocol is for TCP, and this is %s: make it a service of its own", l.id.Protocol)
	}
	if l.id.FWMark == 0 && l.id.Port == 0 && o.persistent == 0 && t.get("persistent") == nil {
		how := "a port"
		if l.id.Family == control.IPv6 {
			how = "a port as in [ADDRESS]:PORT" // who left the brackets out has got another address
		}
		r.errorf(l.at, `without a port the service takes all, which needs persistence: add %s, or persistent = "6m"`, how)
	}
	if o.latency {
		if r.measured++; r.measured == control.MostMeasured+1 {
			r.overAt = l.at
		}
	}
	name := l.id.String()
	if first, twice := r.services[name]; twice {
		r.errorf(l.at, "%s has a service already, at %s", name, first)
	} else {
		r.services[name] = l.at
	}
	v.Servers = r.serversOf(l, servers)
	return v
}

// serversOf returns the servers of one virtual service, checked against it.
func (r *reader) serversOf(l listen, servers []server) []control.RealServer {
	all := make([]control.RealServer, 0, len(servers))
	seen := r.seen
	clear(seen)
	for i := range servers {
		s := &servers[i]
		rs := s.RealServer
		rs.Address, rs.Port = s.address, s.port
		if s.port == 0 {
			rs.Port = l.id.Port
		}
		switch {
		case rs.Method != control.Tunnel && control.FamilyOf(rs.Address) != l.id.Family:
			r.errorf(s.at, "server %s is %s and its service %s is %s; only tunnels cross", rs.Address, familyName(rs.Address), l.id, l.id.Family)
		case rs.Method != control.Masq && rs.Method != control.Full && l.id.FWMark == 0 && rs.Port != l.id.Port:
			r.errorf(s.at, `method %s cannot change the port from %d to %d; leave the server's port out, or use "masq"`, rs.Method, l.id.Port, rs.Port)
		}
		key := netip.AddrPortFrom(rs.Address, rs.Port)
		if first, twice := seen[key]; twice {
			r.errorf(s.at, "server %s is there already, at %s", key, first)
			continue
		}
		seen[key] = s.at
		all = append(all, rs)
	}
	return all
}

func familyName(a netip.Addr) control.Family { return control.FamilyOf(a) }

// server is a server as the file has it, for all virtual services of a service.
type server struct {
	at      span
	address netip.Addr
	port    uint16 // 0 is that of the virtual service
	control.RealServer
}

// serverList reads the servers of the service in table t.
func (r *reader) serverList(t *node, defaults serverOptions, items []*node) []server {
	all := make([]server, 0, len(items))
	for _, n := range items {
		if s, ok := r.server(t, defaults, n); ok {
			all = append(all, s)
		}
	}
	if len(items) == 0 {
		// What the servers would have is checked all the same.
		r.checkServer([]*node{t}, span{}, &defaults)
	}
	return all
}

// server reads a server of the service in table t: its address, or a table.
func (r *reader) server(t *node, o serverOptions, n *node) (s server, ok bool) {
	const takes = `"ADDRESS", "ADDRESS:PORT" or a table: { address = "10.0.0.11", weight = 2 }`
	says := []*node{t} // tables that say something of it
	address := n
	switch n.kind {
	case kindTable:
		r.ownServerFields(n, &o)
		e := n.get("address")
		if e == nil {
			if !r.broken {
				r.errorf(n.at, `a server needs an address; add address = "ADDRESS" or "ADDRESS:PORT"`)
			}
			return s, false
		}
		address, says = e.value, []*node{n, t}
	case kindString:
	default:
		r.wrong(n, takes)
		return s, false
	}
	text, ok := r.text(address, takes)
	if !ok {
		return s, false
	}
	ap, _, ok := r.endpoint(address, text)
	if !ok {
		return s, false
	}
	r.checkServer(says, address.at, &o)
	return server{at: address.at, address: ap.Addr(), port: ap.Port(), RealServer: control.RealServer{
		Method: o.method, Weight: o.weight, UThreshold: o.upper, LThreshold: o.lower, Pool: o.pool,
		TunnelType: o.tunnel.kind, TunnelPort: o.tunnel.port, TunnelChecksum: o.tunnel.checksum,
	}}, true
}

// ownServerFields reads the keys of a server's table. What reads them is made
// once, and used for one server after another.
func (r *reader) ownServerFields(n *node, o *serverOptions) {
	if r.serverReads == nil {
		r.serverReads = r.serverFields(&r.serverSays)
		r.serverReads["address"] = nil
	}
	o.newMethod(n)
	r.serverSays = *o
	r.table(n, "a server", r.serverReads)
	*o = r.serverSays
}

// checkServer checks a server's options against one another. The tables say
// something of it, the nearest first; at is its place if they do not tell.
func (r *reader) checkServer(says []*node, at span, o *serverOptions) {
	where := func(keys ...string) (span, bool) {
		for _, t := range says {
			for _, key := range keys {
				if e := t.get(key); e != nil {
					return e.at, true
				}
			}
		}
		return at, at.src != nil
	}
	if o.lower > o.upper {
		if at, ok := where("lower_threshold", "upper_threshold"); ok {
			r.errorf(at, "lower_threshold %d is above upper_threshold %d", o.lower, o.upper)
		}
	}
	if o.method != control.Full && o.pool != "" {
		if at, ok := where("pool"); ok && o.poolAt == at {
			r.errorf(at, `pool is for method = "full", and here it is %q`, o.method)
		}
		o.pool = ""
	}
	if o.method != control.Tunnel {
		for _, t := range says {
			own := t.get("method") != nil
			for _, key := range tunnelKeys {
				if e := t.get(key); e != nil && (own || t == says[0]) {
					r.errorf(e.at, `%s is for method = "tunnel", and here it is %q`, key, o.method)
				}
			}
			if own {
				break // what is further out is for others
			}
		}
		o.tunnel = tunnel{}
		return
	}
	r.checkTunnel(where, o)
}

// checkTunnel checks the options of a tunnel, and fills in their defaults.
func (r *reader) checkTunnel(where func(...string) (span, bool), o *serverOptions) {
	tu := &o.tunnel
	if tu.kind == "" {
		tu.kind = control.IPIP
	}
	if tu.checksum == "" {
		tu.checksum = control.NoChecksum
	}
	complain := func(message string, keys ...string) {
		if at, ok := where(keys...); ok {
			r.errorf(at, "%s", message)
		}
	}
	switch {
	case tu.kind == control.GUE && tu.port == 0:
		complain("a GUE tunnel needs tunnel_port", "tunnel_type", "method")
	case tu.kind != control.GUE && tu.port != 0:
		complain(fmt.Sprintf("tunnel_port is for tunnel_type = \"gue\", and here it is %q", tu.kind), "tunnel_port")
	}
	if allowed := tunnelChecksums[tu.kind]; !slices.Contains(allowed, tu.checksum) {
		complain(fmt.Sprintf("a tunnel of type %s cannot have the checksum %s", tu.kind, tu.checksum), "tunnel_checksum")
	}
}

// tunnelChecksums are what each type of tunnel can have.
var tunnelChecksums = map[control.TunnelType][]control.TunnelChecksum{
	control.IPIP: {control.NoChecksum},
	control.GUE:  {control.NoChecksum, control.Checksum, control.RemoteChecksum},
	control.GRE:  {control.NoChecksum, control.Checksum},
}

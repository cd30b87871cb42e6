package nat

import (
	"maps"
	"math/bits"
	"net/netip"
	"slices"

	"vsnat/conntrack"
	"vsnat/nat/wire"
)

// Endpoints are what the guard must keep from the host's own stack. Port 0
// stands for all ports of the address.
type Endpoints struct {
	Services []Endpoint // destinations: VIP and port
	Servers  []Endpoint // sources: real server and port
	// Wide tells the packets of services that are too many to list, or not told
	// by destination alone, from the host's. Of those that no endpoint of Services
	// takes, the first Wide that takes one decides.
	Wide []Wide
	// Networks are masqueraded: what comes from them and is not to the host is not
	// the host's.
	Networks []netip.Prefix
	// Ports are those of pools, which Wide has too.
	Ports []PortRange
}

// Wide are packets that are the host's or, if not, of a service.
type Wide struct {
	Selector
	Host bool
}

// maxListed is how many endpoints of one mark rule are listed.
const maxListed = 1024

// Owned returns the endpoints of all services and servers, and of deleted
// ones that connections still refer to.
func (e *Engine) Owned() Endpoints {
	snap := e.snap.Load()
	return Endpoints{
		Services: slices.Collect(maps.Keys(snap.owned)),
		Servers:  slices.Collect(maps.Keys(snap.servers)),
		Wide:     snap.wide,
		Networks: snap.networks,
		Ports:    snap.ranges,
	}
}

// own adds what the service owns.
func (s *snapshot) own(svc *service, w *wides) {
	if svc.key.Mark == 0 {
		s.vips.add(svc.key.Addr)
	}
	spec := svc.spec.Load()
	for _, ep := range destinations(s.rules, s.helpers, spec) {
		s.owned[ep] = struct{}{}
	}
	w.add(spec)
}

// ownServer adds what a server of the service owns.
func (s *snapshot) ownServer(svc *service, d *dest) {
	s.backends.add(d.key.Addr)
	if conntrack.Method(d.method.Load()) == conntrack.Tunnel {
		s.tunnels[tunnelEnd(d.tunnel.load(), d.key.Addr)] = struct{}{}
	}
	for _, ep := range sources(s.rules, s.helpers, svc.spec.Load(), d.key) {
		s.servers[ep] = struct{}{}
	}
}

// destinations returns where packets for the service go, as far as it can be
// listed.
func destinations(rules []MarkRule, helpers helperPorts, spec *ServiceSpec) []Endpoint {
	return withIPsec(withoutIPsec(rules, helpers, spec))
}

func withoutIPsec(rules []MarkRule, helpers helperPorts, spec *ServiceSpec) (list []Endpoint) {
	k := &spec.Key
	if k.Mark == 0 {
		list = []Endpoint{{Proto: k.Proto, Addr: k.Addr, Port: k.Port}}
		if helpers.takesData(spec) {
			list = append(list, Endpoint{Proto: k.Proto, Addr: k.Addr, Port: k.Port - 1})
		}
		return list
	}
	for i := range rules {
		if rules[i].Mark == k.Mark && rules[i].of(k.V6) && listed(rules, i) {
			eps, _ := rules[i].list()
			list = append(list, eps...)
		}
	}
	return list
}

// listed reports whether rule i is told by its endpoints alone: what an earlier
// rule may mark otherwise is not.
func listed(rules []MarkRule, i int) bool {
	r := &rules[i]
	if slices.ContainsFunc(rules[:i], func(o MarkRule) bool { return o.Mark != r.Mark && o.overlaps(&r.Selector) }) {
		return false
	}
	_, ok := r.list()
	return ok
}

// wides gathers what services own that cannot be listed.
type wides struct {
	rules   []MarkRule
	helpers helperPorts
	marks   map[markKey]struct{} // of services
	data    []Wide               // FTP's data ports
}

func newWides(rules []MarkRule, helpers helperPorts) *wides {
	return &wides{rules: rules, helpers: helpers, marks: make(map[markKey]struct{})}
}

// add adds what the service owns.
func (w *wides) add(spec *ServiceSpec) {
	if spec.Key.Mark != 0 {
		w.marks[markKey{spec.Key.Mark, spec.Key.V6}] = struct{}{}
	} else if w.helpers.takesData(spec) {
		vip := AddrPort(spec.Key.Addr, 0).Addr()
		data := Wide{Selector: Selector{
			Dst: netip.PrefixFrom(vip, vip.BitLen()), Proto: spec.Key.Proto, FirstPort: unprivileged, LastPort: 65535,
		}}
		if !slices.Contains(w.data, data) {
			w.data = append(w.data, data)
		}
	}
}

// list returns all that was added, and before that the ports of pools. FTP's data ports come first, because a mark
// without service does not keep a packet from them.
func (w *wides) list(ports []PortRange) []Wide {
	var all []Wide
	for i := range ports {
		all = append(all, ports[i].wide())
	}
	all = append(all, w.data...)
	end := len(all) // after the last that is not the host's
	for i := range w.rules {
		for _, p := range w.parts(&w.rules[i]) {
			if !p.Host && listed(w.rules, i) {
				continue
			}
			if all = append(all, p); !p.Host {
				end = len(all)
			}
		}
	}
	return slices.Clip(all[:end])
}

// parts returns what a rule takes: in two parts if one address family is a
// service's and the other the host's.
func (w *wides) parts(r *MarkRule) (parts []Wide) {
	for _, v6 := range []bool{false, true} {
		if r.of(v6) {
			_, ours := w.marks[markKey{r.Mark, v6}]
			p := Wide{r.Selector, !ours}
			p.narrow(v6)
			parts = append(parts, p)
		}
	}
	if len(parts) == 2 && parts[0].Host == parts[1].Host {
		return []Wide{{r.Selector, parts[0].Host}}
	}
	return parts
}

// narrow leaves out of a selector of both address families all but one.
func (s *Selector) narrow(v6 bool) {
	switch {
	case s.Src.IsValid(), s.Dst.IsValid():
	case v6:
		s.Dst = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	default:
		s.Dst = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
}

// owns reports whether the guard keeps the packet, which the NIC received, from
// the host for its destination.
func (s *snapshot) owns(p *wire.Packet, nic int) bool {
	if has(s.owned, Endpoint{Proto: p.Proto, Addr: p.Dst, Port: p.DstPort}) {
		return true
	}
	if len(s.wide) == 0 {
		return false
	}
	src, dst := netip.AddrFrom16(p.Src).Unmap(), netip.AddrFrom16(p.Dst).Unmap()
	for i := range s.wide {
		if s.wide[i].matches(p, src, dst, nic) {
			return !s.wide[i].Host
		}
	}
	return false
}

// sources returns where replies of a server of the service come from: from its
// own port, or from the ports that clients ask for when connections keep those.
func sources(rules []MarkRule, helpers helperPorts, spec *ServiceSpec, server ServerKey) []Endpoint {
	k := &spec.Key
	ep := Endpoint{Proto: k.Proto, Addr: server.Addr, Port: server.Port}
	switch {
	case k.Mark != 0:
		if spec.Persistent {
			ep.Port = 0
		}
		var list []Endpoint
		for _, ep.Proto = range Protocols() {
			if slices.ContainsFunc(rules, func(r MarkRule) bool { return r.Mark == k.Mark && r.of(k.V6) && r.takes(ep.Proto) }) {
				list = append(list, ep)
			}
		}
		return withIPsec(list)
	case k.Port == 0, helpers.takesAnyServerPort(spec):
		ep.Port = 0
	case ep.Port == 0:
		ep.Port = k.Port
	}
	return withIPsec([]Endpoint{ep})
}

// list returns the endpoints that the selector stands for, unless it looks at
// more than the destination or they are too many.
func (s *Selector) list() (eps []Endpoint, ok bool) {
	if s.NIC != 0 || s.Src.IsValid() || !s.Dst.IsValid() {
		return nil, false
	}
	first, ports := int(s.FirstPort), int(s.LastPort)-int(s.FirstPort)+1
	if s.allPorts() {
		first, ports = 0, 1
	}
	protos := []uint8{s.Proto}
	if s.Proto == 0 {
		protos = Protocols()
	}
	free := s.Dst.Addr().BitLen() - s.Dst.Bits()
	if free >= bits.Len(maxListed) || ports*len(protos)<<free > maxListed {
		return nil, false
	}
	addr := s.Dst.Masked().Addr()
	for range 1 << free {
		for port := first; port < first+ports; port++ {
			for _, proto := range protos {
				eps = append(eps, Endpoint{Proto: proto, Addr: addr.As16(), Port: uint16(port)})
			}
		}
		addr = addr.Next()
	}
	return eps, true
}

// has reports whether the set has the endpoint, or its address with all ports.
func has(set map[Endpoint]struct{}, ep Endpoint) bool {
	if _, ok := set[ep]; ok {
		return true
	}
	ep.Port = 0
	_, ok := set[ep]
	return ok
}

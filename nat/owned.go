package nat

import (
	"maps"
	"math/bits"
	"net/netip"
	"slices"
)

// Endpoints are what the guard must keep from the host's own stack. Port 0
// stands for all ports of the address.
type Endpoints struct {
	Services []Endpoint // destinations: VIP and port
	Servers  []Endpoint // sources: real server and port
	// Wide are destinations of services that are too many to list, or not told
	// by destination alone: those of a mark's wide rules, and the data ports of
	// a persistent FTP service. The host sees those packets too.
	Wide []Selector
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
	}
}

// Endpoints returns what a service, there or not, owns or would own with these
// servers and the mark rules in force.
func (tx *Tx) Endpoints(spec ServiceSpec, servers ...ServerKey) Endpoints {
	spec.Key = spec.Key.identity()
	var o Endpoints
	o.Services, o.Wide = destinations(tx.e.rules, &spec)
	for _, k := range servers {
		o.Servers = append(o.Servers, sources(tx.e.rules, &spec, k)...)
	}
	return o
}

// own adds what the service owns.
func (s *snapshot) own(svc *service) {
	if svc.key.Mark == 0 {
		s.vips.add(svc.key.Addr)
	}
	list, wide := destinations(s.rules, svc.spec.Load())
	for _, ep := range list {
		s.owned[ep] = struct{}{}
	}
	for _, w := range wide {
		if !slices.Contains(s.wide, w) {
			s.wide = append(s.wide, w)
		}
	}
}

// ownServer adds what a server of the service owns.
func (s *snapshot) ownServer(svc *service, d *dest) {
	for _, ep := range sources(s.rules, svc.spec.Load(), d.key) {
		s.servers[ep] = struct{}{}
	}
}

// destinations returns where packets for the service go.
func destinations(rules []MarkRule, spec *ServiceSpec) (list []Endpoint, wide []Selector) {
	k := &spec.Key
	if k.Mark == 0 {
		list = []Endpoint{{Proto: k.Proto, Addr: k.Addr, Port: k.Port}}
		if spec.takesFTPData() {
			list = append(list, Endpoint{Proto: k.Proto, Addr: k.Addr, Port: ftpDataPort})
			vip := AddrPort(k.Addr, 0).Addr()
			wide = []Selector{{
				Dst: netip.PrefixFrom(vip, vip.BitLen()), Proto: k.Proto, FirstPort: unprivileged, LastPort: 65535,
			}}
		}
		return list, wide
	}
	for i := range rules {
		if r := &rules[i]; r.Mark == k.Mark {
			// What an earlier rule may mark otherwise is not told by this one alone.
			clear := !slices.ContainsFunc(rules[:i], func(o MarkRule) bool { return o.Mark != r.Mark && o.overlaps(&r.Selector) })
			if eps, ok := r.list(); ok && clear {
				list = append(list, eps...)
			} else {
				wide = append(wide, r.Selector)
			}
		}
	}
	return list, wide
}

// sources returns where replies of a server of the service come from: from its
// own port, or from the ports that clients ask for when connections keep those.
func sources(rules []MarkRule, spec *ServiceSpec, server ServerKey) []Endpoint {
	k := &spec.Key
	ep := Endpoint{Proto: k.Proto, Addr: server.Addr, Port: server.Port}
	switch {
	case k.Mark != 0:
		if spec.Persistent {
			ep.Port = 0
		}
		var list []Endpoint
		for _, ep.Proto = range []uint8{ProtoTCP, ProtoUDP} {
			if slices.ContainsFunc(rules, func(r MarkRule) bool { return r.Mark == k.Mark && r.takes(ep.Proto) }) {
				list = append(list, ep)
			}
		}
		return list
	case k.Port == 0, spec.takesFTPData():
		ep.Port = 0
	case ep.Port == 0:
		ep.Port = k.Port
	}
	return []Endpoint{ep}
}

// takesFTPData reports whether the service, that of FTP's control port, also
// takes the connections that clients open for passive FTP.
func (s *ServiceSpec) takesFTPData() bool {
	return s.Key.Proto == ProtoTCP && s.Key.Port == ftpPort && s.Persistent
}

// list returns the endpoints that the selector stands for, unless it looks at
// more than the destination or they are too many.
func (s *Selector) list() (eps []Endpoint, ok bool) {
	if s.NIC != 0 || s.Src.IsValid() || !s.Dst.IsValid() || !s.Dst.Addr().Is4() {
		return nil, false
	}
	first, ports := int(s.FirstPort), int(s.LastPort)-int(s.FirstPort)+1
	if s.allPorts() {
		first, ports = 0, 1
	}
	protos := []uint8{s.Proto}
	if s.Proto == 0 {
		protos = []uint8{ProtoTCP, ProtoUDP}
	}
	free := 32 - s.Dst.Bits()
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

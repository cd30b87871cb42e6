package nat

import (
	"maps"
	"slices"
)

// Endpoints are what the guard must keep from the host's own stack. Port 0
// stands for all ports of the address.
type Endpoints struct {
	Services []Endpoint // destinations: VIP and port
	Servers  []Endpoint // sources: real server and port
}

// Owned returns the endpoints of all services and servers, and of deleted
// ones that connections still refer to.
func (e *Engine) Owned() Endpoints {
	snap := e.snap.Load()
	return Endpoints{
		Services: slices.Collect(maps.Keys(snap.owned)),
		Servers:  slices.Collect(maps.Keys(snap.servers)),
	}
}

// serverEndpoint is where a server's replies come from: its port, or the ports
// that clients ask for when connections keep those.
func serverEndpoint(s *service, d *dest) Endpoint {
	ep := Endpoint{Proto: s.key.Proto, Addr: d.key.Addr, Port: d.key.Port}
	switch {
	case s.key.Port == 0, s.key.Port == ftpPort && s.spec.Load().Persistent:
		ep.Port = 0
	case ep.Port == 0:
		ep.Port = s.key.Port
	}
	return ep
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

package nat

import (
	"cmp"
	"slices"

	"vsnat/nat/wire"
)

// Near is a service that a packet missed by little.
type Near struct {
	Key ServiceKey
	Why Miss
}

// Miss is in what a packet missed a service.
type Miss uint8

// The misses, nearest first.
const (
	_           Miss = iota
	OtherProto       // address and port are the service's, the protocol is another
	PortBeside       // address and protocol are the service's, the port is another
	PortOfOther      // address alone is the service's
	OtherVIP         // protocol and port are the service's, the address is another
	Unmarked         // no rule gives the packet the service's firewall mark
)

// String returns in what it missed.
func (m Miss) String() string {
	if m > Unmarked {
		return "invalid"
	}
	return [...]string{"", "other protocol", "other port", "other protocol and port", "other address", "no rule gives the packet this mark"}[m]
}

// maxNear is how many are told.
const maxNear = 3

// near returns the services that a packet without one missed by least.
func (e *Engine) near(p *wire.Packet) []Near {
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []Near
	for _, s := range e.services {
		if why := missed(&s.key, p); why != 0 {
			all = append(all, Near{s.key, why})
		}
	}
	away := func(k ServiceKey) int { return max(int(k.Port)-int(p.DstPort), int(p.DstPort)-int(k.Port)) }
	slices.SortStableFunc(all, func(a, b Near) int {
		return cmp.Or(cmp.Compare(a.Why, b.Why), cmp.Compare(away(a.Key), away(b.Key)))
	})
	return all[:min(len(all), maxNear)]
}

func missed(k *ServiceKey, p *wire.Packet) Miss {
	proto, addr, port := k.Proto == p.Proto, k.Addr == p.Dst, k.Port == p.DstPort
	switch {
	case k.Mark != 0 && k.V6 == p.V6:
		return Unmarked
	case k.Mark != 0:
	case addr && port:
		return OtherProto
	case addr && proto:
		return PortBeside
	case addr:
		return PortOfOther
	case proto && port && is4(&k.Addr) != p.V6:
		return OtherVIP
	}
	return 0
}

package conformance

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"vsnat/nat"
)

// Seen is what one step did, as far as both sides must agree on it.
type Seen struct {
	// At is when the step was done, since the run began. The kernel's counts.
	At time.Duration `json:"at"`
	// Refused is the name of the errno that a command was refused with.
	Refused string `json:"refused,omitempty"`
	// Idle says that a real server had nothing to send on, as its connection
	// never reached one, or answers clients without the director.
	Idle bool `json:"idle,omitempty"`
	// Real is the real server that a client's packet went to, or the VIP by direct
	// routing.
	Real netip.AddrPort `json:"real,omitzero"`
	// Out are the packets that left, in words and with a checksum over all of
	// them.
	Out []string `json:"out,omitempty"`
	// Servers are those of the service that the step concerned, in list order.
	Servers []Server `json:"servers,omitempty"`
	// All is there after a step with Look.
	All *State `json:"all,omitempty"`
}

// Server is a real server's listing. The counters stand only in a State after
// a rest, as the kernel brings them up to date every two seconds.
type Server struct {
	Key        netip.AddrPort `json:"k"`
	Weight     int32          `json:"w"`
	Upper      uint32         `json:"x,omitempty"`
	Lower      uint32         `json:"y,omitempty"`
	Active     int32          `json:"a,omitempty"`
	Inactive   int32          `json:"i,omitempty"`
	Persistent int32          `json:"p,omitempty"`
	Counters   nat.Counters   `json:"c,omitzero"`
}

// Service is a virtual service's listing.
type Service struct {
	Key      string       `json:"key"` // as ipvsadm's arguments, with all options
	Counters nat.Counters `json:"c,omitzero"`
	Servers  []Server     `json:"servers,omitempty"`
}

// Conn is an entry of the connection table.
type Conn struct {
	Proto                 string `json:"proto"`
	Client, Virtual, Dest netip.AddrPort
	State                 string `json:"state"`
	Expires               int    `json:"expires"` // seconds
}

// State is everything, in an order of its own.
type State struct {
	Services []Service `json:"services"`
	Conns    []Conn    `json:"conns"`
}

func (c *Conn) compare(o *Conn) int {
	return cmp.Or(
		cmp.Compare(c.Proto, o.Proto), c.Client.Compare(o.Client), c.Virtual.Compare(o.Virtual),
		c.Dest.Compare(o.Dest), cmp.Compare(c.State, o.State), cmp.Compare(c.Expires, o.Expires),
	)
}

func (s *State) sort() {
	slices.SortFunc(s.Services, func(a, b Service) int { return cmp.Compare(a.Key, b.Key) })
	slices.SortFunc(s.Conns, func(a, b Conn) int { return a.compare(&b) })
}

// listing turns a server's figures into what is compared.
func listing(info *nat.ServerInfo, counters bool) Server {
	s := Server{
		Key:    nat.AddrPort(info.Key.Addr, info.Key.Port),
		Weight: info.Weight, Upper: info.Upper, Lower: info.Lower,
		Active: info.Active, Inactive: info.Inactive, Persistent: info.Persistent,
	}
	if counters {
		s.Counters = info.Counters
	}
	return s
}

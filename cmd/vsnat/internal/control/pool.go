package control

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
)

// Pool is a pool of the director's own addresses and ports, for servers of method
// [Full] and for networks that are masqueraded.
type Pool struct {
	Name string `json:"name"`
	// Addresses are addresses of the director; without any, a connection has the
	// address that the host itself would use towards where it goes.
	Addresses []netip.Addr `json:"addresses,omitempty"`
	FirstPort uint16       `json:"first_port"`
	LastPort  uint16       `json:"last_port"`
}

// Equal reports whether the pools are the same in everything.
func (p Pool) Equal(o Pool) bool {
	return p.Name == o.Name && p.FirstPort == o.FirstPort && p.LastPort == o.LastPort && slices.Equal(p.Addresses, o.Addresses)
}

// String returns the pool as "edge 192.0.2.1,192.0.2.2 ports 10000-29999".
func (p Pool) String() string {
	addrs := make([]string, len(p.Addresses))
	for i, a := range p.Addresses {
		addrs[i] = a.String()
	}
	where := strings.Join(addrs, ",")
	if where == "" {
		where = "by route"
	}
	return fmt.Sprintf("%s %s ports %d-%d", p.Name, where, p.FirstPort, p.LastPort)
}

// check reports what no pool can be. A pool that is only named has nothing else.
func (p *Pool) check(named bool) error {
	if p.Name == "" {
		return malformed(syscall.EINVAL, "a pool needs a name")
	}
	if named {
		return nil
	}
	for _, a := range p.Addresses {
		if err := checkAddress("pool "+p.Name, a); err != nil {
			return err
		}
	}
	if p.FirstPort == 0 || p.FirstPort > p.LastPort {
		return malformed(syscall.EINVAL, "pool %s: %d to %d is no range of ports", p.Name, p.FirstPort, p.LastPort)
	}
	return nil
}

// Masquerade is a network behind the director whose own connections to the outside
// have an address of the director's as source.
type Masquerade struct {
	Network netip.Prefix `json:"network"`
	NIC     string       `json:"nic,omitempty"`  // that they must leave by; any if left out
	Pool    string       `json:"pool,omitempty"` // the pool "default" if left out
}

// String returns the network as "10.0.0.0/24 --nic eth0 --pool edge".
func (m Masquerade) String() string {
	s := m.Network.String()
	if m.NIC != "" {
		s += " --nic " + m.NIC
	}
	if m.Pool != "" {
		s += " --pool " + m.Pool
	}
	return s
}

// check reports what no network can be, and masks it.
func (m *Masquerade) check() error {
	if !m.Network.IsValid() {
		return malformed(syscall.EINVAL, "%s is no network", m.Network)
	}
	if err := checkAddress("network", m.Network.Addr()); err != nil {
		return err
	}
	m.Network = m.Network.Masked()
	return nil
}

// poolsAnswer is the answer of GET /v1/pools, and the body of PUT.
type poolsAnswer struct {
	Pools []Pool `json:"pools"`
}

// masqueradesAnswer is the answer of GET /v1/masquerades, and the body of PUT.
type masqueradesAnswer struct {
	Masquerades []Masquerade `json:"masquerades"`
}

func (s *Server) putPools(w http.ResponseWriter, r *http.Request, _ url.Values) {
	var req poolsAnswer
	if done, ok := s.read(w, r, &req); ok {
		defer done()
		s.run(w, []Command{{Op: SetPools, Pools: req.Pools}}, Atomic)
	}
}

func (s *Server) putMasquerades(w http.ResponseWriter, r *http.Request, _ url.Values) {
	var req masqueradesAnswer
	if done, ok := s.read(w, r, &req); ok {
		defer done()
		s.run(w, []Command{{Op: SetMasquerades, Masquerades: req.Masquerades}}, Atomic)
	}
}

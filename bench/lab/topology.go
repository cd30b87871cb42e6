package lab

import (
	"fmt"
	"net/netip"
	"strings"
)

// Role says what a host is for.
type Role uint8

// The roles. The zero value is invalid.
const (
	_        Role = iota
	Client        // sends requests
	Director      // stands between clients and servers
	Server        // a real server
	Switch        // a bridge over all its NICs; has no address
)

// String returns the role's name in lower case.
func (r Role) String() string {
	switch r {
	case Client:
		return "client"
	case Director:
		return "director"
	case Server:
		return "server"
	case Switch:
		return "switch"
	}
	return fmt.Sprintf("role %d", uint8(r))
}

// MarshalText returns the role's name, for JSON.
func (r Role) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText takes a role's name.
func (r *Role) UnmarshalText(text []byte) error {
	for _, role := range []Role{Client, Director, Server, Switch} {
		if role.String() == string(text) {
			*r = role
			return nil
		}
	}
	return fmt.Errorf("lab: %q is no role: want client, director, server or switch", text)
}

// Topology is a cluster as it shall be built. It is plain data: append to the
// lists to change it.
type Topology struct {
	Name      string     `json:"name"`          // the cluster's; MAC addresses depend on it
	MTU       int        `json:"mtu,omitempty"` // bytes of IP packet, of every link that has none of its own; 0 is 1500
	Hosts     []HostSpec `json:"hosts"`
	Links     []Link     `json:"links"`
	Addresses []Address  `json:"addresses"`
	Routes    []Route    `json:"routes"`
	Sysctls   []Sysctl   `json:"sysctls"`
}

// HostSpec is one host: a network namespace.
type HostSpec struct {
	Name string `json:"name"`
	Role Role   `json:"role"`
}

// End is one end of a link: a NIC of a host.
type End struct {
	Host string `json:"host"`
	NIC  string `json:"nic"`
}

// Link is a cable between two hosts: a veth pair.
type Link struct {
	A   End `json:"a"`
	B   End `json:"b"`
	MTU int `json:"mtu,omitempty"` // bytes of IP packet; 0 is the topology's
}

// Address is an address with its prefix on a NIC, or on "lo".
type Address struct {
	End
	Prefix netip.Prefix `json:"prefix"`
	VIP    bool         `json:"vip,omitempty"` // clients know the cluster by it
}

// Route is a route of one host. Via may be invalid for a route without a
// gateway, NIC empty when the gateway tells it. MTU, if not 0, is for packets by
// this route, in bytes.
type Route struct {
	Host string       `json:"host"`
	To   netip.Prefix `json:"to"` // 0.0.0.0/0 or ::/0 is the default route
	Via  netip.Addr   `json:"via"`
	NIC  string       `json:"nic,omitempty"`
	MTU  int          `json:"mtu,omitempty"`
}

// Sysctl is a kernel setting of one host. Key is the path below /proc/sys, such
// as "net/ipv4/ip_forward".
type Sysctl struct {
	Host  string `json:"host"`
	Key   string `json:"key"`
	Value string `json:"value"`
}

// maxNIC is the longest name of an interface, IFNAMSIZ less the zero byte.
const maxNIC = 15

// bridge is the name of a switch's bridge.
const bridge = "br0"

// What an MTU can be: the least that IPv4 works with (RFC 791, 3.2) and the most
// that a veth takes (ETH_MAX_MTU).
const (
	minMTU = 68
	maxMTU = 65535
)

// Validate reports the first thing in t that cannot be built.
func (t *Topology) Validate() error {
	hosts := make(map[string]Role)
	for _, h := range t.Hosts {
		switch {
		case h.Name == "" || strings.ContainsAny(h.Name, "/ \t\n"):
			return fmt.Errorf("lab: host %q: a name has at least one letter, no space and no slash", h.Name)
		case h.Role < Client || h.Role > Switch:
			return fmt.Errorf("lab: host %s has no role", h.Name)
		case hosts[h.Name] != 0:
			return fmt.Errorf("lab: there are two hosts %s", h.Name)
		}
		hosts[h.Name] = h.Role
	}
	nics := make(map[End]bool)
	for name := range hosts {
		nics[End{name, "lo"}] = true
	}
	for _, l := range t.Links {
		if l.A.Host == l.B.Host {
			return fmt.Errorf("lab: link %s to %s: both ends are on one host", l.A.NIC, l.B.NIC)
		}
		if mtu := t.mtu(l); mtu < minMTU || mtu > maxMTU {
			return fmt.Errorf("lab: link %s to %s: its MTU is %d bytes: from %d to %d can be had", l.A.NIC, l.B.NIC, mtu, minMTU, maxMTU)
		}
		for _, e := range []End{l.A, l.B} {
			switch {
			case hosts[e.Host] == 0:
				return fmt.Errorf("lab: NIC %s: there is no host %q", e.NIC, e.Host)
			case e.NIC == "" || len(e.NIC) > maxNIC || strings.ContainsAny(e.NIC, "/ :\t\n") || e.NIC == bridge:
				return fmt.Errorf("lab: host %s: %q is no name for a NIC: 1 to %d bytes, no space, slash or colon, and not %s", e.Host, e.NIC, maxNIC, bridge)
			case nics[e]:
				return fmt.Errorf("lab: host %s has two NICs %s", e.Host, e.NIC)
			}
			nics[e] = true
		}
	}
	for _, a := range t.Addresses {
		if !nics[a.End] || !a.Prefix.IsValid() {
			return fmt.Errorf("lab: address %v: host %q has no NIC %q, or the address is not valid", a.Prefix, a.Host, a.NIC)
		}
		if hosts[a.Host] == Switch {
			return fmt.Errorf("lab: address %v: %s is a switch", a.Prefix, a.Host)
		}
	}
	for _, r := range t.Routes {
		switch {
		case hosts[r.Host] == 0:
			return fmt.Errorf("lab: route to %v: there is no host %q", r.To, r.Host)
		case !r.To.IsValid() || r.To != r.To.Masked():
			return fmt.Errorf("lab: route of %s: %v is no network", r.Host, r.To)
		case r.NIC != "" && !nics[End{r.Host, r.NIC}]:
			return fmt.Errorf("lab: route to %v: %s has no NIC %s", r.To, r.Host, r.NIC)
		case r.NIC == "" && !r.Via.IsValid():
			return fmt.Errorf("lab: route of %s to %v has neither a gateway nor a NIC", r.Host, r.To)
		}
	}
	for _, s := range t.Sysctls {
		if hosts[s.Host] == 0 {
			return fmt.Errorf("lab: sysctl %s: there is no host %q", s.Key, s.Host)
		}
		if !strings.HasPrefix(s.Key, "net/") || strings.Contains(s.Key, "..") {
			return fmt.Errorf("lab: host %s: %q is not the path of a network setting, such as net/ipv4/ip_forward", s.Host, s.Key)
		}
	}
	return nil
}

// Names returns the names of the hosts with a role, in order.
func (t *Topology) Names(r Role) []string {
	var names []string
	for _, h := range t.Hosts {
		if h.Role == r {
			names = append(names, h.Name)
		}
	}
	return names
}

// Addr returns a host's first address that is not on its loopback interface;
// it is invalid if there is none.
func (t *Topology) Addr(host string) netip.Addr {
	for _, a := range t.Addresses {
		if a.Host == host && a.NIC != "lo" {
			return a.Prefix.Addr()
		}
	}
	return netip.Addr{}
}

// mtu returns the MTU of a link in bytes of IP packet.
func (t *Topology) mtu(l Link) int {
	switch {
	case l.MTU != 0:
		return l.MTU
	case t.MTU != 0:
		return t.MTU
	}
	return 1500
}

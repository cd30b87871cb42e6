package ipvsadm

import (
	"bufio"
	"context"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"vsnat/cmd/vsnat/internal/control"
)

// Resolver turns names into numbers.
type Resolver interface {
	// Host returns the first IPv4 address of a host.
	Host(name string) (netip.Addr, bool)
	// Port returns the port of a service's name or alias.
	Port(name string, p control.Protocol) (uint16, bool)
}

// Names turns names into numbers and back.
type Names interface {
	Resolver
	// HostName returns the name of an address.
	HostName(netip.Addr) (string, bool)
	// PortName returns the name of a port.
	PortName(port uint16, p control.Protocol) (string, bool)
}

// SystemNames asks the system: its resolver and /etc/services. It remembers
// what it was told.
type SystemNames struct {
	hosts    map[netip.Addr]string // "" for none
	services *services
}

// Host implements [Resolver].
func (n *SystemNames) Host(host string) (netip.Addr, bool) {
	addrs, err := net.DefaultResolver.LookupNetIP(context.Background(), "ip4", host)
	if err != nil || len(addrs) == 0 {
		return netip.Addr{}, false
	}
	return addrs[0].Unmap(), true
}

// HostName implements [Names].
func (n *SystemNames) HostName(a netip.Addr) (string, bool) {
	name, ok := n.hosts[a]
	if !ok {
		if found, err := net.DefaultResolver.LookupAddr(context.Background(), a.String()); err == nil && len(found) > 0 {
			name = strings.TrimSuffix(found[0], ".")
		}
		if n.hosts == nil {
			n.hosts = make(map[netip.Addr]string)
		}
		n.hosts[a] = name
	}
	return name, name != ""
}

func (n *SystemNames) table() *services {
	if n.services == nil {
		n.services = &services{}
		// Without the file ports have no names, which is no error.
		if b, err := os.ReadFile("/etc/services"); err == nil {
			n.services = parseServices(string(b))
		}
	}
	return n.services
}

// Port implements [Resolver].
func (n *SystemNames) Port(name string, p control.Protocol) (uint16, bool) {
	port, ok := n.table().ports[portKey{name, p}]
	return port, ok
}

// PortName implements [Names].
func (n *SystemNames) PortName(port uint16, p control.Protocol) (string, bool) {
	name, ok := n.table().names[nameKey{port, p}]
	return name, ok
}

type portKey struct {
	name  string
	proto control.Protocol
}

type nameKey struct {
	port  uint16
	proto control.Protocol
}

// services is what services(5) says: name, port/protocol, aliases. Of several
// lines that fit the first counts.
type services struct {
	ports map[portKey]uint16
	names map[nameKey]string
}

func parseServices(text string) *services {
	s := &services{ports: make(map[portKey]uint16), names: make(map[nameKey]string)}
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		line, _, _ := strings.Cut(lines.Text(), "#")
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		number, proto, ok := strings.Cut(f[1], "/")
		port, err := strconv.ParseUint(number, 10, 16)
		if !ok || err != nil {
			continue
		}
		p := control.Protocol(proto)
		for i, name := range f {
			if i == 1 {
				continue
			}
			if _, ok := s.ports[portKey{name, p}]; !ok {
				s.ports[portKey{name, p}] = uint16(port)
			}
		}
		if _, ok := s.names[nameKey{uint16(port), p}]; !ok {
			s.names[nameKey{uint16(port), p}] = f[0]
		}
	}
	return s
}

// addressText returns an address as inet_ntop writes it: unlike Go it shows the
// last 32 bits of an IPv4-compatible IPv6 address dotted.
func addressText(a netip.Addr) string {
	if b := a.As16(); a.Is6() && word(a, 0) == 0 && word(a, 1) == 0 && word(a, 2) == 0 && (b[12] != 0 || b[13] != 0) {
		return "::" + netip.AddrFrom4([4]byte(b[12:])).String()
	}
	return a.String()
}

// maxName is how much of an address with its port ipvsadm keeps, in bytes.
const maxName = 59

// endpointName returns an address and port as listings show it. A protocol
// whose ports have no names shows their numbers.
func (a *app) endpointName(addr netip.Addr, port uint16, p control.Protocol, f format) string {
	host, service := addressText(addr), strconv.Itoa(int(port))
	if f&formatNumeric == 0 {
		if name, ok := a.names.HostName(addr); ok {
			host = name
		}
		if name, ok := a.names.PortName(port, p); ok {
			service = name
		}
	}
	if !addr.Is4() {
		host = "[" + host + "]"
	}
	return cut(host+":"+service, maxName)
}

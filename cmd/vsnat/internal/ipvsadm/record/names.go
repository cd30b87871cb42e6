package record

import (
	"net/netip"

	"vsnat/cmd/vsnat/internal/control"
)

// Names are the names that the recording machine had in /etc/hosts and in
// /etc/services.
type Names struct{}

var hosts = []struct {
	addr netip.Addr
	name string
}{
	{netip.MustParseAddr("127.0.0.1"), "localhost"},
	{netip.MustParseAddr("10.3.0.1"), "www.example.com"},
	{netip.MustParseAddr("10.3.0.1"), "www"},
	{netip.MustParseAddr("10.3.0.2"), "averyverylongname.example.com"},
	{netip.MustParseAddr("10.3.0.3"), "short"},
	{netip.MustParseAddr("fd00::78"), "six.example.com"},
	{netip.MustParseAddr("fd00::79"), "v6name"},
}

var ports = []struct {
	name  string
	port  uint16
	proto control.Protocol
}{
	{"domain", 53, control.TCP},
	{"domain", 53, control.UDP},
	{"http", 80, control.TCP},
	{"www", 80, control.TCP},
	{"https", 443, control.TCP},
	{"https", 443, control.UDP},
	{"sip", 5060, control.TCP},
	{"sip", 5060, control.UDP},
	{"http-alt", 8080, control.TCP},
	{"webcache", 8080, control.TCP},
	{"http-alt", 8080, control.UDP},
	{"tproxy", 8081, control.TCP},
}

// Host returns the first IPv4 address of a host.
func (Names) Host(host string) (netip.Addr, bool) {
	for _, h := range hosts {
		if h.name == host && h.addr.Is4() {
			return h.addr, true
		}
	}
	return netip.Addr{}, false
}

// HostName returns the name of an address.
func (Names) HostName(a netip.Addr) (string, bool) {
	for _, h := range hosts {
		if h.addr == a {
			return h.name, true
		}
	}
	return "", false
}

// Port returns the port of a service's name or alias.
func (Names) Port(name string, p control.Protocol) (uint16, bool) {
	for _, s := range ports {
		if s.name == name && s.proto == p {
			return s.port, true
		}
	}
	return 0, false
}

// PortName returns the name of a port.
func (Names) PortName(port uint16, p control.Protocol) (string, bool) {
	for _, s := range ports {
		if s.port == port && s.proto == p {
			return s.name, true
		}
	}
	return "", false
}

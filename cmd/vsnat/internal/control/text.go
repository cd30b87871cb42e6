package control

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// ServiceFlags are a service's flags with the kernel's numbers
// (include/uapi/linux/ip_vs.h, IP_VS_SVC_F_*). In JSON they are a list of names.
type ServiceFlags uint32

// The flags. Flag1 to Flag3 are the scheduler's affair: sh and mh call the
// first two fallback and port.
const (
	Persistent ServiceFlags = 0x01
	OnePacket  ServiceFlags = 0x04
	Flag1      ServiceFlags = 0x08
	Flag2      ServiceFlags = 0x10
	Flag3      ServiceFlags = 0x20
)

// flagNames are the JSON names in the order they are written.
var flagNames = []struct {
	flag ServiceFlags
	name string
}{
	{Persistent, "persistent"},
	{OnePacket, "one-packet"},
	{Flag1, "flag-1"},
	{Flag2, "flag-2"},
	{Flag3, "flag-3"},
}

// MarshalJSON writes the names of the flags that are set.
func (f ServiceFlags) MarshalJSON() ([]byte, error) {
	names := []string{}
	for _, n := range flagNames {
		if f&n.flag != 0 {
			names = append(names, n.name)
		}
	}
	return json.Marshal(names)
}

// UnmarshalJSON reads a list of names.
func (f *ServiceFlags) UnmarshalJSON(b []byte) error {
	var names []string
	if err := json.Unmarshal(b, &names); err != nil {
		return fmt.Errorf("flags are a list of names: %w", err)
	}
	*f = 0
	for _, name := range names {
		flag := ServiceFlags(0)
		for _, n := range flagNames {
			if n.name == name {
				flag = n.flag
			}
		}
		if flag == 0 {
			return fmt.Errorf("unknown service flag %q", name)
		}
		*f |= flag
	}
	return nil
}

// Netmask is an IPv4 mask or an IPv6 prefix length. Its text is dotted for a
// value above 128 and a plain number else, which loses nothing either way.
type Netmask uint32

// FullMask is the IPv4 mask of one address.
const FullMask Netmask = 0xffffffff

// String returns the text form.
func (m Netmask) String() string {
	if m <= 128 {
		return strconv.Itoa(int(m))
	}
	return netip.AddrFrom4([4]byte{byte(m >> 24), byte(m >> 16), byte(m >> 8), byte(m)}).String()
}

// MarshalText writes the text form.
func (m Netmask) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads either form.
func (m *Netmask) UnmarshalText(b []byte) error {
	if n, err := strconv.ParseUint(string(b), 10, 32); err == nil {
		*m = Netmask(n)
		return nil
	}
	a, err := netip.ParseAddr(string(b))
	if err != nil || !a.Is4() {
		return fmt.Errorf("netmask %q is neither a dotted mask nor a prefix length", b)
	}
	q := a.As4()
	*m = Netmask(q[0])<<24 | Netmask(q[1])<<16 | Netmask(q[2])<<8 | Netmask(q[3])
	return nil
}

// String returns what [ParseServiceID] reads: tcp:10.0.0.1:80, tcp:[fd00::1]:80,
// fwmark:7, or fwmark6:7 for a mark's IPv6 service.
func (id ServiceID) String() string {
	switch {
	case id.FWMark != 0 && id.Family == IPv6:
		return fmt.Sprintf("fwmark6:%d", id.FWMark)
	case id.FWMark != 0:
		return fmt.Sprintf("fwmark:%d", id.FWMark)
	}
	return fmt.Sprintf("%s:%s", id.Protocol, netip.AddrPortFrom(id.Address, id.Port))
}

// ParseServiceID reads the text form of a service's name.
func ParseServiceID(s string) (ServiceID, error) {
	kind, rest, _ := strings.Cut(s, ":")
	var id ServiceID
	switch kind {
	case "fwmark", "fwmark6":
		mark, err := strconv.ParseUint(rest, 10, 32)
		if err != nil || mark == 0 {
			return id, fmt.Errorf("firewall mark %q is not in 1..4294967295", rest)
		}
		id = ServiceID{Family: IPv4, FWMark: uint32(mark)}
		if kind == "fwmark6" {
			id.Family = IPv6
		}
	case string(TCP), string(UDP), string(SCTP):
		ap, err := netip.ParseAddrPort(rest)
		if err != nil {
			return id, fmt.Errorf("%q is not ADDRESS:PORT or [ADDRESS]:PORT", rest)
		}
		id = ServiceID{Protocol: Protocol(kind), Address: ap.Addr(), Port: ap.Port()}
	default:
		return id, fmt.Errorf("service %q begins with none of tcp:, udp:, sctp:, fwmark:, fwmark6: as it must", s)
	}
	if err := id.check(); err != nil {
		return ServiceID{}, err
	}
	return id, nil
}

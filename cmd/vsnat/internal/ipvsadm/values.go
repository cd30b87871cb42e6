package ipvsadm

import (
	"math"
	"net/netip"
	"strings"

	"vsnat/cmd/vsnat/internal/control"
)

// maxTimeout is the longest timeout, 31 days in seconds.
const maxTimeout = 31 * 86400

// defaultPersistence is the timeout of -p without a number, in seconds.
const defaultPersistence = 360

// strtol reads a decimal number as C's strtol does, blanks and sign in front
// allowed, and returns the rest of s. ok is false when there is no digit or
// the number does not fit 64 bits.
func strtol(s string) (n int64, rest string, ok bool) {
	s = strings.TrimLeft(s, " \t\n\v\f\r")
	neg := false
	if s != "" && (s[0] == '-' || s[0] == '+') {
		neg = s[0] == '-'
		s = s[1:]
	}
	u, i := uint64(0), 0
	for ; i < len(s) && isDigit(s[i]); i++ {
		d := uint64(s[i] - '0')
		if u > (math.MaxInt64-d)/10 {
			return 0, s, false
		}
		u = u*10 + d
	}
	n = int64(u)
	if neg {
		n = -n
	}
	return n, s[i:], i > 0
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// number reads a whole word as a number in min..max.
func number(s string, min, max int64) (int64, bool) {
	n, rest, ok := strtol(s)
	return n, ok && rest == "" && min <= n && n <= max
}

// parseTimeout reads seconds.
func parseTimeout(s string, min int64) (uint32, error) {
	n, ok := number(s, min, maxTimeout)
	if !ok {
		return 0, usage("invalid timeout value `%s' specified", s)
	}
	return uint32(n), nil
}

// parseMark reads a firewall mark.
func parseMark(s string) (uint32, error) {
	n, ok := number(s, 1, math.MaxUint32)
	if !ok {
		return 0, usage("invalid fwmark value `%s' specified", s)
	}
	return uint32(n), nil
}

// inetAton reads an IPv4 address as C's inet_aton does: one to four numbers,
// decimal, octal (0...) or hexadecimal (0x...), of which the last fills the
// bytes that are left; a blank ends it.
func inetAton(s string) (netip.Addr, bool) {
	var parts [4]uint64
	n := 0
	for {
		v, rest, ok := cNumber(s)
		if !ok || n == len(parts) {
			return netip.Addr{}, false
		}
		parts[n] = v
		n++
		s = rest
		if s == "" || strings.IndexByte(" \t\n\v\f\r", s[0]) >= 0 {
			break
		}
		if s[0] != '.' {
			return netip.Addr{}, false
		}
		s = s[1:]
	}
	addr := uint64(0)
	for _, p := range parts[:n-1] {
		if p > 255 {
			return netip.Addr{}, false
		}
		addr = addr<<8 | p
	}
	bits := 8 * (4 - (n - 1)) // of the last part
	last := parts[n-1]
	if last >= 1<<bits {
		return netip.Addr{}, false
	}
	addr = addr<<bits | last
	return netip.AddrFrom4([4]byte{byte(addr >> 24), byte(addr >> 16), byte(addr >> 8), byte(addr)}), true
}

// cNumber reads a C integer constant of at most 32 bits.
func cNumber(s string) (v uint64, rest string, ok bool) {
	base, digits := uint64(10), 0
	switch {
	case len(s) > 1 && s[0] == '0' && (s[1] == 'x' || s[1] == 'X'):
		base, s = 16, s[2:]
	case len(s) > 0 && s[0] == '0':
		base = 8
	}
	for ; s != ""; s = s[1:] {
		d := uint64(0)
		switch c := s[0]; {
		case isDigit(c):
			d = uint64(c - '0')
		case base == 16 && 'a' <= c|0x20 && c|0x20 <= 'f':
			d = uint64(c|0x20-'a') + 10
		default:
			return v, s, digits > 0
		}
		if d >= base {
			return v, s, false
		}
		if v = v*base + d; v > math.MaxUint32 {
			return v, s, false
		}
		digits++
	}
	return v, "", digits > 0
}

// parseIPv6 reads an IPv6 address as inet_pton does: without a zone.
func parseIPv6(s string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(s)
	return a, err == nil && a.Is6() && a.Zone() == ""
}

// parseIPv4 reads an IPv4 address or a host name.
func (a *app) parseIPv4(s string) (netip.Addr, bool) {
	if addr, ok := inetAton(s); ok {
		return addr, true
	}
	if strings.Trim(s, "0123456789.") == "" {
		return netip.Addr{}, false // looks like an address: no name server is asked
	}
	return a.names.Host(s)
}

// endpoint is an address that may come with a port.
type endpoint struct {
	addr    netip.Addr
	port    uint16
	hasPort bool
}

// parseEndpoint reads host[:port], [v6]:port or a bare IPv6 address. The
// protocol is for port names. A word of digits is refused, and so are brackets
// without a port.
func (a *app) parseEndpoint(s string, proto control.Protocol) (endpoint, bool) {
	if strings.Trim(s, "0123456789") == "" {
		return endpoint{}, false
	}
	var port string
	var e endpoint
	if inner, ok := strings.CutPrefix(s, "["); ok {
		if s, port, ok = strings.Cut(inner, "]"); !ok {
			return endpoint{}, false
		}
		if port, e.hasPort = strings.CutPrefix(port, ":"); !e.hasPort {
			return endpoint{}, false
		}
	}
	if addr, ok := parseIPv6(s); ok {
		e.addr = addr
	} else {
		// The port is the one after the host, even if brackets had another.
		e.hasPort = false
		if i := strings.LastIndexByte(s, ':'); i >= 0 {
			s, port, e.hasPort = s[:i], s[i+1:], true
		}
		if e.addr, ok = a.parseIPv4(s); !ok {
			return endpoint{}, false
		}
	}
	if !e.hasPort {
		return e, true
	}
	if n, ok := number(port, 0, 65535); ok {
		e.port = uint16(n)
		return e, true
	}
	var ok bool
	e.port, ok = a.names.Port(port, proto)
	return e, ok
}

// parseNetmask reads the argument of -M: a dotted mask, which may be a host
// name, or for IPv6 the length of a prefix, in which what follows the number
// does not count.
func (a *app) parseNetmask(s string, family control.Family) (control.Netmask, error) {
	if family == control.IPv6 {
		n, _, ok := strtol(s)
		if n = int64(int32(n)); !ok || n < 1 || n > 128 { // C keeps 32 bits
			return 0, usage("illegal ipv6 netmask specified")
		}
		return control.Netmask(n), nil
	}
	addr, ok := a.parseIPv4(s)
	if !ok {
		return 0, usage("illegal virtual server persistent mask specified")
	}
	return control.Netmask(word(addr, 0)), nil
}

// word returns the i-th 32-bit word of an address; an IPv4 address has one.
func word(a netip.Addr, i int) uint32 {
	b := a.AsSlice()
	if len(b) < 4*i+4 {
		return 0
	}
	b = b[4*i:]
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

// parseSchedFlags reads the argument of -b, a list with commas.
func parseSchedFlags(list, sched string) (control.ServiceFlags, error) {
	flags := control.ServiceFlags(0)
	names := strings.FieldsFunc(list, func(c rune) bool { return c == ',' })
	if len(names) == 0 {
		return 0, usage("invalid scheduler flag `%s'", list)
	}
	for _, name := range names {
		known := false
		for _, f := range control.SchedulerFlags {
			if f.Name != name {
				continue
			}
			if f.Scheduler != "" && f.Scheduler != sched {
				return 0, usage("incompatible scheduler flag `%s'", name)
			}
			flags |= f.Flag
			known = true
		}
		if !known {
			return 0, usage("invalid scheduler flag `%s'", name)
		}
	}
	return flags, nil
}

// schedFlagNames is the inverse: the names of the flags that are set, as the
// scheduler calls them, "" for flags it has no names for.
func schedFlagNames(flags control.ServiceFlags, sched string) string {
	if sched != "sh" && sched != "mh" {
		sched = ""
	}
	var names []string
	for _, f := range control.SchedulerFlags {
		if f.Scheduler == sched && flags&f.Flag != 0 {
			names = append(names, f.Name)
		}
	}
	return strings.Join(names, ",")
}

// cut returns at most n bytes of s.
func cut(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}

package config

import (
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/cmd/vsnat/internal/nearest"
)

// reader turns the tree into a Config.
type reader struct {
	*problems
	cfg    *Config
	broken bool // some part of the files is missing: what is not there may be in it

	defaults  options
	services  map[string]span // where each virtual service is, by its name
	marks     map[uint32]span // where the first rule of a mark is
	ruleAt    map[control.MarkRule]span
	markUsers []markUser
	addresses map[string]span // where each address is
	pools     map[string]span // where each pool is
	poolUsers []poolUser

	serverSays  serverOptions           // of the server that serverReads reads
	serverReads fields                  // the keys of a server's table
	seen        map[netip.AddrPort]span // the servers of the virtual service at hand

	networks map[netip.Prefix]span // where each network is that is masqueraded

	measured int  // virtual services that want a record of latency
	overAt   span // the first of them that there is no record for
}

// markUser is a service that needs a mark rule.
type markUser struct {
	mark uint32
	at   span
}

// fields are the keys of a table, each with what reads it. A key with nil is one
// that is read elsewhere.
type fields map[string]func(e *entry)

// table reads the keys of a table that is called what. Its keys are read in the
// order of the file.
func (r *reader) table(t *node, what string, known fields) {
	for _, e := range t.entries {
		read, ok := known[e.key]
		switch {
		case !ok:
			r.unknown(e, what, slices.Sorted(maps.Keys(known)))
		case read != nil && e.value.kind != kindBad:
			read(e)
		}
	}
}

// unknown complains of a key that is none.
func (r *reader) unknown(e *entry, what string, names []string) {
	if near := nearest.Of(strings.ReplaceAll(e.key, "-", "_"), names); near != "" {
		r.errorf(e.at, "unknown key %q in %s; did you mean %q?", e.key, what, near)
		return
	}
	if home := home[e.key]; home != "" {
		r.errorf(e.at, "unknown key %q in %s: it belongs in %s", e.key, what, home)
		return
	}
	r.errorf(e.at, "unknown key %q in %s; it has %s", e.key, what, strings.Join(names, ", "))
}

// wrong complains of a value of another kind than the key takes.
func (r *reader) wrong(n *node, takes string) {
	if n.kind != kindBad {
		r.errorf(n.at, "this is %s; write %s", n.kind, takes)
	}
}

// asTable returns the value if it is a table.
func (r *reader) asTable(e *entry) (*node, bool) {
	if e.value.kind == kindTable {
		return e.value, true
	}
	if e.value.tables {
		r.errorf(e.value.items[0].at, "there is only one %s: write [%s]", e.key, e.key)
		return nil, false
	}
	r.wrong(e.value, "a table: ["+e.key+"]")
	return nil, false
}

// each calls f with the items of a list, or with a single value.
func (r *reader) each(e *entry, f func(*node)) {
	if e.value.kind != kindArray {
		f(e.value)
		return
	}
	for _, n := range e.value.items {
		f(n)
	}
}

// text returns a string; takes says what is wanted, with an example.
func (r *reader) text(n *node, takes string) (string, bool) {
	if n.kind != kindString {
		r.wrong(n, takes)
		return "", false
	}
	return n.text, true
}

// number returns a number from min to max.
func (r *reader) number(n *node, min, max int64) (int64, bool) {
	if n.kind != kindInteger {
		r.wrong(n, bounds(min, max))
		return 0, false
	}
	if n.integer < min || n.integer > max {
		r.errorf(n.at, "%d is out of range: write %s", n.integer, bounds(min, max))
		return 0, false
	}
	return n.integer, true
}

func bounds(min, max int64) string { return fmt.Sprintf("a number, %d to %d", min, max) }

// bool returns true or false.
func (r *reader) bool(n *node) (v, ok bool) {
	if n.kind != kindBool {
		r.wrong(n, "true or false, without quotes")
		return false, false
	}
	return n.flag, true
}

// oneOf returns a string that is one of the names; what says of what.
func (r *reader) oneOf(n *node, what string, names []string) (string, bool) {
	s, ok := r.text(n, "one of "+strings.Join(names, ", "))
	if !ok {
		return "", false
	}
	if slices.Contains(names, s) {
		return s, true
	}
	if near := nearest.Of(strings.ToLower(s), names); near != "" {
		r.errorf(n.at, "unknown %s %q; did you mean %q?", what, s, near)
	} else {
		r.errorf(n.at, "unknown %s %q; choose one of %s", what, s, strings.Join(names, ", "))
	}
	return "", false
}

// duration returns a time such as "5s" from min to max, a multiple of unit.
func (r *reader) duration(n *node, unit, min, max time.Duration) (time.Duration, bool) {
	s, ok := r.text(n, `a time, such as "5s", "2m" or "1h30m"`)
	if !ok {
		return 0, false
	}
	d, err := parseDuration(s)
	if err != nil {
		r.errorf(n.at, `%q is no time; write a number and its unit, such as "5s", "2m", "1h30m" or "250ms"`, s)
		return 0, false
	}
	if d < min || d > max {
		r.errorf(n.at, "%s is out of range: from %s to %s", s, FormatDuration(min), FormatDuration(max))
		return 0, false
	}
	if d%unit != 0 {
		r.errorf(n.at, "%s is no multiple of %s", s, FormatDuration(unit))
		return 0, false
	}
	return d, true
}

// parseDuration is [time.ParseDuration] that knows days, as "7d".
func parseDuration(s string) (time.Duration, error) {
	days, rest, ok := strings.Cut(s, "d")
	if !ok {
		return time.ParseDuration(s)
	}
	n, err := strconv.ParseUint(days, 10, 16)
	if err != nil || n > math.MaxInt64/uint64(24*time.Hour)-1 {
		return 0, fmt.Errorf("%q is no number of days", days)
	}
	d := time.Duration(n) * 24 * time.Hour
	if rest == "" {
		return d, nil
	}
	more, err := time.ParseDuration(rest)
	if err == nil && (more < 0 || more >= 24*time.Hour) {
		err = fmt.Errorf("%q is no part of a day", rest)
	}
	return d + more, err
}

// FormatDuration returns a time as a file would have it: the shortest that
// [Load] reads as the same.
func FormatDuration(d time.Duration) string {
	if d > 0 && d%(24*time.Hour) == 0 {
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// address reads an IP address as packets can have it.
func (r *reader) address(n *node, s string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		r.errorf(n.at, "%q is no IP address; names are not looked up", s)
		return a, false
	}
	return a, r.plain(n, a)
}

// plain complains of addresses that vsnat cannot have.
func (r *reader) plain(n *node, a netip.Addr) bool {
	switch {
	case a.Is4In6():
		r.errorf(n.at, "%s is IPv4-mapped; write %s", a, a.Unmap())
	case a.Zone() != "":
		r.errorf(n.at, "%s has a zone, which packets have not; leave it out", a)
	default:
		return true
	}
	return false
}

// prefix reads a prefix, or an address as the prefix of one.
func (r *reader) prefix(n *node) (netip.Prefix, bool) {
	s, ok := r.text(n, `an address or prefix, such as "192.0.2.0/24"`)
	if !ok {
		return netip.Prefix{}, false
	}
	if !strings.Contains(s, "/") {
		a, ok := r.address(n, s)
		return netip.PrefixFrom(a, a.BitLen()), ok
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		r.errorf(n.at, `%q is no prefix; write ADDRESS/LENGTH, such as "192.0.2.0/24"; a length is at most 32, for IPv6 128`, s)
		return p, false
	}
	return p, r.plain(n, p.Addr())
}

// endpoint reads ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT; without a port it is 0.
func (r *reader) endpoint(n *node, s string) (ap netip.AddrPort, hasPort, ok bool) {
	host, port := s, ""
	if i := strings.LastIndexByte(s, ':'); i >= 0 && (strings.Count(s, ":") == 1 || strings.HasSuffix(s[:i], "]")) {
		host, port, hasPort = s[:i], s[i+1:], true
	}
	if inner, cut := strings.CutPrefix(host, "["); cut {
		if host, cut = strings.CutSuffix(inner, "]"); !cut || !strings.Contains(host, ":") {
			r.errorf(n.at, `%q: brackets are for IPv6 addresses, as in "[2001:db8::1]:80"`, s)
			return ap, false, false
		}
	}
	a, ok := r.address(n, host)
	if !ok || !hasPort {
		return netip.AddrPortFrom(a, 0), false, ok
	}
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil || p == 0 {
		r.errorf(n.at, "%q is no port; write a number, 1 to 65535", port)
		return ap, false, false
	}
	return netip.AddrPortFrom(a, uint16(p)), true, true
}

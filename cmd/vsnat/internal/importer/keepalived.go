package importer

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"vsnat/cmd/vsnat/internal/config"
	"vsnat/cmd/vsnat/internal/control"
)

// Why statements are not carried over.
const (
	whyHealth  = "vsnat does not check servers"
	whyVRRP    = "vsnat does not speak VRRP; keepalived may go on doing it"
	whyScript  = "vsnat runs no scripts"
	whyMail    = "vsnat sends no mail"
	whySorry   = "vsnat has no server for when all others are down"
	whyNothing = "this has no meaning for vsnat"
	whyUnknown = "vsnat does not know this"
	whyValue   = "this is no value that keepalived takes"
)

// keepalivedLost are statements by why they are lost.
var keepalivedLost = map[string]string{}

func init() {
	for why, words := range map[string]string{
		whyHealth: `delay_loop alpha omega quorum hysteresis warmup retry delay_before_retry connect_timeout inhibit_on_failure
			virtualhost ha_suspend nb_get_retry http_get ssl_get tcp_check smtp_check dns_check misc_check bfd_check udp_check
			ping_check file_check track_file bfd_instance ssl http_protocol`,
		whyScript:  "quorum_up quorum_down notify_up notify_down",
		whyMail:    "smtp_alert",
		whySorry:   "sorry_server sorry_server_inhibit sorry_server_lvs_method",
		whyNothing: "snmp_name nat_mask",
		whyVRRP: `vrrp_instance vrrp_sync_group vrrp_script vrrp_track_process vrrp_track_bfd vrrp_track_file static_ipaddress
			static_routes static_rules static_group garp_group linkbeat_interfaces`,
	} {
		for _, w := range strings.Fields(words) {
			keepalivedLost[w] = why
		}
	}
}

// loseStatement notes a statement that is not carried over.
func (b *builder) loseStatement(s *statement) {
	why := keepalivedLost[strings.ToLower(s.key())]
	if why == "" {
		why = whyUnknown
	}
	b.lose(s.line, s.String(), why)
}

// keepalived reads keepalived.conf.
func (b *builder) keepalived(text string) {
	all := blocks(text, b.lose)
	groups := map[string]*statement{}
	for _, s := range all {
		if s.key() == "virtual_server_group" {
			groups[s.arg(1)] = s
		}
	}
	for _, s := range all {
		switch s.key() {
		case "virtual_server_group": // read where it is used
		case "virtual_server":
			b.virtualServer(s, groups)
		case "global_defs":
			b.globalDefs(s)
		case "include":
			b.lose(s.line, s.String(), "import that file by itself")
		default:
			b.loseStatement(s)
		}
	}
}

// globalDefs takes the timeouts.
func (b *builder) globalDefs(s *statement) {
	for _, d := range s.block {
		if d.key() != "lvs_timeouts" {
			b.lose(d.line, d.String(), "of global_defs only lvs_timeouts is carried over")
			continue
		}
		for i := 1; i < len(d.words); i += 2 {
			to := map[string]*uint32{"tcp": &b.timeouts.TCP, "tcpfin": &b.timeouts.TCPFin, "udp": &b.timeouts.UDP}[d.words[i]]
			n, err := strconv.ParseUint(d.arg(i+1), 10, 32)
			if to == nil || err != nil || n < 1 || n > 31*86400 {
				b.lose(d.line, d.String(), whyValue)
				return
			}
			*to = uint32(n)
		}
	}
}

// virtual is a virtual_server block on its way.
type virtual struct {
	*builder
	at       *statement
	protocol control.Protocol
	options  control.Service
	mask     string // of persistence_granularity
	family   control.Family
	server   control.RealServer // what servers have that do not say otherwise
	servers  []server
}

// virtualServer reads virtual_server.
func (b *builder) virtualServer(s *statement, groups map[string]*statement) {
	v := &virtual{
		builder: b, at: s, protocol: control.TCP, options: control.Service{Scheduler: config.DefaultScheduler},
		server: control.RealServer{Method: control.Masq, Weight: config.DefaultWeight},
	}
	var reals []*statement
	for _, o := range s.block {
		if o.key() == "real_server" {
			reals = append(reals, o)
			continue
		}
		v.alone(o)
		if why := v.option(o); why != "" {
			b.lose(o.line, o.String(), why)
		}
	}
	for _, r := range reals {
		v.realServer(r)
	}
	if v.options.Flags&control.Persistent == 0 && v.mask != "" {
		b.lose(s.line, "persistence_granularity "+v.mask, "there is no persistence_timeout")
	}
	switch s.arg(1) {
	case "group":
		g := groups[s.arg(2)]
		if g == nil {
			b.lose(s.line, s.String(), "there is no such group")
			return
		}
		v.group(g)
	case "fwmark":
		v.mark(s, s.arg(2), v.family)
	default:
		ids, why := v.endpoints(s.arg(1), s.arg(2))
		if why != "" {
			b.lose(s.line, s.String(), why)
			return
		}
		v.add(s.line, "", ids)
	}
}

// group makes the services of a virtual_server_group: one of all its addresses
// of a family, one of each mark.
func (v *virtual) group(g *statement) {
	byFamily := map[control.Family][]control.ServiceID{}
	for _, s := range g.block {
		if s.key() == "fwmark" {
			family := v.family
			switch s.arg(2) {
			case "inet":
				family = control.IPv4
			case "inet6":
				family = control.IPv6
			}
			v.mark(s, s.arg(1), family)
			continue
		}
		ids, why := v.endpoints(s.key(), s.arg(1))
		if why != "" {
			v.lose(s.line, s.String(), why)
			continue
		}
		for _, id := range ids {
			byFamily[id.Family] = append(byFamily[id.Family], id)
		}
	}
	for _, family := range []control.Family{control.IPv4, control.IPv6} {
		if ids := byFamily[family]; len(ids) > 0 {
			v.add(g.line, g.arg(1), ids)
		}
	}
}

func (v *virtual) mark(s *statement, text string, family control.Family) {
	mark, err := strconv.ParseUint(text, 10, 32)
	if err != nil || mark == 0 {
		v.lose(s.line, s.String(), "a mark is 1 to 4294967295")
		return
	}
	if family == "" {
		family = control.IPv4
		if len(v.servers) > 0 && v.servers[0].Method != control.Tunnel {
			family = control.FamilyOf(v.servers[0].Address)
		}
	}
	v.add(s.line, "", []control.ServiceID{{Family: family, FWMark: uint32(mark)}})
}

// add adds a service at all of these.
func (v *virtual) add(line int, name string, ids []control.ServiceID) {
	o := v.options
	if o.Flags&control.Persistent != 0 {
		var ok bool
		if o.Netmask, ok = netmask(v.mask, ids[0].Family); !ok {
			v.lose(v.at.line, "persistence_granularity "+v.mask, whyValue)
		}
	}
	v.services = append(v.services, &service{line: line, name: clean(name), listen: ids, options: o, servers: append([]server(nil), v.servers...)})
}

// netmask reads a granularity, dotted or the length of a prefix; "" is one
// client.
func netmask(text string, family control.Family) (control.Netmask, bool) {
	full := control.FullMask
	if family == control.IPv6 {
		full = 128
	}
	if text == "" {
		return full, true
	}
	if a, err := netip.ParseAddr(text); err == nil && a.Is4() && family != control.IPv6 {
		return control.Netmask(binary.BigEndian.Uint32(a.AsSlice())), true
	}
	n, err := strconv.ParseUint(text, 10, 8)
	switch {
	case err != nil || n < 1 || n > 128 || family != control.IPv6 && n > 32:
		return full, false
	case family == control.IPv6:
		return control.Netmask(n), true
	}
	return control.Netmask(^uint32(0) << (32 - n)), true
}

// option takes a statement of virtual_server. It returns why it cannot.
func (v *virtual) option(s *statement) string {
	switch s.key() {
	case "lvs_sched", "lb_algo":
		v.options.Scheduler = s.arg(1)
	case "lvs_method", "lb_kind":
		return method(&v.server, s)
	case "protocol":
		p := control.Protocol(strings.ToLower(s.arg(1)))
		if p.Number() == 0 {
			return whyValue
		}
		v.protocol = p
	case "ops":
		v.options.Flags |= control.OnePacket
	case "persistence_timeout":
		n := uint64(config.DefaultPersistence)
		if len(s.words) > 1 {
			var err error
			if n, err = strconv.ParseUint(s.arg(1), 10, 32); err != nil || n < 1 || n > 31*86400 {
				return whyValue
			}
		}
		v.options.Flags |= control.Persistent
		v.options.Timeout = uint32(n)
	case "persistence_granularity":
		v.mask = s.arg(1)
	case "persistence_engine":
		v.options.PE = s.arg(1)
	case "ip_family":
		family, ok := map[string]control.Family{"inet": control.IPv4, "inet6": control.IPv6}[s.arg(1)]
		if !ok {
			return whyValue
		}
		v.family = family
	default:
		for _, f := range control.SchedulerFlags {
			if f.Name == s.key() {
				v.options.Flags |= f.Flag
				return ""
			}
		}
		v.loseStatement(s)
	}
	return ""
}

// single are the statements that take one value.
var single = strings.Fields("weight uthreshold lthreshold lvs_sched lb_algo protocol persistence_timeout persistence_granularity persistence_engine ip_family")

// alone notes what follows the value of a statement on its line, which keepalived
// does not read, and people take for another statement.
func (v *virtual) alone(s *statement) {
	if more := len(s.words) > 2; (more || s.open) && slices.Contains(single, s.key()) {
		rest := strings.Join(s.words[min(2, len(s.words)):], " ")
		if s.open {
			rest = strings.TrimSpace(rest + " { ... }")
		}
		v.lose(s.line, rest, "a statement begins on a line of its own")
	}
}

// method takes lvs_method NAT, DR or TUN with its type, port and checksum.
func method(to *control.RealServer, s *statement) string {
	m, ok := map[string]control.Method{"nat": control.Masq, "dr": control.Direct, "tun": control.Tunnel}[strings.ToLower(s.arg(1))]
	if !ok {
		return whyValue
	}
	to.Method, to.TunnelType, to.TunnelPort, to.TunnelChecksum = m, "", 0, ""
	if m != control.Tunnel {
		return ""
	}
	to.TunnelType, to.TunnelChecksum = control.IPIP, control.NoChecksum
	for i := 2; i < len(s.words); i++ {
		switch w := strings.ToLower(s.words[i]); w {
		case "type":
			i++
			to.TunnelType = control.TunnelType(strings.ToLower(s.arg(i)))
		case "port":
			i++
			n, err := strconv.ParseUint(s.arg(i), 10, 16)
			if err != nil {
				return whyValue
			}
			to.TunnelPort = uint16(n)
		case string(control.NoChecksum), string(control.Checksum), string(control.RemoteChecksum):
			to.TunnelChecksum = control.TunnelChecksum(w)
		default:
			return whyValue
		}
	}
	return ""
}

// realServer reads real_server.
func (v *virtual) realServer(s *statement) {
	ap, why := v.endpoint(s.arg(1), s.arg(2))
	if why != "" {
		v.lose(s.line, s.String(), why)
		return
	}
	rs := v.server
	rs.Address, rs.Port = ap.Addr(), ap.Port()
	number := func(o *statement, set func(uint32)) string {
		n, err := strconv.ParseUint(o.arg(1), 10, 31)
		if err != nil {
			return whyValue
		}
		set(uint32(n))
		return ""
	}
	for _, o := range s.block {
		v.alone(o)
		why := ""
		switch o.key() {
		case "weight":
			why = number(o, func(n uint32) { rs.Weight = int32(n) })
		case "uthreshold":
			why = number(o, func(n uint32) { rs.UThreshold = n })
		case "lthreshold":
			why = number(o, func(n uint32) { rs.LThreshold = n })
		case "lvs_method", "lb_kind":
			why = method(&rs, o)
		default:
			v.loseStatement(o)
		}
		if why != "" {
			v.lose(o.line, o.String(), why)
		}
	}
	v.servers = append(v.servers, server{s.line, rs})
}

// endpoint reads an address and a port, which may be left out.
func (v *virtual) endpoint(address, port string) (ap netip.AddrPort, why string) {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return ap, fmt.Sprintf("%q is no IP address", address)
	}
	p, why := v.portOf(port)
	return netip.AddrPortFrom(a, p), why
}

func (v *virtual) portOf(text string) (uint16, string) {
	if text == "" {
		return 0, ""
	}
	if n, err := strconv.ParseUint(text, 10, 16); err == nil {
		return uint16(n), ""
	}
	if p, ok := v.names.Port(text, v.protocol); ok {
		return p, ""
	}
	return 0, fmt.Sprintf("%q is no port", text)
}

// maxRange is how many addresses one range may have.
const maxRange = 1024

// endpoints reads an address or a range of addresses, and a port.
func (v *virtual) endpoints(text, port string) (ids []control.ServiceID, why string) {
	p, why := v.portOf(port)
	if why != "" {
		return nil, why
	}
	first, last, why := addressRange(text)
	if why != "" {
		return nil, why
	}
	for a := first; ; a = a.Next() {
		if len(ids) == maxRange {
			return nil, fmt.Sprintf("more than %d addresses", maxRange)
		}
		ids = append(ids, control.ServiceID{Family: control.FamilyOf(a), Protocol: v.protocol, Address: a, Port: p})
		if a == last {
			return ids, ""
		}
	}
}

// addressRange reads ADDRESS, FIRST-LAST, of which LAST may be the last part of
// an address only, or ADDRESS/LENGTH, which begins at the address.
func addressRange(text string) (first, last netip.Addr, why string) {
	bad := fmt.Sprintf("%q is neither an IP address nor a range", text)
	if from, to, ok := strings.Cut(text, "-"); ok {
		first, err := netip.ParseAddr(from)
		if err != nil {
			return first, last, bad
		}
		if !strings.ContainsAny(to, ".:") {
			sep := strings.LastIndexAny(from, ".:")
			to = from[:sep+1] + to
		}
		last, err := netip.ParseAddr(to)
		if err != nil || last.BitLen() != first.BitLen() || last.Zone() != first.Zone() || last.Less(first) {
			return first, last, bad
		}
		return first, last, ""
	}
	if p, err := netip.ParsePrefix(text); err == nil {
		last := p.Addr().AsSlice()
		for i := p.Bits(); i < 8*len(last); i++ {
			last[i/8] |= 0x80 >> (i % 8)
		}
		a, _ := netip.AddrFromSlice(last)
		return p.Addr(), a, ""
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return a, a, bad
	}
	return a, a, ""
}

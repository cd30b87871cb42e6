package importer

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"vsnat/cmd/vsnat/internal/control"
)

// ldirectordLost are keys by why they are lost.
var ldirectordLost = map[string]string{}

func init() {
	for why, words := range map[string]string{
		whyHealth: `checktimeout negotiatetimeout connecttimeout checkinterval checkcount failurecount checktype service checkcommand
			checkport request receive httpmethod virtualhost login passwd database secret load quiescent readdquiescent fork timeout
			maintenancedir`,
		whySorry:   "fallback fallback6",
		whyScript:  "fallbackcommand callback execute",
		whyMail:    "emailalert emailalertfreq emailalertstatus emailalertfrom smtp",
		whyNothing: "autoreload logfile supervised monitorfile comment cleanstop",
	} {
		for _, w := range strings.Fields(words) {
			ldirectordLost[w] = why
		}
	}
}

// pair is a line KEY = VALUE.
type pair struct {
	line       int
	key, value string
}

func (p pair) String() string {
	if p.value == "" {
		return p.key
	}
	if p.key == "passwd" || p.key == "secret" {
		return p.key + " = ..."
	}
	return p.key + " = " + p.value
}

// ldirectord reads ldirectord.cf: lines KEY = VALUE, of which those of a virtual
// service are indented, by four blanks or a tab, and follow it without a gap.
func (b *builder) ldirectord(text string) {
	var virtual *pair
	var options []pair
	end := func() {
		if virtual != nil {
			b.directed(*virtual, options)
		}
		virtual, options = nil, nil
	}
	n := 0
	for line := range strings.Lines(text) {
		n++
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		line = strings.ReplaceAll(strings.TrimRight(line, " \t\r\n"), "\t", "    ")
		indented := strings.HasPrefix(line, "    ") && strings.TrimSpace(line) != ""
		if indented {
			line, _, _ = strings.Cut(line, "#")
		} else {
			end()
		}
		key, value, _ := strings.Cut(line, "=")
		p := pair{n, strings.TrimSpace(key), strings.TrimSpace(value)}
		switch {
		case p.key == "":
		case indented && virtual != nil:
			options = append(options, p)
		case indented:
			b.lose(n, p.String(), "it is indented and follows no virtual service")
		case p.key == "virtual" || p.key == "virtual6":
			virtual = &p
		default:
			b.losePair(p)
		}
	}
	end()
}

func (b *builder) losePair(p pair) {
	why := ldirectordLost[p.key]
	if why == "" {
		why = whyUnknown
	}
	b.lose(p.line, p.String(), why)
}

// directed makes the service of a virtual line and its options.
func (b *builder) directed(at pair, options []pair) {
	v6 := at.key == "virtual6"
	s := &service{line: at.line, options: control.Service{Scheduler: "wrr"}}
	id := control.ServiceID{Family: control.IPv4, Protocol: control.TCP}
	if v6 {
		id.Family = control.IPv6
	}
	host, port, isMark := at.value, "", false
	if n, err := strconv.ParseUint(at.value, 10, 32); err == nil && n > 0 {
		id.Protocol, id.FWMark, isMark = "", uint32(n), true
	} else {
		host, port = splitHost(at.value)
		if port == "53" || port == "domain" {
			id.Protocol = control.UDP
		}
	}
	var reals []pair
	mask := ""
	for _, o := range options {
		if o.key == "real" || o.key == "real6" {
			reals = append(reals, o)
		} else if why := b.directedOption(s, &id, &mask, o); why != "" {
			b.lose(o.line, o.String(), why)
		}
	}
	if !isMark {
		var why string
		if id.Address, id.Port, why = b.resolve(host, port, id.Protocol, v6); why == "" && port == "" {
			why = "a virtual service needs a port"
		}
		if why != "" {
			b.lose(at.line, at.String(), why)
			return
		}
	}
	if s.options.Flags&control.Persistent != 0 {
		var ok bool
		if s.options.Netmask, ok = netmask(mask, id.Family); !ok {
			b.lose(at.line, "netmask = "+mask, whyValue)
		}
	} else if mask != "" {
		b.lose(at.line, "netmask = "+mask, "the service is not persistent")
	}
	for _, r := range reals {
		list, why := b.real(r, &id, v6)
		if why != "" {
			b.lose(r.line, r.String(), why)
		}
		s.servers = append(s.servers, list...)
	}
	s.listen = []control.ServiceID{id}
	b.services = append(b.services, s)
}

// directedOption takes an option of a virtual service. It returns why it cannot.
func (b *builder) directedOption(s *service, id *control.ServiceID, mask *string, o pair) string {
	switch o.key {
	case "scheduler":
		s.options.Scheduler = o.value
	case "schedflags":
		for name := range strings.SplitSeq(o.value, ",") {
			known := false
			for _, f := range control.SchedulerFlags {
				if f.Name == name {
					s.options.Flags |= f.Flag
					known = true
				}
			}
			if !known {
				return whyUnknown
			}
		}
	case "persistent":
		n, err := strconv.ParseUint(o.value, 10, 32)
		if err != nil || n < 1 || n > 31*86400 {
			return "a time is 1 to 2678400 seconds"
		}
		s.options.Flags |= control.Persistent
		s.options.Timeout = uint32(n)
	case "netmask":
		*mask = o.value
	case "protocol":
		switch {
		case id.FWMark != 0 && o.value == "fwm":
		case id.FWMark == 0 && (o.value == "tcp" || o.value == "udp"):
			id.Protocol = control.Protocol(o.value)
		default:
			return "it does not fit the virtual service"
		}
	case "ops":
		if o.value == "yes" {
			s.options.Flags |= control.OnePacket
		}
	case "servicename":
		s.name = clean(o.value)
	default:
		b.losePair(o)
	}
	return ""
}

// realLine is ADDRESS[->ADDRESS][:PORT] METHOD [WEIGHT] ["REQUEST", "RECEIVE"]
// [l:N] [u:N].
var realLine = regexp.MustCompile(`^(\S+)\s+(gate|masq|ipip)(?:\s+(\d+))?(\s+".*"[, ]\s*".*")?(?:\s+l:(\d+))?(?:\s+u:(\d+))?\s*$`)

// real reads a real server, or a range of them.
func (b *builder) real(p pair, id *control.ServiceID, v6 bool) (list []server, why string) {
	m := realLine.FindStringSubmatch(p.value)
	if m == nil {
		return nil, "this is no ADDRESS:PORT and gate, masq or ipip, with what may follow"
	}
	rs := control.RealServer{
		Method: map[string]control.Method{"gate": control.Direct, "masq": control.Masq, "ipip": control.Tunnel}[m[2]], Weight: 1,
	}
	for _, n := range []struct {
		text string
		set  func(uint32)
	}{
		{m[3], func(n uint32) { rs.Weight = int32(n) }},
		{m[5], func(n uint32) { rs.LThreshold = n }},
		{m[6], func(n uint32) { rs.UThreshold = n }},
	} {
		if n.text == "" {
			continue
		}
		v, err := strconv.ParseUint(n.text, 10, 31)
		if err != nil {
			return nil, n.text + " is too large"
		}
		n.set(uint32(v))
	}
	if m[4] != "" {
		b.lose(p.line, strings.TrimSpace(m[4]), whyHealth)
	}
	from, to, isRange := strings.Cut(m[1], "->")
	if !isRange {
		from, to = "", m[1]
	}
	host, port := splitHost(to)
	protocol := id.Protocol
	if protocol == "" {
		protocol = control.TCP
	}
	last, n, why := b.resolve(host, port, protocol, v6)
	first := last
	if why == "" && isRange {
		first, _, why = b.resolve(from, "", protocol, v6)
	}
	if why != "" {
		return nil, why
	}
	if last.Less(first) {
		return nil, "the range ends before it begins"
	}
	if rs.Method != control.Masq && id.FWMark == 0 {
		n = 0 // as ldirectord does: that of the virtual service
	}
	for a := first; ; a = a.Next() {
		if len(list) == maxRange {
			return nil, fmt.Sprintf("more than %d servers", maxRange)
		}
		rs.Address, rs.Port = a, n
		list = append(list, server{p.line, rs})
		if a == last {
			return list, ""
		}
	}
}

// splitHost splits HOST:PORT or [HOST]:PORT, of which :PORT may be missing.
func splitHost(s string) (host, port string) {
	if inner, ok := strings.CutPrefix(s, "["); ok {
		host, port, _ = strings.Cut(inner, "]")
		return host, strings.TrimPrefix(port, ":")
	}
	host, port, _ = strings.Cut(s, ":")
	return host, port
}

// resolve reads an address or the name of a host, and a port or its name.
func (b *builder) resolve(host, port string, protocol control.Protocol, v6 bool) (a netip.Addr, p uint16, why string) {
	a, err := netip.ParseAddr(host)
	if err != nil {
		var ok bool
		if a, ok = b.names.Host(host); !ok || v6 {
			return a, 0, fmt.Sprintf("%q is no address, nor the name of a host", host)
		}
	}
	if a.Is6() != v6 {
		return a, 0, fmt.Sprintf("%s is of the other address family", a)
	}
	if port == "" {
		return a, 0, ""
	}
	if n, err := strconv.ParseUint(port, 10, 16); err == nil {
		return a, uint16(n), ""
	}
	p, ok := b.names.Port(port, protocol)
	if !ok {
		return a, 0, fmt.Sprintf("%q is no port, nor the name of one", port)
	}
	return a, p, ""
}

package importer

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"vsnat/cmd/vsnat/internal/config"
	"vsnat/cmd/vsnat/internal/control"
	"vsnat/cmd/vsnat/internal/ipvsadm"
)

// Format is what a file is written for.
type Format string

// The formats.
const (
	IPVSAdm    Format = "ipvsadm"
	Keepalived Format = "keepalived"
	Ldirectord Format = "ldirectord"
)

// Formats are all formats.
var Formats = []Format{IPVSAdm, Keepalived, Ldirectord}

// Result is what a file came to.
type Result struct {
	Format   Format
	Text     string // the configuration file
	Services int    // virtual services
	Servers  int    // their real servers
	Lost     []Lost // in the order of the lines
}

// Lost is something that could not be carried over.
type Lost struct {
	Line int    // counted from 1
	What string // as in the file
	Why  string
}

// String returns what was lost as "12: delay_loop 6: why".
func (l Lost) String() string { return fmt.Sprintf("%d: %s: %s", l.Line, l.What, l.Why) }

// Import reads the text of a file. format may be "" to be found out.
func Import(name, text string, format Format, names ipvsadm.Resolver) (*Result, error) {
	if format == "" {
		if format = guess(text); format == "" {
			return nil, fmt.Errorf("%s: this is no ipvsadm -S text, keepalived.conf or ldirectord.cf; name its format with --format", name)
		}
	}
	b := &builder{names: names}
	switch format {
	case IPVSAdm:
		b.rules(text)
	case Keepalived:
		b.keepalived(text)
	case Ldirectord:
		b.ldirectord(text)
	default:
		return nil, fmt.Errorf("unknown format %q; choose one of %v", format, Formats)
	}
	b.settle()
	r := &Result{Format: format, Lost: b.lost}
	slices.SortStableFunc(r.Lost, func(a, b Lost) int { return a.Line - b.Line })
	for _, s := range b.services {
		r.Services += len(s.listen)
		r.Servers += len(s.listen) * len(s.servers)
	}
	r.Text = b.text(name, r.Lost)
	return r, nil
}

var (
	ruleLine    = regexp.MustCompile(`(?m)^\s*(ipvsadm\s+)?(-[AEaeC]|--(add|edit)-(service|server)|--clear|--set)(\s|$)`)
	virtualLine = regexp.MustCompile(`(?m)^virtual6?\s*=`)
	blockLine   = regexp.MustCompile(`(?m)^\s*(virtual_server|virtual_server_group|global_defs|vrrp_\w+)\b[^={}]*(\{|$)`)
)

// guess returns the format of a text, "" for none.
func guess(text string) Format {
	switch {
	case blockLine.MatchString(text):
		return Keepalived
	case virtualLine.MatchString(text):
		return Ldirectord
	case ruleLine.MatchString(text):
		return IPVSAdm
	}
	return ""
}

// builder collects services.
type builder struct {
	names    ipvsadm.Resolver
	services []*service
	timeouts control.Timeouts
	lost     []Lost
}

// service is one or several virtual services with the same options and servers.
type service struct {
	line    int
	name    string // "" to be made up
	listen  []control.ServiceID
	options control.Service
	servers []server
}

// server is a real server; its port is 0 for that of the virtual service.
type server struct {
	line int
	control.RealServer
}

// lose notes what could not be carried over.
func (b *builder) lose(line int, what, why string) {
	b.lost = append(b.lost, Lost{line, clean(what), clean(why)})
}

// clean returns a text as one line that is not too long and commands no terminal.
func clean(s string) string {
	s = strings.Map(func(c rune) rune {
		switch {
		case c == '\n' || c == '\t' || c == '\r':
			return ' '
		case c < ' ' || 0x7f <= c && c < 0xa0:
			return '\uFFFD'
		}
		return c
	}, strings.ToValidUTF8(strings.TrimSpace(s), "\uFFFD"))
	if r := []rune(s); len(r) > 120 {
		return string(r[:119]) + "…"
	}
	return s
}

// settle leaves out what a configuration file cannot have, and names what has no
// name.
func (b *builder) settle() {
	seen := map[control.ServiceID]int{}
	taken := map[string]bool{}
	var good []*service
	for _, s := range b.services {
		s.listen = slices.DeleteFunc(s.listen, func(id control.ServiceID) bool {
			if first, twice := seen[id]; twice {
				b.lose(s.line, id.String(), fmt.Sprintf("there is this service already, from line %d", first))
				return true
			}
			seen[id] = s.line
			return false
		})
		if len(s.listen) == 0 {
			continue
		}
		if s.name == "" {
			s.name = strings.NewReplacer(":", "-", ".", "-", "[", "", "]", "").Replace(s.listen[0].String())
		}
		for base, i := s.name, 2; taken[s.name]; i++ {
			s.name = fmt.Sprintf("%s-%d", base, i)
		}
		if b.check(s) {
			taken[s.name] = true
			good = append(good, s)
		}
	}
	b.services = good
}

// check leaves out the servers that the service cannot have, and reports whether
// there can be the service.
func (b *builder) check(s *service) bool {
	servers := s.servers
	s.servers = nil
	if wrong := wrong(s); wrong != "" {
		b.lose(s.line, "service "+s.name, wrong)
		return false
	}
	seen := map[netip.AddrPort]int{}
	// What a server may be is the same for all that the service listens at.
	one := *s
	one.listen = s.listen[:1]
	var good []server
	for _, v := range servers {
		b.port(s, &v)
		key := netip.AddrPortFrom(v.Address, v.Port)
		if first, twice := seen[key]; twice {
			b.lose(v.line, "server "+key.String(), fmt.Sprintf("the service has this server already, from line %d", first))
			continue
		}
		one.servers = []server{v}
		if wrong := wrong(&one); wrong != "" {
			b.lose(v.line, "server "+v.Address.String(), wrong)
			continue
		}
		seen[key] = v.line
		good = append(good, v)
	}
	s.servers = good
	return true
}

// port settles a server's port: that of the virtual service is not told, and is
// the only one without masquerading.
func (b *builder) port(s *service, v *server) {
	if s.listen[0].FWMark != 0 {
		return
	}
	same := !slices.ContainsFunc(s.listen, func(id control.ServiceID) bool { return id.Port != v.Port })
	if v.Method != control.Masq && v.Port != 0 && !same {
		b.lose(v.line, fmt.Sprintf("port %d of server %s", v.Port, v.Address), "only masquerading changes ports: the server gets that of the service")
	}
	if same || v.Method != control.Masq {
		v.Port = 0
	}
}

// wrong returns what is wrong with a service as part of a file, "" for nothing.
func wrong(s *service) string {
	text := s.text()
	for _, id := range s.listen {
		if id.FWMark != 0 {
			text += fmt.Sprintf("[[mark]]\nmark = %d\n", id.FWMark)
		}
	}
	_, problems := config.Parse(config.File{Text: []byte(text)})
	if errs := problems.Errors(); len(errs) > 0 {
		return errs[0].Message
	}
	return ""
}

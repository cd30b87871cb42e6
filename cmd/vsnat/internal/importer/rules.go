package importer

import (
	"slices"
	"strings"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/cmd/vsnat/internal/ipvsadm"
)

// rules reads what ipvsadm -S has written, and scripts of the same commands.
func (b *builder) rules(text string) {
	known := map[control.ServiceID]*service{}
	for _, rule := range ipvsadm.ReadRules(text, b.names) {
		if rule.Err != nil {
			why := rule.Err.Error()
			if strings.HasPrefix(why, "Try `") { // all that ipvsadm says of what it cannot read
				why = "this is no command of ipvsadm"
			}
			b.lose(rule.Line, rule.Text, why)
			continue
		}
		if why := b.rule(known, rule.Line, &rule.Command); why != "" {
			b.lose(rule.Line, rule.Text, why)
		}
	}
}

// rule does to what there is what the command would do. It returns why it
// cannot.
func (b *builder) rule(known map[control.ServiceID]*service, line int, c *control.Command) string {
	var s *service
	if c.Service != nil {
		s = known[c.Service.ServiceID]
	}
	switch c.Op {
	case control.Flush:
		b.services = nil
		clear(known)
		return ""
	case control.SetTimeouts:
		for _, t := range []struct{ to, from *uint32 }{
			{&b.timeouts.TCP, &c.Timeouts.TCP}, {&b.timeouts.TCPFin, &c.Timeouts.TCPFin}, {&b.timeouts.UDP, &c.Timeouts.UDP},
		} {
			if *t.from != 0 {
				*t.to = *t.from
			}
		}
		return ""
	case control.StartDaemon, control.StopDaemon:
		return "connection synchronisation is not in the configuration file"
	case control.Zero:
		return "counters are not in the configuration file"
	case control.AddService:
		if s != nil {
			return "there is this service already"
		}
		s = &service{line: line, listen: []control.ServiceID{c.Service.ServiceID}, options: *c.Service}
		known[c.Service.ServiceID] = s
		b.services = append(b.services, s)
		return ""
	}
	if s == nil {
		return "there is no such service"
	}
	switch c.Op {
	case control.EditService:
		s.options = *c.Service
		return ""
	case control.DeleteService:
		delete(known, c.Service.ServiceID)
		b.services = slices.DeleteFunc(b.services, func(o *service) bool { return o == s })
		return ""
	}
	at := slices.IndexFunc(s.servers, func(v server) bool { return v.Address == c.Server.Address && v.Port == c.Server.Port })
	if (at >= 0) == (c.Op == control.AddServer) {
		if at >= 0 {
			return "the service has this server already"
		}
		return "the service has no such server"
	}
	switch c.Op {
	case control.AddServer:
		s.servers = append(s.servers, server{line, *c.Server})
	case control.EditServer:
		s.servers[at] = server{line, *c.Server}
	case control.DeleteServer:
		s.servers = slices.Delete(s.servers, at, at+1)
	}
	return ""
}

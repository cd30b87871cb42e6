package plan

import (
	"slices"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/nat"
	"vsnat/sched"
)

// Commands returns the commands that carry out the changes, for one transaction.
// Addresses are no affair of theirs.
func (p *Plan) Commands() []control.Command {
	var all []control.Command
	settings := map[string]nat.Value{}
	var timeouts control.Timeouts
	// A service is edited after servers are taken off it: another scheduler may
	// bear fewer.
	var edit []control.Command
	for i := range p.Changes {
		c := &p.Changes[i]
		if c.Kind != KindServer || c.Action != Remove {
			all, edit = append(all, edit...), nil
		}
		switch c.Kind {
		case KindService:
			if c.Action == Edit {
				edit = append(edit, serviceCommand(c))
				continue
			}
			all = append(all, serviceCommand(c))
		case KindServer:
			all = append(all, serverCommand(c))
		case KindSetting:
			settings[c.Name] = nat.Value(c.value)
		case KindTimeout:
			*map[string]*uint32{"tcp": &timeouts.TCP, "tcp_fin": &timeouts.TCPFin, "udp": &timeouts.UDP}[c.Name] = uint32(c.value)
		case KindPools:
			// Before the servers that have them, and the networks.
			all = slices.Insert(all, 0, control.Command{Op: control.SetPools, Pools: p.Wanted.Pools})
		case KindInside:
			all = append(all, control.Command{Op: control.SetMasquerades, Masquerades: p.Wanted.Inside})
		case KindHelper:
			all = append(all, control.Command{Op: control.SetHelpers, Helpers: []control.Helper{c.helper}})
		case KindMarks:
			all = append(all, control.Command{Op: control.SetMarks, Marks: p.Wanted.Marks})
		}
	}
	all = append(all, edit...)
	if len(settings) > 0 {
		all = append(all, control.Command{Op: control.Set, Settings: settings})
	}
	if timeouts != (control.Timeouts{}) {
		all = append(all, control.Command{Op: control.SetTimeouts, Timeouts: &timeouts})
	}
	return all
}

func serviceCommand(c *Change) control.Command {
	s := c.service.Service
	switch c.Action {
	case Add:
		return control.Command{Op: control.AddService, Service: &s}
	case Remove:
		return control.Command{Op: control.DeleteService, Service: &control.Service{ServiceID: s.ServiceID}}
	}
	// What is not spoken of an edited service keeps.
	if s.Life == nil {
		s.Life = &control.Life{}
	}
	if s.ProxyProtocol == "" {
		s.ProxyProtocol = control.ProxyOff
	}
	switch {
	case s.Scheduler == "mh" && s.MHTableSize == 0:
		s.MHTableSize = sched.DefaultMHTableSize
	case s.Scheduler == "lrt" && s.LRTHalfLife == 0:
		s.LRTHalfLife = uint32(sched.DefaultHalfLife.Milliseconds())
	}
	return control.Command{Op: control.EditService, Service: &s}
}

func serverCommand(c *Change) control.Command {
	name, server := &control.Service{ServiceID: c.service.ServiceID}, c.server.RealServer
	switch c.Action {
	case Add:
		return control.Command{Op: control.AddServer, Service: name, Server: &server}
	case Remove:
		return control.Command{Op: control.DeleteServer, Service: name, Server: &control.RealServer{Address: server.Address, Port: server.Port}}
	}
	return control.Command{Op: control.EditServer, Service: name, Server: &server}
}

package daemon

import (
	"vsnat/cmd/vsnat/internal/control"
	"vsnat/cmd/vsnat/internal/life"
	"vsnat/nat"
)

// life carries out a command about the life of servers.
func (r *run) life(c *control.Command) error {
	key := serviceKey(&c.Service.ServiceID)
	if c.Op != control.SetLife {
		return r.tx.MarkServer(key, serverKey(c.Server), c.Op == control.ServerDown)
	}
	p, err := life.Policy(c.Service.Life)
	if err != nil {
		return err
	}
	if p == nil {
		p = new(nat.LifePolicy)
	}
	return r.tx.SetLife(key, *p)
}

func serverKey(s *control.RealServer) nat.ServerKey {
	return nat.ServerKey{Addr: s.Address.As16(), Port: s.Port}
}

// serverState returns the state's name.
func serverState(e nat.LifeEvent) control.ServerState {
	switch e {
	case nat.Drain:
		return control.StateDrain
	case nat.Down:
		return control.StateDown
	case nat.Removed:
		return control.StateRemoved
	}
	return control.StateUp
}

func lifeCounts(c *nat.LifeCounters) control.LifeCounts {
	return control.LifeCounts{Moved: c.Moved, Reset: c.Reset, Unreachable: c.Unreachable}
}

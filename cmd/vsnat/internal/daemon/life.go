package daemon

import (
	"fmt"
	"strings"
	"syscall"
	"time"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/nat"
)

// lifePolicy returns the policy as the engine has it; nil for none.
func lifePolicy(l *control.Life) (*nat.LifePolicy, error) {
	if l == nil {
		return nil, nil
	}
	name := l.Preset
	if name == "" {
		name = nat.LifePresets()[0]
	}
	p, ok := nat.LifePreset(name)
	if !ok {
		return nil, fmt.Errorf("daemon: life: there is no preset %q; there are %s: %w", name, strings.Join(nat.LifePresets(), ", "), syscall.EINVAL)
	}
	for _, e := range nat.LifeEvents {
		if err := changeEvent(p.Of(e), l.Event(e.String())); err != nil {
			return nil, fmt.Errorf("daemon: life: %s, %w", e, err)
		}
	}
	return &p, nil
}

// changeEvent changes a preset's policy to what a command says.
func changeEvent(p *nat.EventPolicy, by *control.LifeEvent) error {
	for t := range nat.TrafficClasses {
		c := *by.Cell(t.String())
		if c == "" {
			continue
		}
		first, then, _ := strings.Cut(string(c), ",")
		for _, a := range []struct {
			name string
			at   *nat.Action
		}{{first, &p.First[t]}, {then, &p.Then[t]}} {
			if a.name = strings.TrimSpace(a.name); a.name == "" && a.at == &p.Then[t] {
				*a.at = nat.AsKernel
				continue
			}
			action, ok := nat.ParseAction(a.name)
			if !ok {
				return fmt.Errorf("%s: there is no action %q; there are %s: %w", t, a.name, strings.Join(nat.ActionNames(), ", "), syscall.EINVAL)
			}
			*a.at = action
		}
	}
	switch {
	case by.Deadline != nil:
		p.Deadline = time.Duration(*by.Deadline) * time.Second
	case p.Then == (nat.Actions{}):
		p.Deadline = 0 // the preset's has nothing left to it
	}
	return nil
}

// life is the inverse of lifePolicy. Services that do as the kernel have none.
func life(p *nat.LifePolicy) *control.Life {
	if p == nil || *p == (nat.LifePolicy{}) {
		return nil
	}
	l := &control.Life{Preset: p.Preset()}
	for _, e := range nat.LifeEvents {
		from, to := p.Of(e), l.Event(e.String())
		for t := range nat.TrafficClasses {
			text := from.First[t].String()
			if then := from.Then[t]; then != nat.AsKernel {
				text += "," + then.String()
			}
			*to.Cell(t.String()) = control.LifeCell(text)
		}
		if from.Deadline > 0 {
			seconds := uint32(from.Deadline / time.Second)
			to.Deadline = &seconds
		}
	}
	return l
}

// life carries out a command about the life of servers.
func (r *run) life(c *control.Command) error {
	key := serviceKey(&c.Service.ServiceID)
	if c.Op != control.SetLife {
		return r.tx.MarkServer(key, serverKey(c.Server), c.Op == control.ServerDown)
	}
	p, err := lifePolicy(c.Service.Life)
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

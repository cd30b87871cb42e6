// Package life translates the policy for the life of a service's servers between
// the control API's words and the engine's.
package life

import (
	"fmt"
	"strings"
	"syscall"
	"time"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/nat"
)

// Policy returns the policy as the engine has it; nil for none. Its errors wrap
// EINVAL.
func Policy(l *control.Life) (*nat.LifePolicy, error) {
	if l == nil {
		return nil, nil
	}
	name := l.Preset
	if name == "" {
		name = nat.LifePresets()[0]
	}
	p, ok := nat.LifePreset(name)
	if !ok {
		return nil, fmt.Errorf("life: there is no preset %q; there are %s: %w", name, strings.Join(nat.LifePresets(), ", "), syscall.EINVAL)
	}
	for _, e := range nat.LifeEvents {
		if err := changeEvent(p.Of(e), l.Event(e.String())); err != nil {
			return nil, fmt.Errorf("life: %s, %w", e, err)
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

// Of is the inverse of [Policy], in which nothing is left to the preset. Services
// that do as the kernel have none.
func Of(p *nat.LifePolicy) *control.Life {
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

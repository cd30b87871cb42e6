package config

import (
	"strings"
	"time"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/cmd/vsnat/internal/life"
	"vsnat/nat"
)

// lifeSaid is a policy as a file has it, and where.
type lifeSaid struct {
	policy *nat.LifePolicy
	entry  *entry
}

// life reads life = "PRESET", or a table of a preset and what changes it.
func (r *reader) life(e *entry, o *options) {
	var said control.Life
	problems := len(r.all)
	preset := func(n *node) {
		if s, ok := r.oneOf(n, "life preset", nat.LifePresets()); ok {
			said.Preset = s
		}
	}
	switch e.value.kind {
	case kindString:
		preset(e.value)
	case kindTable:
		f := fields{"preset": func(e *entry) { preset(e.value) }}
		for _, event := range control.LifeEvents {
			f[event] = func(e *entry) { r.lifeEvent(e, said.Event(event)) }
		}
		r.table(e.value, "life", f)
	default:
		r.wrong(e.value, `a preset, such as "stateful", or a table`)
	}
	o.life = nil
	if len(r.all) > problems {
		return
	}
	policy, err := life.Policy(&said)
	if err != nil {
		r.errorf(e.at, "%s", err)
		return
	}
	o.life = &lifeSaid{policy, e}
}

// lifeEvent reads what the policy says of an event.
func (r *reader) lifeEvent(e *entry, to *control.LifeEvent) {
	if e.value.kind != kindTable {
		r.wrong(e.value, `a table: { established = "keep,reset-both", deadline = "5m" }`)
		return
	}
	f := fields{"deadline": func(e *entry) {
		if d, ok := r.duration(e.value, time.Second, 0, 365*24*time.Hour); ok {
			seconds := uint32(d / time.Second)
			to.Deadline = &seconds
		}
	}}
	for _, class := range control.LifeTraffic {
		f[class] = func(e *entry) {
			s, ok := r.text(e.value, `an action, or two with a comma: "keep,reset-both"`)
			if !ok {
				return
			}
			actions := strings.Split(s, ",")
			if len(actions) > 2 {
				r.errorf(e.value.at, "%q are more than two actions: from the event on, and from the deadline on", s)
			}
			for _, a := range actions {
				r.oneOf(&node{kind: kindString, at: e.value.at, text: strings.TrimSpace(a)}, "action", nat.ActionNames())
			}
			*to.Cell(class) = control.LifeCell(s)
		}
	}
	r.table(e.value, e.key, f)
}

// lifeOf returns the policy for a virtual service, complaining if it makes no
// sense there.
func (r *reader) lifeOf(said *lifeSaid, id *control.ServiceID) *control.Life {
	if said == nil {
		return nil
	}
	if err := said.policy.Check(nat.ServiceKey{Proto: id.Protocol.Number(), Mark: id.FWMark}); err != nil {
		at := said.entry.at
		event, _, _ := strings.Cut(err.Error(), ",")
		if e := said.entry.value.get(strings.TrimSuffix(event, ":")); e != nil {
			at = e.at
		}
		r.errorf(at, "life: %s", err)
	}
	return life.Of(said.policy)
}

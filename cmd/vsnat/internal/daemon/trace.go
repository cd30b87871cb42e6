package daemon

import (
	"slices"
	"time"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/nat"
)

var _ control.Tracer = (*daemon)(nil)

// Trace implements [control.Tracer].
func (d *daemon) Trace(f control.TraceFilter) (control.Trace, error) {
	filter := nat.TraceFilter{
		Client: f.Client.Network, ClientPort: f.Client.Port, Virtual: f.Virtual.Network, VirtualPort: f.Virtual.Port,
		Proto: f.Protocol.Number(), New: f.New, Sample: f.Sample,
	}
	for kind, name := range verdicts {
		if name != "" && slices.Contains(f.Verdicts, name) {
			filter.Verdicts |= 1 << kind
		}
	}
	t, err := d.engine.Trace(filter)
	if err != nil {
		return nil, err
	}
	return &trace{d, t}, nil
}

// trace is a trace of the engine's in the words of the control API.
type trace struct {
	d *daemon
	t *nat.Trace
}

// Take implements [control.Trace].
func (t *trace) Take() []control.Traced {
	all, lost := t.t.Take()
	slices.SortStableFunc(all, func(a, b *nat.Decision) int { return int(a.At - b.At) }) // those of one worker are in order
	lines := make([]control.Traced, 0, len(all)+1)
	for _, decided := range all {
		words := teller{routes: t.d.routes.Routes(), now: decided.At}
		lines = append(lines, control.Traced{
			Time: t.d.epoch.Add(time.Duration(decided.At)).Format(time.RFC3339Nano), Decision: words.decision(decided),
		})
	}
	if lost > 0 {
		lines = append(lines, control.Traced{Time: time.Now().Format(time.RFC3339Nano), Lost: lost})
	}
	return lines
}

// Close implements [control.Trace].
func (t *trace) Close() { t.d.engine.EndTrace(t.t) }

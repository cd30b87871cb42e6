package conformance

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Trace is what an oracle did in one run.
type Trace struct {
	// Missing says what the kernel lacks for this run, if anything. The rest is
	// empty then.
	Missing string `json:"missing,omitempty"`
	Seen    []Seen `json:"seen,omitempty"`
}

// atOnce is how many runs are done side by side. They spend most of their time
// resting.
const atOnce = 16

// Record has oracles do the runs in real time, one oracle each, and returns
// what they saw in the same order. open returns an oracle without services.
// done, if not nil, is called after each run.
func Record(ctx context.Context, runs []Run, open func() (Oracle, error), done func(Config)) ([]Trace, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		traces = make([]Trace, len(runs))
		slots  = make(chan struct{}, atOnce)
		turn   = newTurn()
		wg     sync.WaitGroup
	)
	for i := range runs {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			var err error
			if traces[i], err = recordOne(ctx, &runs[i], open, turn); err != nil {
				cancel(fmt.Errorf("%s: %w", runs[i].Config, err))
			} else if done != nil {
				done(runs[i].Config)
			}
		})
	}
	wg.Wait()
	return traces, context.Cause(ctx)
}

func recordOne(ctx context.Context, r *Run, open func() (Oracle, error), turn turn) (t Trace, err error) {
	if err := ctx.Err(); err != nil {
		return t, context.Cause(ctx)
	}
	o, err := open()
	if err != nil {
		return t, err
	}
	defer func() {
		if e := o.Close(); err == nil {
			err = e
		}
	}()
	p := &pacer{turn: turn, start: time.Now(), windows: windows{timeouts: timeouts}}
	if r.Config.Wide {
		p.timeouts = wideTimeouts
	}
	defer p.yield()
	for i := range r.Steps {
		s := &r.Steps[i]
		if s.Op == Rest {
			if err := p.pause(ctx, time.Duration(s.Seconds)*time.Second); err != nil {
				return t, err
			}
		}
		at, err := p.next(ctx)
		if err != nil {
			return t, err
		}
		seen, err := o.Do(s, at)
		if err != nil {
			return t, fmt.Errorf("step %d (%s): %w", i+1, s, err)
		}
		if s.Op == AddService && seen.Refused == "ENOENT" && s.Service.Scheduler == r.Config.Scheduler {
			return Trace{Missing: "scheduler " + r.Config.Scheduler}, nil
		}
		t.Seen = append(t.Seen, seen)
	}
	return t, nil
}

package conformance

import (
	"context"
	"slices"
	"time"
)

// The kernel's timers are real, and fire late by up to an eighth of their
// length, so that for a while nobody can say whether a connection is there
// still. Steps are not done in such a while: each span of time in which steps
// were done makes a window for each of the timeouts that a run's connections
// may have, in which nothing happens but time passing.

// timeouts are those that end within a run: CLOSE, UDP (see [udpTimeout]),
// SYN_RECV and CLOSE_WAIT, and SYN_SENT, FIN_WAIT and TIME_WAIT.
var timeouts = []time.Duration{10 * time.Second, udpTimeout * time.Second, 60 * time.Second, tcpFinTimeout * time.Second}

// wideTimeouts are those of wide runs as well: that of a connection that an ICMP
// error began, SCTP's INIT1 and REJECTED, and its others.
var wideTimeouts = append(slices.Clone(timeouts), 3*time.Second, 4*time.Second, 61*time.Second)

const (
	// early is how long before the first timer of a span its window begins.
	early = 700 * time.Millisecond
	// gap is the time between two steps that belong to different spans.
	gap = 500 * time.Millisecond
)

// late is how late a timer may fire: by the wheel's granularity in its level,
// an eighth of the timeout, and something for a machine that is busy.
func late(timeout time.Duration) time.Duration { return timeout/8 + time.Second }

// span is a time in which steps were done, since the run's beginning.
type span struct{ from, to time.Duration }

// windows are the times in which no step may be done.
type windows struct {
	spans    []span
	timeouts []time.Duration
}

// blocked returns until when no step may be done at now; 0 if one may.
func (w *windows) blocked(now time.Duration) (until time.Duration) {
	for _, s := range w.spans {
		for _, t := range w.timeouts {
			if from, to := s.from+t-early, s.to+t+late(t); now >= from && now < to {
				until = max(until, to)
			}
		}
	}
	return until
}

// did notes that a step is done at now.
func (w *windows) did(now time.Duration) {
	if n := len(w.spans); n == 0 || now-w.spans[n-1].to > gap {
		w.spans = append(w.spans, span{from: now})
	}
	w.spans[len(w.spans)-1].to = now
}

// turn is held by the one run that does steps. Others rest meanwhile, and so
// take no time from it.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

// pacer says when a run's steps may be done.
type pacer struct {
	windows
	turn  turn
	mine  bool
	start time.Time
}

// next waits until a step may be done, has the turn, and returns the time since
// the run began.
func (p *pacer) next(ctx context.Context) (time.Duration, error) {
	for {
		if !p.mine {
			select {
			case p.turn <- struct{}{}:
				p.mine = true
			case <-ctx.Done():
				return 0, context.Cause(ctx)
			}
		}
		now := time.Since(p.start)
		until := p.blocked(now)
		if until == 0 {
			p.did(now)
			return now, nil
		}
		if err := p.pause(ctx, until-now); err != nil {
			return 0, err
		}
	}
}

// pause lets others have the turn for so long.
func (p *pacer) pause(ctx context.Context, d time.Duration) error {
	p.yield()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

func (p *pacer) yield() {
	if p.mine {
		p.mine = false
		<-p.turn
	}
}

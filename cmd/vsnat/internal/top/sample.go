// Package top shows on one screen what the director does now: services and
// servers with their rates and connections, latency against the budget, drops.
package top

import (
	"context"
	"time"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/cmd/vsnat/internal/daemon"
)

// Sample is what the director said at one time.
type Sample struct {
	At       time.Time
	Status   daemon.Status
	Drops    daemon.Drops
	Latency  daemon.Latency
	Services []control.ServiceEntry
}

// Take asks the director.
func Take(ctx context.Context, c *control.Client) (*Sample, error) {
	s := &Sample{At: time.Now()}
	for _, r := range []struct {
		name control.Report
		into any
	}{{control.StatusReport, &s.Status}, {control.DropsReport, &s.Drops}, {control.LatencyReport, &s.Latency}} {
		if err := c.Report(ctx, r.name, r.into); err != nil {
			return nil, err
		}
	}
	var err error
	s.Services, err = c.Services(ctx)
	return s, err
}

// frames are the sums of the NICs' ledgers.
type frames struct {
	received, forwarded, replied, passed, held, ringFull uint64
	dropped                                              map[string]uint64
	balanced                                             bool
}

func (s *Sample) frames() frames {
	f := frames{dropped: map[string]uint64{}, balanced: true}
	for _, n := range s.Drops.NICs {
		f.received += n.Received
		f.forwarded += n.Forwarded
		f.replied += n.Replied
		f.passed += n.Passed
		f.held += n.Held
		f.ringFull += n.RingFull
		f.balanced = f.balanced && n.Balanced
		for reason, c := range n.Dropped {
			f.dropped[reason] += c
		}
	}
	return f
}

// perSecond returns how much a count rose each second between two samples.
func perSecond(from, to uint64, d time.Duration) uint64 {
	if to < from || d <= 0 {
		return 0 // counted anew
	}
	return uint64(float64(to-from)/d.Seconds() + 0.5)
}

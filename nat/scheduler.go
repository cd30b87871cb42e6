package nat

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"vsnat/conntrack"
	"vsnat/conntrack/state"
	"vsnat/nat/wire"
	"vsnat/sched"
)

// newScheduler returns the scheduler that is wanted for a service of so many
// servers. A refusal is an *Error of that op: ENOENT for a name that is not
// known, EINVAL for all else. The random scheduler draws from the engine's
// secret.
func (tx *Tx) newScheduler(op string, spec *ServiceSpec, servers int) (sched.Scheduler, error) {
	sc, err := sched.NewWith(spec.Scheduler, sched.Options{
		Seed:        tx.e.opt.Conns.Seed,
		MHTableSize: spec.Tuning.MHTableSize,
		HalfLife:    spec.Tuning.LRTHalfLife,
	})
	if unknown := (*sched.UnknownError)(nil); errors.As(err, &unknown) {
		return nil, refuse(op, spec.Key, syscall.ENOENT, err.Error())
	}
	if err == nil {
		err = spec.Tuning.concerns(spec.Scheduler)
	}
	if err != nil {
		return nil, refuse(op, spec.Key, syscall.EINVAL, err.Error())
	}
	if l, ok := sc.(sched.Limited); ok && servers > l.MaxServers() {
		return nil, refuse(op, spec.Key, syscall.EINVAL,
			fmt.Sprintf("%s with this table serves at most %d servers, and the service has %d: choose a larger one", spec.Scheduler, l.MaxServers(), servers))
	}
	settings := tx.Settings()
	settings.tune(spec.Scheduler, sc)
	return sc, nil
}

// plain makes 0 of what is the default.
func (t *Tuning) plain() {
	if t.MHTableSize == sched.DefaultMHTableSize {
		t.MHTableSize = 0
	}
	if t.LRTHalfLife == sched.DefaultHalfLife {
		t.LRTHalfLife = 0
	}
}

// concerns returns an error if something is tuned that is another scheduler's.
func (t *Tuning) concerns(scheduler string) error {
	switch {
	case t.MHTableSize != 0 && scheduler != "mh":
		return fmt.Errorf("a table size is for the scheduler mh, not for %s", scheduler)
	case t.LRTHalfLife != 0 && scheduler != "lrt":
		return fmt.Errorf("a half-life is for the scheduler lrt, not for %s", scheduler)
	}
	return nil
}

// tune gives a scheduler what the settings say of it.
func (s *Settings) tune(name string, sc sched.Scheduler) {
	cache, ok := sc.(sched.Cache)
	if !ok {
		return
	}
	seconds := s.LBLCExpiration
	if name == "lblcr" {
		seconds = s.LBLCRExpiration
	}
	cache.SetExpiration(time.Duration(seconds) * time.Second)
}

// retune gives every scheduler what the settings say of it. e.mu is held.
func (e *Engine) retune() {
	for _, s := range e.services {
		s.mu.Lock()
		e.settings.tune(s.spec.Load().Scheduler, s.sched)
		s.mu.Unlock()
	}
}

// tickCaches does what the schedulers' caches have due. e.mu is held, under
// which alone a service changes its scheduler: no other service is locked.
func (e *Engine) tickCaches(now int64) {
	for _, s := range e.services {
		if cache, ok := s.sched.(sched.Cache); ok {
			s.mu.Lock()
			cache.Tick(now)
			s.mu.Unlock()
		}
	}
}

// schedule has the service's servers picked by this scheduler from now on. The
// service's mu is held, unless nobody knows the service yet.
func (s *service) schedule(sc sched.Scheduler) {
	sc.Init(s.list)
	s.sched = sc
	observer, _ := sc.(sched.Observer)
	s.observer.Store(&observer)
}

// observe tells a scheduler that wants to know how long the server took to
// answer the client's SYN. It comes before the state's step: at a SYN+ACK the
// normal table keeps a connection in SYN_RECV, that of secure_tcp does not.
//
// Only the first SYN+ACK counts, and only if it can be the answer to no other
// packet than the one the connection began with: after a second SYN nobody knows
// which of the two is answered (Karn's rule, RFC 6298 section 3), and a repeated
// SYN+ACK tells of the client and not of the server.
//
// Both times are those of the packets' batches (see [sched.Observer]).
func (w *Worker) observe(c *conntrack.Conn, d *dest) {
	const answer = wire.SYN | wire.ACK
	if c.Proto != ProtoTCP || state.TCP(c.State) != state.TCPSynRecv ||
		w.pkt.TCPFlags&(answer|wire.RST|wire.FIN) != answer || c.Flags&conntrack.Answered != 0 {
		return
	}
	c.Flags |= conntrack.Answered
	if c.InPkts != 1 {
		return
	}
	if o := *d.service.Load().observer.Load(); o != nil {
		o.Observe(&d.Server, w.now-(c.Expires-c.Timeout()), w.now)
	}
}

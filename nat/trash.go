package nat

import "slices"

const (
	// The kernel's IP_VS_DEST_TRASH_PERIOD: how long a server that nothing
	// refers to is kept, and half of it between two looks.
	trashPeriod = 120e9
	trashLook   = trashPeriod / 2
)

// trashKey names a deleted server. There is one of each key: an added server is
// taken from the trash if it is there.
type trashKey struct {
	service ServiceKey
	server  ServerKey
}

func (d *dest) trashKey() trashKey { return trashKey{d.service.Load().key, d.key} }

// trashed is a deleted server that connections may still refer to.
type trashed struct {
	*dest
	idle int64 // when it was first seen without connections; 0 not yet
	left bool  // had connections when the snapshot was made
}

// discard moves a server to the trash. Its service's mu is held, as is e.mu.
func (e *Engine) discard(d *dest) {
	d.Available = false
	d.available.Store(false)
	d.life.down = false
	e.fare(d)
	e.trash[d.trashKey()] = &trashed{dest: d}
	if e.settings.ExpireNodestConn {
		e.sweepDue.Store(true)
	}
}

// restore takes a server back from the trash for a service of the same
// identity, or returns nil. Its counters go on, unless the service is new.
func (e *Engine) restore(s *service, key ServerKey) *dest {
	k := trashKey{s.key, key}
	t := e.trash[k]
	if t == nil {
		return nil
	}
	d := t.dest
	delete(e.trash, k)
	if d.service.Swap(s) != s {
		d.stats.zero()
		d.life.counts.zero()
	}
	return d
}

// newDest makes a server of its own number.
func (e *Engine) newDest(s *service, key ServerKey) *dest {
	d := &dest{key: key}
	d.Addr, d.Port = key.Addr, key.Port
	d.service.Store(s)
	if n := len(e.free); n > 0 {
		d.ID = e.free[n-1]
		e.free = e.free[:n-1]
		e.dests[d.ID] = d
	} else {
		d.ID = uint32(len(e.dests))
		e.dests = append(e.dests, d)
	}
	e.known.set(d.ID, d)
	return d
}

// Tick does what is due once in a while: deleted servers are freed 120 to 240
// seconds after their last connection or template ended
// (ip_vs_dest_trash_expire), and what they owned is given back to the host as
// soon as no connection is left, and the caches of lblc and lblcr forget what is
// old. It reports whether Owned may have changed. now is on the engine's clock.
func (e *Engine) Tick(now int64) (changed bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.tickCaches(now)
	for _, t := range e.trash {
		changed = changed || t.left && t.Total.Load() == 0
	}
	if now-e.swept >= trashLook {
		e.swept = now
		freed := len(e.free)
		for k, t := range e.trash {
			switch {
			case t.referred():
				t.idle = 0
			case t.idle == 0:
				t.idle = now
			case now-t.idle >= trashPeriod:
				delete(e.trash, k)
				e.dests[t.ID] = nil
				e.known.set(t.ID, nil)
				e.free = append(e.free, t.ID)
				changed = true
			}
		}
		slices.Sort(e.free[freed:]) // the order of a map is chance
	}
	if changed {
		e.publish()
	}
	return e.followPools() || changed
}

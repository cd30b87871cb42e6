package nat

// The defences against floods, as update_defense_level in ip_vs_ctl.c decides
// about them: drop_entry (dropentry.go), drop_packet and secure_tcp.

// defence levels 1 and 2 are the same wish: on when memory is short.
const (
	defendIdle   = 1 // memory suffices
	defendActive = 2 // memory is short
	defendAlways = 3
)

// defences are the levels turned into what workers do.
type defences struct {
	dropRate int32 // one in so many packets without connection is dropped; 0 none
	secure   bool
	entries  bool // connections are dropped
}

// Defend tells the engine how many pages of memory are available, on which the
// automatic defences depend. It is to be called once a second; without it
// memory counts as plenty.
func (e *Engine) Defend(available int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.memory, e.memoryKnown = available, true
	before, settings := e.defences, e.settings
	e.defend()
	e.dropDue.Store(e.defences.entries)
	if e.defences != before || e.settings != settings {
		e.publish()
	}
}

// defend works out the defences. e.mu is held.
func (e *Engine) defend() {
	short := e.memoryKnown && e.memory < e.settings.AMemThresh
	level := func(l *int) (on bool) {
		switch {
		case *l != defendIdle && *l != defendActive:
		case short:
			*l = defendActive
		default:
			*l = defendIdle
		}
		return *l >= defendActive
	}
	var d defences
	d.secure = level(&e.settings.SecureTCP)
	d.entries = level(&e.settings.DropEntry)
	if level(&e.settings.DropPacket) {
		if d.dropRate = int32(e.settings.AMDropRate); e.settings.DropPacket != defendAlways {
			d.dropRate = int32(e.settings.AMemThresh / (e.settings.AMemThresh - e.memory))
			e.dropCounter.Store(d.dropRate)
		}
	}
	e.defences = d
}

// sacrificed reports whether a packet that would begin a connection is dropped
// in defence (ip_vs_todrop).
func (w *Worker) sacrificed() bool {
	rate := w.snap.defences.dropRate
	if rate == 0 || w.e.dropCounter.Add(-1) > 0 {
		return false
	}
	w.e.dropCounter.Store(rate)
	return true
}

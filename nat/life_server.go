package nat

import (
	"math"
	"slices"
	"sync/atomic"
	"syscall"

	"vsnat/sched"
)

// life is what has befallen a server, but for its doom.
type life struct {
	counts lifeTally

	// Guarded by the engine's mu, as all below.
	down  bool
	event LifeEvent
	since int64 // when the event began, on the engine's clock; 0 is not known yet
	// swept is how far the table was searched for those who are to move: 1 since
	// the event, 2 since its deadline.
	swept int
}

// doom is what becomes of those who use a server. It is never changed in place.
type doom struct {
	event       LifeEvent
	first, then Actions // see [EventPolicy.effective]
	due         int64   // when then applies; MaxInt64 is never, or not known yet
}

func (f *doom) at(now int64) *Actions {
	if now >= f.due {
		return &f.then
	}
	return &f.first
}

// doomed returns the server's doom, nil if there is none to speak of.
func (d *dest) doomed() *doom {
	if d == nil {
		return nil
	}
	return d.doom.Load()
}

// LifeCounters count what policies for the life of servers did. The answers are
// counted by who was told: one that was due and could not be given is not.
type LifeCounters struct {
	// Moved are connections, flows and templates that were given up, so that the
	// client's next packet has a server picked anew.
	Moved uint64
	// Reset are connections that were ended by a reset, and new ones refused so.
	Reset uint64
	// Unreachable are flows, connections and templates that were given up with an
	// answer of port unreachable.
	Unreachable uint64
}

// lifeTally is the shared form of LifeCounters.
type lifeTally struct{ moved, reset, unreachable atomic.Uint64 }

func (t *lifeTally) read() LifeCounters {
	return LifeCounters{t.moved.Load(), t.reset.Load(), t.unreachable.Load()}
}

func (t *lifeTally) zero() {
	t.moved.Store(0)
	t.reset.Store(0)
	t.unreachable.Store(0)
}

// tell counts one more at the server and its service.
func (d *dest) tell(a Action) {
	for _, t := range []*lifeTally{&d.life.counts, &d.service.Load().life} {
		switch {
		case a == Move:
			t.moved.Add(1)
		case a.resets():
			t.reset.Add(1)
		default:
			t.unreachable.Add(1)
		}
	}
}

// event returns what has befallen the server. The service's mu is held.
func (d *dest) event() LifeEvent {
	switch {
	case !d.Available:
		return Removed
	case d.life.down:
		return Down
	case d.weight == 0:
		return Drain
	}
	return 0
}

// fare works the server's doom out after a change to it or to its service. The
// service's mu is held, as is e.mu.
func (e *Engine) fare(d *dest) {
	if event := d.event(); event != d.life.event {
		d.life.event, d.life.since = event, 0
	}
	d.settle()
	if d.life.event != 0 {
		e.lifeDue.Store(0) // its time is to be taken, or its deadline has changed
	}
}

// settle makes the server's doom of what has befallen it. e.mu is held.
func (d *dest) settle() {
	d.life.swept = 0
	if d.life.event == 0 {
		d.doom.Store(nil)
		return
	}
	p := d.service.Load().lifePolicy().Of(d.life.event)
	f := &doom{event: d.life.event, due: math.MaxInt64}
	f.first, f.then = p.effective(d.life.event)
	if f.first == (Actions{}) && f.then == (Actions{}) {
		d.doom.Store(nil)
		return
	}
	if d.life.since != 0 && p.Deadline > 0 {
		f.due = d.life.since + int64(p.Deadline)
	}
	d.doom.Store(f)
}

// asKernel is the policy of services that have none.
var asKernel LifePolicy

func (s *service) lifePolicy() *LifePolicy {
	if p := s.spec.Load().Life; p != nil {
		return p
	}
	return &asKernel
}

// live takes the time of what has befallen servers since the last call, and has
// the table searched for those who are to move, then and when a deadline has
// passed. now is on the engine's clock.
func (e *Engine) live(now int64) {
	if now < e.lifeDue.Load() {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	next := int64(math.MaxInt64)
	for _, d := range e.dests {
		if d == nil || d.life.event == 0 {
			continue
		}
		if d.life.since == 0 {
			d.life.since = max(now, 1)
			d.settle()
		}
		f := d.doomed()
		if f == nil {
			continue
		}
		phase := 1
		if now < f.due {
			next = min(next, f.due)
		} else {
			phase = 2
		}
		if a := f.at(now); d.life.swept < phase && (a[UDPFlow] == Move || a[PersistentClient] == Move) {
			e.lifeSweep.Store(true)
		}
		d.life.swept = phase
	}
	e.lifeDue.Store(next)
}

// refare works the dooms of all of a service's servers out, those in the trash
// too. The service's mu is held, as is e.mu.
func (e *Engine) refare(s *service) {
	for _, d := range s.dests {
		e.fare(d)
	}
	for _, t := range e.trash {
		if t.service.Load() == s {
			e.fare(t.dest)
		}
	}
}

// deadline returns what [ServerInfo.Deadline] says. e.mu is held.
func (d *dest) deadline() int64 {
	if f := d.doomed(); f != nil && f.due != math.MaxInt64 {
		return f.due
	}
	return 0
}

// removed lists, by service, the deleted servers that are still kept: all of them,
// or with a service those of that one. e.mu is held.
func (e *Engine) removed(of *service) map[ServiceKey][]ServerInfo {
	lists := make(map[ServiceKey][]ServerInfo)
	for k, t := range e.trash {
		if of == nil || of.key == k.service {
			lists[k.service] = append(lists[k.service], t.info())
		}
	}
	for _, l := range lists {
		slices.SortFunc(l, func(a, b ServerInfo) int {
			return AddrPort(a.Key.Addr, a.Key.Port).Compare(AddrPort(b.Key.Addr, b.Key.Port))
		})
	}
	return lists
}

// SetLife changes a service's policy for the life of its servers. It concerns
// servers in trouble already, too: their deadlines count from when that began.
func (tx *Tx) SetLife(k ServiceKey, p LifePolicy) error {
	const op = "set-life"
	is := tx.find(k)
	if is == nil {
		return refuse(op, k, syscall.ESRCH, "there is no such service")
	}
	spec := *is.wanted()
	spec.Life = &p
	if err := checkLife(op, &spec); err != nil {
		return err
	}
	if tx.rehearsal != nil {
		tx.draft(k).spec.Life = &p
		return nil
	}
	s := tx.e.service(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spec.Store(&spec)
	tx.e.refare(s)
	return nil
}

func checkLife(op string, spec *ServiceSpec) error {
	if spec.Life == nil {
		return nil
	}
	if err := spec.Life.Check(spec.Key); err != nil {
		return refuse(op, spec.Key, syscall.EINVAL, err.Error())
	}
	return nil
}

// MarkServer says that a server is down, or up again. A server is up when it is
// added. While it is down schedulers see it as one of weight 0.
func (tx *Tx) MarkServer(k ServiceKey, key ServerKey, down bool) error {
	if err := tx.checkThere("mark-server", k, key); err != nil || tx.rehearsal != nil {
		return err
	}
	s := tx.e.service(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.indexOf(key)
	d := s.dests[at]
	d.life.down = down
	if before := d.Weight; d.weigh() != before {
		s.sched.Changed(sched.Edit, &d.Server, at, s.list)
	}
	tx.e.fare(d)
	return nil
}

// weigh gives schedulers the server's weight, which it returns. The service's mu
// is held.
func (d *dest) weigh() int32 {
	d.Weight = d.weight
	if d.life.down {
		d.Weight = 0
	}
	return d.Weight
}

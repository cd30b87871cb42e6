package nat

import (
	"slices"

	"vsnat/conntrack"
	"vsnat/sched"
)

// watch is where a worker notes how it comes to a decision, if somebody asked. Its
// methods do nothing without it, and cost a branch.
type watch struct {
	rec   Record // of the frame under judgement
	table *conntrack.Table

	connection conntrack.Ref // that it belongs to
	once       bool          // of one-packet scheduling
	template   conntrack.Ref // that names its server
	server     *dest

	first, last int // of the frames to send, those that became of it

	wants   wish
	account *Scheduling // nil if none was wanted

	plain plainNote
}

// wish is what is wanted of schedulers.
type wish uint8

// What is wanted: nothing that allocates; what does not keep packets waiting; all.
const (
	noAccount wish = iota
	briefAccount
	fullAccount
)

// asked is judge for a frame of which a decision may be wanted.
func (w *Worker) asked(j *job) Verdict {
	var traces uint
	if w.traces.all != nil {
		traces = w.wanted(w.pkt)
	}
	oldest := j.f.Time < w.oldest.time
	t := &w.oldest.watches[w.oldest.spare]
	switch {
	case w.explains:
		t.wants = fullAccount
	case traces != 0:
		t.wants = briefAccount
	case oldest:
		t.wants = noAccount
	default:
		return w.judge(j)
	}
	v := w.watched(j, t)
	switch {
	case w.explains:
		w.explained = t.decision(w, j)
	case traces != 0:
		w.tell(traces, t.decision(w, j))
	}
	if oldest && (v.Kind == Forward || v.Kind == Reply) {
		w.oldest.is(j.f, j.i)
	}
	return v
}

// watched is judge for a frame of which t is to note how it is decided.
func (w *Worker) watched(j *job, t *watch) Verdict {
	t.rec.begin(w.now, w.index)
	t.rec.before, t.table = headersOf(j.f.Eth()), w.e.table
	t.connection, t.once, t.template, t.server, t.account = 0, false, 0, nil, nil
	t.plain.is = false
	t.first = len(w.out)
	w.watch = t
	v := w.judge(j)
	w.watch = nil
	t.last = len(w.out)
	t.conclude(w, j, v)
	return v
}

// conclude notes what came of the frame.
func (t *watch) conclude(w *Worker, j *job, v Verdict) {
	r := &t.rec
	r.verdict, r.mark = v, w.mark(j)
	if t.once {
		r.connection.set(t.table.Copy(&w.once))
	} else {
		w.e.copyTo(&r.connection, t.connection)
	}
	w.e.copyTo(&r.templateNow, t.template)
	if t.server != nil {
		r.event = t.server.trouble()
	}
	switch v.Kind {
	case Forward, Hold:
		r.to = j.next
	case Reply:
		r.to = r.before.Src
	}
	if r.to != (Addr{}) {
		r.hop = *w.hop(&r.to)
	}
}

// decision tells all that was noted of the frame, which was judged just now.
func (t *watch) decision(w *Worker, j *job) *Decision {
	d := t.rec.Decision()
	if t.account != nil {
		d.Scheduling = t.account
	}
	for i := range w.out[t.first:t.last] {
		d.Out = append(d.Out, departure(&w.out[t.first+i]))
	}
	if d.Verdict == holding {
		d.Out = append(d.Out, Departure{Port: d.Hop.Index, Kind: Forward, Headers: headersOf(j.f.Eth()), Waits: true})
	}
	return d
}

func departure(o *Out) Departure {
	return Departure{Port: o.Port, Kind: o.Kind, Headers: headersOf(o.Frame.Eth())}
}

// trouble is [dest.event] for those who do not hold the service's mu.
func (d *dest) trouble() LifeEvent {
	f := d.doomed()
	switch {
	case !d.available.Load():
		return Removed
	case f != nil && f.event == Down:
		return Down
	case d.quiesced.Load():
		return Drain
	}
	return 0
}

// copyTo copies a connection, if there is one still.
func (e *Engine) copyTo(to *maybe[conntrack.Copy], r conntrack.Ref) {
	if r == 0 {
		return
	}
	s := e.table.Home(r)
	s.Lock()
	defer s.Unlock()
	if c := s.Get(r); c != nil {
		to.set(e.table.Copy(c))
	}
}

// found notes the connection that a packet from that side belongs to, before it
// is changed.
func (t *watch) found(c *conntrack.Conn, d *dest, from Side) {
	if t != nil {
		t.note(c, d, from)
	}
}

func (t *watch) note(c *conntrack.Conn, d *dest, from Side) {
	t.rec.from = from
	t.rec.found.set(t.table.Copy(c))
	t.connection, t.server = t.table.Ref(c), d
}

// gaveUp notes that the connection found does not count.
func (t *watch) gaveUp(c *conntrack.Conn, d *dest, mode int, byPolicy bool) {
	if t == nil {
		return
	}
	switch {
	case byPolicy:
		t.rec.givenUp = ByPolicy
	case reusable(c, mode):
		t.rec.givenUp = BegunAnew
	case d != nil && d.available.Load():
		t.rec.givenUp = OnNoWeight
	default:
		t.rec.givenUp = OnDeleted
	}
	t.connection, t.server = 0, nil
}

// ruled notes what the doom f says of traffic.
func (t *watch) ruled(f *doom, of Traffic, now int64) {
	if t == nil {
		return
	}
	r := Ruling{Event: f.event, Traffic: of, Action: f.at(now)[of], Deadline: now >= f.due}
	if of == PersistentClient {
		t.rec.templateLife.set(r)
		return
	}
	t.rec.life.set(r)
}

// asks notes that a packet asks for a service.
func (t *watch) asks(s *service, port uint16) {
	if t == nil {
		return
	}
	t.rec.from = ClientSide
	if s == nil {
		t.rec.cause = NoService
		return
	}
	t.rec.service = s.spec.Load()
	switch k := &s.key; {
	case k.Mark != 0:
		t.rec.rule = ByMark
	case k.Port == port:
		t.rec.rule = ByAddress
	case k.Port == 0:
		t.rec.rule = ByAnyPort
	default:
		t.rec.rule = ByFTP
	}
}

// because notes why no connection begins.
func (t *watch) because(c Cause) {
	if t != nil {
		t.rec.cause = c
	}
}

// looked notes the client's template, nil if there is none.
func (t *watch) looked(c *conntrack.Conn) {
	if t == nil {
		return
	}
	t.rec.looked = true
	if c != nil {
		t.rec.template.set(t.table.Copy(c))
	}
}

// rejected notes that the template found does not count.
func (t *watch) rejected() {
	if t == nil {
		return
	}
	t.rec.templateGivenUp = OnUnattractive
	if l := &t.rec.templateLife; l.is && l.value.Action == Move {
		t.rec.templateGivenUp = ByPolicy
	}
}

// named notes the template that names the server.
func (t *watch) named(c *conntrack.Conn) {
	if t != nil {
		t.template = t.table.Ref(c)
	}
}

// made notes a new connection.
func (t *watch) made(c *conntrack.Conn, d *dest) {
	if t != nil {
		t.rec.from = ClientSide
		t.connection, t.once, t.server = t.table.Ref(c), c.Flags&conntrack.OnePacket != 0, d
	}
}

// weighs has the service's scheduler account for the pick it is about to make. The
// service's mu is held.
func (t *watch) weighs(s *service, req *sched.Request) {
	if t == nil {
		return
	}
	t.rec.scheduler = s.spec.Load().Scheduler
	if t.wants == noAccount || t.wants == briefAccount && len(s.list) > traceServers {
		return
	}
	a := s.sched.Explain(s.list, req)
	t.account = &Scheduling{
		Scheduler: t.rec.scheduler, Rule: a.Rule, Compared: a.Compared, Greatest: a.Greatest,
		Candidates: make([]Candidate, len(a.Standings)), Picked: -1,
	}
	for i := range a.Standings {
		st, d := &a.Standings[i], s.dests[i]
		t.account.Candidates[i] = Candidate{
			Key: d.key, Weight: st.Server.Weight, Active: st.Server.Active.Load(), Total: st.Server.Total.Load(),
			Refusal: st.Refusal.String(), Value: st.Value, Counts: st.Counts, Note: st.Note,
		}
		if st.Refusal == sched.NoWeight && d.weight != 0 {
			t.account.Candidates[i].Refusal = "down"
		}
	}
}

// picked notes the scheduler's choice, or nil.
func (t *watch) picked(s *service, srv *sched.Server) {
	if t == nil {
		return
	}
	if t.account != nil {
		t.account.Picked = slices.Index(s.list, srv)
	}
	if srv == nil {
		t.rec.cause = NoneUsable
	}
}

package nat

import (
	"vsnat/conntrack"
	"vsnat/sched"
)

// watch is where a worker notes how it comes to its decisions, if somebody asked.
// Its methods do nothing without it, and cost a branch.
type watch struct {
	d *Decision // of the frame under judgement

	connection conntrack.Ref // that it belongs to
	once       bool          // of one-packet scheduling
	template   conntrack.Ref // that names its server
	server     *dest

	brief bool // no scheduler is asked for a long account
}

// asked is judge for a frame of which a decision may be wanted.
func (w *Worker) asked(j *job) Verdict {
	if w.watch != nil {
		return w.watched(j)
	}
	return w.traced(j)
}

// watched is judge for a frame of which a decision is wanted.
func (w *Worker) watched(j *job) Verdict {
	t := w.watch
	*t = watch{brief: t.brief, d: &Decision{At: w.now, NIC: w.index, Before: headersOf(j.f.Eth())}}
	sent := len(w.out)
	v := w.judge(j)
	t.conclude(w, j, v, w.out[sent:])
	return v
}

// conclude notes what came of the frame.
func (t *watch) conclude(w *Worker, j *job, v Verdict, out []Out) {
	d := t.d
	d.Verdict, d.Mark = v, w.mark(j)
	d.Connection = w.e.copyOf(t.connection)
	if t.once {
		c := w.once.Copy()
		d.Connection = &c
	}
	if d.Template != nil {
		d.Template.Now = w.e.copyOf(t.template)
	}
	if t.server != nil {
		d.Event = t.server.trouble()
	}
	switch v.Kind {
	case Forward, Hold:
		d.To = j.next
	case Reply:
		d.To = d.Before.Src
	}
	if d.To != (Addr{}) {
		d.Hop = *w.hop(&d.To)
	}
	for i := range out {
		d.Out = append(d.Out, Departure{Port: out[i].Port, Kind: out[i].Kind, Headers: headersOf(out[i].Frame.Eth())})
	}
	if v == holding {
		d.Out = append(d.Out, Departure{Port: d.Hop.Index, Kind: Forward, Headers: headersOf(j.f.Eth()), Waits: true})
	}
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

// copyOf returns a copy of a connection, nil if there is none any more.
func (e *Engine) copyOf(r conntrack.Ref) *conntrack.Conn {
	if r == 0 {
		return nil
	}
	s := e.table.Home(r)
	s.Lock()
	defer s.Unlock()
	if c := s.Get(r); c != nil {
		twin := c.Copy()
		return &twin
	}
	return nil
}

// found notes the connection that a packet from that side belongs to, before it
// is changed.
func (t *watch) found(c *conntrack.Conn, d *dest, from Side) {
	if t != nil {
		t.note(c, d, from)
	}
}

func (t *watch) note(c *conntrack.Conn, d *dest, from Side) {
	twin := c.Copy()
	t.d.From, t.d.Found = from, &twin
	t.connection, t.server = c.Ref(), d
}

// gaveUp notes that the connection found does not count.
func (t *watch) gaveUp(c *conntrack.Conn, d *dest, mode int, byPolicy bool) {
	if t == nil {
		return
	}
	switch {
	case byPolicy:
		t.d.GivenUp = ByPolicy
	case reusable(c, mode):
		t.d.GivenUp = BegunAnew
	case d != nil && d.available.Load():
		t.d.GivenUp = OnNoWeight
	default:
		t.d.GivenUp = OnDeleted
	}
	t.connection, t.server = 0, nil
}

// ruled notes what the doom f says of traffic.
func (t *watch) ruled(f *doom, of Traffic, now int64) {
	if t == nil {
		return
	}
	r := &Ruling{Event: f.event, Traffic: of, Action: f.at(now)[of], Deadline: now >= f.due}
	if of == PersistentClient {
		t.d.Template.Life = r
		return
	}
	t.d.Life = r
}

// asks notes that a packet asks for a service.
func (t *watch) asks(s *service, port uint16) {
	if t == nil {
		return
	}
	t.d.From = ClientSide
	if s == nil {
		t.d.Cause = NoService
		return
	}
	t.d.Service = s.spec.Load()
	switch k := &s.key; {
	case k.Mark != 0:
		t.d.Rule = ByMark
	case k.Port == port:
		t.d.Rule = ByAddress
	case k.Port == 0:
		t.d.Rule = ByAnyPort
	default:
		t.d.Rule = ByFTP
	}
}

// because notes why no connection begins.
func (t *watch) because(c Cause) {
	if t != nil {
		t.d.Cause = c
	}
}

// looked notes the client's template, nil if there is none.
func (t *watch) looked(c *conntrack.Conn) {
	if t == nil {
		return
	}
	t.d.Template = &TemplateUse{}
	if c != nil {
		twin := c.Copy()
		t.d.Template.Found = &twin
	}
}

// rejected notes that the template found does not count.
func (t *watch) rejected() {
	if t == nil {
		return
	}
	t.d.Template.GivenUp = OnUnattractive
	if l := t.d.Template.Life; l != nil && l.Action == Move {
		t.d.Template.GivenUp = ByPolicy
	}
}

// named notes the template that names the server.
func (t *watch) named(c *conntrack.Conn) {
	if t != nil {
		t.template = c.Ref()
	}
}

// made notes a new connection.
func (t *watch) made(c *conntrack.Conn, d *dest) {
	if t != nil {
		t.d.From = ClientSide
		t.connection, t.once, t.server = c.Ref(), c.Flags&conntrack.OnePacket != 0, d
	}
}

// weighs has the service's scheduler account for the pick it is about to make. The
// service's mu is held.
func (t *watch) weighs(s *service, req *sched.Request) {
	if t == nil {
		return
	}
	if t.brief && len(s.list) > traceServers {
		t.d.Scheduling = &Scheduling{Scheduler: s.spec.Load().Scheduler, Picked: -1}
		return
	}
	a := s.sched.Explain(s.list, req)
	t.d.Scheduling = &Scheduling{
		Scheduler: s.spec.Load().Scheduler, Rule: a.Rule, Compared: a.Compared, Greatest: a.Greatest,
		Candidates: make([]Candidate, len(a.Standings)), Picked: -1,
	}
	for i := range a.Standings {
		st, d := &a.Standings[i], s.dests[i]
		t.d.Scheduling.Candidates[i] = Candidate{
			Key: d.key, Weight: st.Server.Weight, Active: st.Server.Active.Load(), Total: st.Server.Total.Load(),
			Refusal: st.Refusal.String(), Value: st.Value, Counts: st.Counts, Note: st.Note,
		}
		if st.Refusal == sched.NoWeight && d.weight != 0 {
			t.d.Scheduling.Candidates[i].Refusal = "down"
		}
	}
}

// picked notes the scheduler's choice, or nil.
func (t *watch) picked(s *service, srv *sched.Server) {
	if t == nil {
		return
	}
	for i := range t.d.Scheduling.Candidates {
		if s.list[i] == srv {
			t.d.Scheduling.Picked = i
		}
	}
	if srv == nil {
		t.d.Cause = NoneUsable
	}
}

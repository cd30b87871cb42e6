package nat

import (
	"vsnat/conntrack"
	"vsnat/nic"
)

// recordOut is how many frames that left a record has the headers of: more leave only
// of a packet in pieces.
const recordOut = 4

// Record is a [Decision] in values alone, of fixed size: what a worker notes while it
// decides, and what can be kept of a packet without allocating. It stays true when the
// connection, its server or its service has gone since.
type Record struct {
	at   int64
	nic  int
	mark uint32

	before  Headers
	from    Side
	service *ServiceSpec // is never changed in place
	rule    Rule

	found   maybe[conntrack.Copy]
	givenUp GivenUp
	life    maybe[Ruling]

	looked          bool // for the client's template
	template        maybe[conntrack.Copy]
	templateGivenUp GivenUp
	templateLife    maybe[Ruling]
	templateNow     maybe[conntrack.Copy]

	scheduler  string // that was asked, "" for none
	connection maybe[conntrack.Copy]
	event      LifeEvent

	verdict Verdict
	cause   Cause
	to      Addr
	hop     nic.Hop
	out     [recordOut]Departure
	outs    int // all that left
}

// maybe is a value, or none.
type maybe[T any] struct {
	is    bool
	value T
}

func (m *maybe[T]) set(v T) { m.is, m.value = true, v }

// get returns a copy of the value, nil if there is none.
func (m *maybe[T]) get() *T {
	if !m.is {
		return nil
	}
	v := m.value
	return &v
}

// begin makes it the record of a frame of which nothing is known but that. The values
// that there are not stay as they lie: it is done for packets that nobody may ask about.
func (r *Record) begin(now int64, nic int) {
	r.at, r.nic, r.mark = now, nic, 0
	r.from, r.service, r.rule = 0, nil, 0
	r.found.is, r.givenUp, r.life.is = false, 0, false
	r.looked, r.template.is, r.templateGivenUp, r.templateLife.is, r.templateNow.is = false, false, 0, false, false
	r.scheduler, r.connection.is, r.event = "", false, 0
	r.verdict, r.cause, r.to, r.outs = Verdict{}, 0, Addr{}, 0
}

// depart notes the frames that left.
func (r *Record) depart(out []Out) {
	r.outs = len(out)
	for i := range out[:min(len(out), recordOut)] {
		r.out[i] = departure(&out[i])
	}
}

// Decision returns the decision that it is the record of. A scheduler's account is not
// in it, but for the scheduler's name.
func (r *Record) Decision() *Decision {
	d := &Decision{
		At: r.at, NIC: r.nic, Mark: r.mark, Before: r.before, From: r.from, Service: r.service, Rule: r.rule,
		Found: r.found.get(), GivenUp: r.givenUp, Life: r.life.get(),
		Connection: r.connection.get(), Event: r.event, Verdict: r.verdict, Cause: r.cause, To: r.to,
	}
	if r.looked {
		d.Template = &TemplateUse{Found: r.template.get(), GivenUp: r.templateGivenUp, Life: r.templateLife.get(), Now: r.templateNow.get()}
	}
	if r.scheduler != "" {
		d.Scheduling = &Scheduling{Scheduler: r.scheduler, Brief: true, Picked: -1}
	}
	if r.to != (Addr{}) {
		d.Hop = r.hop
	}
	n := min(r.outs, recordOut)
	d.Out = append(d.Out, r.out[:n]...)
	d.MoreOut = r.outs - n
	return d
}

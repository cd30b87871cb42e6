package nat

import (
	"math"

	"vsnat/conntrack"
	"vsnat/nat/wire"
	"vsnat/nic"
)

// Of each batch one packet is remembered with the decision on it: of those that left
// the one that the kernel received first, which so took longest. Of the others nothing
// is noted, unless somebody asks.

// oldest is what a worker knows of that packet.
type oldest struct {
	time int64 // when it was received
	i    int   // its index in the batch; -1 is none
	// One of the watches is the packet's, the spare one is that of the frame under
	// judgement.
	spare   int
	watches [2]watch
	// before is what was known before it.
	before struct {
		time int64
		i    int
	}
}

func (o *oldest) forget() { o.time, o.i = math.MaxInt64, -1 }

// is makes the frame that the spare watch is of the oldest one.
func (o *oldest) is(f *nic.Frame, i int) {
	o.before.time, o.before.i = o.time, o.i
	o.time, o.i, o.spare = f.Time, i, 1-o.spare
}

// not takes back that the frame, if it was the last one said to be so, is the oldest.
func (o *oldest) not(i int) {
	if o.i == i {
		o.time, o.i, o.spare = o.before.time, o.before.i, 1-o.spare
	}
}

// plainNote is what is noted of a packet that goes the express way. All else about it
// can be told afterwards.
type plainNote struct {
	is    bool
	head  [plainNoted]byte // of the frame, as it came
	conn  conntrack.Copy   // as it was before
	event LifeEvent
}

// plainNoted is how much of a plain frame is noted: its link-layer header, and of the
// IP header what has the time to live.
const plainNoted = 24

// notePlain notes of a plain packet of connection c what will have changed once it has
// gone the express way, and takes it for the oldest: [oldest.not] takes that back if it
// cannot go there. The shard of c is locked.
func (w *Worker) notePlain(i int, f *nic.Frame, c *conntrack.Conn) {
	t := &w.oldest.watches[w.oldest.spare]
	n := &t.plain
	n.is = true
	n.head = [plainNoted]byte(f.Buf[nic.VNetHdrLen:])
	w.e.table.CopyTo(&n.conn, c)
	n.event = 0
	if d := w.snap.dest(c.Server); d != nil {
		n.event = d.trouble()
	}
	t.first = len(w.out)
	t.last = t.first + 1
	w.oldest.is(f, i)
}

// Oldest returns the index in the batch of the packet that was received first, of
// those that left; -1 if none did. It is valid until Commit.
func (w *Worker) Oldest() int { return w.oldest.i }

// Record makes r the record of the decision on the oldest packet, which there must be.
// It is to be called before Commit.
func (w *Worker) Record(r *Record) {
	t := &w.oldest.watches[1-w.oldest.spare]
	if t.plain.is {
		t.complete(w, &w.plains[w.oldest.i])
	}
	*r = t.rec
	r.depart(w.out[t.first:t.last])
}

// complete makes the record of a packet that went the express way what it would be if
// it had gone the other.
func (t *watch) complete(w *Worker, q *plain) {
	r, n := &t.rec, &t.plain
	r.begin(w.now, w.index)
	r.before = q.headers(&n.head)
	r.found.set(n.conn)
	r.connection.set(n.conn)
	c, deadline := &r.connection.value, &w.express.tcp
	if c.Proto == ProtoUDP {
		deadline = &w.express.udp
	}
	deadline.Of(&c.Conn)
	if q.in {
		r.from, r.to = ClientSide, c.Dest
		c.InPkts++
		c.InBytes += uint64(q.length)
	} else {
		r.from, r.to = ServerSide, c.Client
		c.OutBytes += uint64(q.length)
	}
	r.event, r.verdict, r.hop = n.event, forwarded, *w.hop(&r.to)
}

// headers returns the packet's headers as it came; head is the beginning of its frame.
func (q *plain) headers(head *[plainNoted]byte) Headers {
	eth, k := wire.Ethernet(head[:]), q.portKey()
	ttl := head[wire.EthernetLen+8]
	if q.v6 {
		ttl = head[wire.EthernetLen+7]
	}
	return Headers{
		SrcMAC: eth.Src(), DstMAC: eth.Dst(), Src: k.Remote, Dst: k.Local, SrcPort: k.RemotePort, DstPort: k.LocalPort,
		Proto: k.Proto, TTL: ttl, Length: q.length, TCPFlags: q.flags,
	}
}

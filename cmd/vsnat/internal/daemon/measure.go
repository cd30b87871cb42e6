package daemon

import (
	"time"

	"vsnat/cmd/vsnat/internal/latency"
	"vsnat/nat"
	"vsnat/nic"
)

// serviceRecords are a worker's measurements of those services that somebody
// asked for. The map is not changed any more.
type serviceRecords map[nat.ServiceKey]*serviceRecord

// serviceRecord is a worker's measurement of one service.
type serviceRecord struct {
	verdict, receive latency.Histogram // as in a [latency.Record]
}

// measure takes the latency of the frames that left. One reading of the clock
// serves the whole batch, which left together.
func (t *thread) measure(q *queue, b *nic.Batch, picked, judged time.Time) {
	sent := time.Now()
	now, pickedAt := sent.UnixNano(), picked.UnixNano()
	n := 0
	for i := range b.N {
		if k := q.worker.Verdict(i).Kind; k != nat.Forward && k != nat.Reply {
			continue
		}
		t.took[n] = now - received(&b.Frames[i], pickedAt)
		n++
	}
	first := q.worker.Oldest()
	if first < 0 {
		return
	}
	r := q.record.Load()
	r.Verdict.Record(int64(judged.Sub(picked)), n)
	r.Sent.Record(int64(sent.Sub(picked)), n)
	r.Receive.RecordAll(t.took[:n])
	// Of a batch that is slow, the slowest stands for all.
	if at := received(&b.Frames[first], pickedAt); r.Slowest.Wants(now, now-at) {
		p := &t.slow
		p.Received, p.Slept, p.Woke, p.Picked, p.Judged, p.Sent = at, t.slept, t.woke.UnixNano(), pickedAt, judged.UnixNano(), now
		p.Batch, p.Subject, p.Kind = b.N, q.worker.Subject(first), q.worker.Verdict(first).Kind
		q.worker.Record(&p.Record)
		r.Slowest.Add(p)
	}
	if s := q.services.Load(); s != nil {
		q.measureServices(*s, b, now, pickedAt, int64(judged.Sub(picked)))
	}
}

// received returns when the kernel received the frame; devices that do not know
// received it when it was picked up.
func received(f *nic.Frame, picked int64) int64 {
	if f.Time == 0 {
		return picked
	}
	return f.Time
}

// measureServices does the same for the services that are asked for.
func (q *queue) measureServices(all serviceRecords, b *nic.Batch, sent, picked, verdict int64) {
	for i := range b.N {
		if k := q.worker.Verdict(i).Kind; k != nat.Forward && k != nat.Reply {
			continue
		}
		s := q.worker.Subject(i)
		if r := all[s.Service]; s.Owned && r != nil {
			r.verdict.Record(verdict, 1)
			r.receive.Record(sent-received(&b.Frames[i], picked), 1)
		}
	}
}

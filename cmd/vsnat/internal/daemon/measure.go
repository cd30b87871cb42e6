package daemon

import (
	"math"
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
	n, first, longest := 0, -1, int64(math.MinInt64)
	for i := range b.N {
		if k := q.worker.Verdict(i).Kind; k != nat.Forward && k != nat.Reply {
			continue
		}
		d := now - received(&b.Frames[i], pickedAt)
		if t.took[n] = d; d > longest {
			longest, first = d, i
		}
		n++
	}
	if n == 0 {
		return
	}
	r := q.record.Load()
	r.Verdict.Record(int64(judged.Sub(picked)), n)
	r.Sent.Record(int64(sent.Sub(picked)), n)
	r.Receive.RecordAll(t.took[:n])
	// Of a batch that is slow, the slowest stands for all.
	if r.Slowest.Wants(now, longest) {
		r.Slowest.Add(&latency.Packet{
			Received: now - longest, Slept: t.slept, Woke: t.woke.UnixNano(), Picked: pickedAt, Judged: judged.UnixNano(), Sent: now,
			Batch: b.N, Subject: q.worker.Subject(first), Kind: q.worker.Verdict(first).Kind,
		})
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

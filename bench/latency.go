package bench

// DirectorLatency is the director's own report at /v1/latency.
type DirectorLatency struct {
	Budget  int64   `json:"budget_ns"`
	Verdict Latency `json:"pickup_to_verdict"`
	Pickup  Latency `json:"pickup_to_sent"`
	Receive Latency `json:"receive_to_sent"`
}

// Latency is one histogram, in nanoseconds.
type Latency struct {
	Count   uint64          `json:"count"`
	Mean    float64         `json:"mean_ns"`
	P50     int64           `json:"p50_ns"`
	P90     int64           `json:"p90_ns"`
	P99     int64           `json:"p99_ns"`
	P999    int64           `json:"p999_ns"`
	Max     int64           `json:"max_ns"`
	Over    float64         `json:"share_over_budget"`
	Buckets []LatencyBucket `json:"buckets"`
}

// LatencyBucket counts latencies of at most Upper nanoseconds and more than the
// bucket before.
type LatencyBucket struct {
	Upper int64  `json:"le_ns"`
	Count uint64 `json:"count"`
}

// since returns what came after an earlier report of the same director. The
// longest duration is known only to its bucket.
func (l *DirectorLatency) since(before *DirectorLatency) *DirectorLatency {
	return &DirectorLatency{
		Budget: l.Budget, Verdict: l.Verdict.since(&before.Verdict, l.Budget), Pickup: l.Pickup.since(&before.Pickup, l.Budget), Receive: l.Receive.since(&before.Receive, l.Budget),
	}
}

func (l *Latency) since(before *Latency, budget int64) (d Latency) {
	earlier := make(map[int64]uint64, len(before.Buckets))
	for _, b := range before.Buckets {
		earlier[b.Upper] = b.Count
	}
	var over uint64
	for _, b := range l.Buckets {
		b.Count -= earlier[b.Upper]
		if b.Count == 0 {
			continue
		}
		d.Buckets = append(d.Buckets, b)
		d.Count += b.Count
		d.Max = b.Upper
		if b.Upper > budget {
			over += b.Count
		}
	}
	if d.Count == 0 {
		return d
	}
	d.Mean = (l.Mean*float64(l.Count) - before.Mean*float64(before.Count)) / float64(d.Count)
	d.Over = float64(over) / float64(d.Count)
	d.P50, d.P90, d.P99, d.P999 = d.quantile(0.5), d.quantile(0.9), d.quantile(0.99), d.quantile(0.999)
	return d
}

// quantile returns a duration that at least the share q does not exceed.
func (l *Latency) quantile(q float64) int64 {
	want, seen := uint64(q*float64(l.Count)), uint64(0)
	for _, b := range l.Buckets {
		if seen += b.Count; seen > want {
			return b.Upper
		}
	}
	return l.Max
}

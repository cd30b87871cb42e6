// Package latency counts durations in a histogram that one goroutine writes
// and any reads, without locks.
package latency

import (
	"math/bits"
	"sync/atomic"
)

// The buckets are log-linear: each power of two of nanoseconds is split into
// subBuckets equal parts, so that a bucket is at most 1/32 of its value wide.
const (
	subBits    = 5
	subBuckets = 1 << subBits
	buckets    = (64 - subBits) << subBits
)

// Histogram counts durations. The zero value is empty and ready.
type Histogram struct {
	count [buckets]atomic.Uint64
	n     atomic.Uint64
	max   atomic.Int64
	sum   atomic.Int64
}

func bucketOf(ns int64) int {
	if ns < subBuckets {
		return int(max(ns, 0))
	}
	shift := bits.Len64(uint64(ns)) - subBits - 1
	return (shift+1)<<subBits + int(ns>>shift) - subBuckets
}

// upper returns the largest duration that falls into bucket i.
func upper(i int) int64 {
	if i < subBuckets {
		return int64(i)
	}
	shift := i>>subBits - 1
	return int64(i&(subBuckets-1)+subBuckets+1)<<shift - 1
}

// Record counts n times the duration ns, in nanoseconds; negative ones, which a
// clock that was set back gives, count as 0. Only one goroutine calls it.
func (h *Histogram) Record(ns int64, n int) {
	ns = max(ns, 0)
	h.count[bucketOf(ns)].Add(uint64(n))
	h.n.Add(uint64(n))
	h.sum.Add(ns * int64(n))
	if ns > h.max.Load() {
		h.max.Store(ns)
	}
}

// Bucket is a part of a histogram: Count durations of at most Upper
// nanoseconds and more than the bucket before.
type Bucket struct {
	Upper int64  `json:"le_ns"`
	Count uint64 `json:"count"`
}

// Summary is a histogram's figures, in nanoseconds.
type Summary struct {
	Count   uint64   `json:"count"`
	Mean    float64  `json:"mean_ns"`
	P50     int64    `json:"p50_ns"`
	P90     int64    `json:"p90_ns"`
	P99     int64    `json:"p99_ns"`
	P999    int64    `json:"p999_ns"`
	Max     int64    `json:"max_ns"`
	Over    float64  `json:"share_over_budget"` // of the durations longer than the budget
	Buckets []Bucket `json:"buckets"`           // those that are not empty
}

// Summarize adds up histograms. budget is in nanoseconds; a bucket that
// reaches over it counts as over.
func Summarize(budget int64, hs ...*Histogram) Summary {
	s := Summary{Buckets: []Bucket{}}
	var over uint64
	var sum int64
	for i := range buckets {
		var c uint64
		for _, h := range hs {
			c += h.count[i].Load()
		}
		if c == 0 {
			continue
		}
		s.Count += c
		if upper(i) > budget {
			over += c
		}
		s.Buckets = append(s.Buckets, Bucket{upper(i), c})
	}
	for _, h := range hs {
		s.Max = max(s.Max, h.max.Load())
		sum += h.sum.Load()
	}
	if s.Count != 0 {
		s.Mean = float64(sum) / float64(s.Count)
	}
	s.figures(over)
	return s
}

// quantile returns a duration that at least the share q does not exceed.
func (s *Summary) quantile(q float64) int64 {
	want := uint64(q * float64(s.Count))
	var seen uint64
	for _, b := range s.Buckets {
		seen += b.Count
		if seen > want || seen == s.Count {
			return min(b.Upper, s.Max)
		}
	}
	return s.Max
}

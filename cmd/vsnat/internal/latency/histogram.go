// Package latency keeps the record of how long packets took: histograms that one
// goroutine writes and any reads, without locks; the slowest packets of the last
// minute; and what the machine itself did meanwhile, so that its fault is not
// taken for that of the director.
package latency

import (
	"math/bits"
	"sync/atomic"
)

// The buckets are those of HdrHistogram (hdrhistogram.org) for durations from
// 1 ns to Longest with SignificantDigits: exact below 256 ns, and above it each power
// of two in 128 equal parts, so that a bucket is less than 1 % of its value wide.
const (
	SignificantDigits = 2
	// Longest is the longest duration in nanoseconds that is told from longer
	// ones, 68.7 s.
	Longest = 1<<36 - 1

	subBits = 8
	half    = 1 << (subBits - 1)
	buckets = (36 - subBits + 2) * half
)

// Histogram counts durations. The zero value is empty and ready.
type Histogram struct {
	count [buckets]atomic.Uint64
	sum   atomic.Int64
	max   atomic.Int64
}

// bucketOf returns the bucket of a duration from 0 on.
func bucketOf(ns int64) int {
	ns = min(ns, Longest)
	shift := max(bits.Len64(uint64(ns))-subBits, 0)
	return shift*half + int(ns>>shift)
}

// upper returns the longest duration that falls into bucket i.
func upper(i int) int64 {
	shift := max(i/half-1, 0)
	return int64(i-shift*half+1)<<shift - 1
}

// Record counts n times the duration ns, in nanoseconds; negative ones, which a
// clock that was set back gives, count as 0. Only one goroutine at a time calls
// Record and RecordAll.
func (h *Histogram) Record(ns int64, n int) {
	ns = max(ns, 0)
	h.count[bucketOf(ns)].Add(uint64(n))
	h.sum.Add(ns * int64(n))
	if ns > h.max.Load() {
		h.max.Store(ns)
	}
}

// RecordAll counts each of the durations once, as Record does.
func (h *Histogram) RecordAll(all []int64) {
	var sum, longest int64
	for _, ns := range all {
		ns = max(ns, 0)
		h.count[bucketOf(ns)].Add(1)
		sum += ns
		longest = max(longest, ns)
	}
	h.sum.Add(sum)
	if longest > h.max.Load() {
		h.max.Store(longest)
	}
}

// Snapshot is what histograms held at one moment. Snapshots can be merged: that
// of the parts is that of the whole. The zero value is empty.
type Snapshot struct {
	count [buckets]uint64
	n     uint64
	sum   int64
	max   int64
}

// Add adds what h holds.
func (s *Snapshot) Add(h *Histogram) {
	for i := range h.count {
		c := h.count[i].Load()
		s.count[i] += c
		s.n += c
	}
	s.sum += h.sum.Load()
	s.max = max(s.max, h.max.Load())
}

// Merge adds what o holds.
func (s *Snapshot) Merge(o *Snapshot) {
	for i, c := range o.count {
		s.count[i] += c
	}
	s.n += o.n
	s.sum += o.sum
	s.max = max(s.max, o.max)
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

// Summarize returns the figures. budget is in nanoseconds; a bucket that reaches
// over it counts as over.
func (s *Snapshot) Summarize(budget int64) Summary {
	sum := Summary{Count: s.n, Max: s.max, Buckets: []Bucket{}}
	var over uint64
	for i, c := range s.count {
		if c == 0 {
			continue
		}
		if upper(i) > budget {
			over += c
		}
		sum.Buckets = append(sum.Buckets, Bucket{upper(i), c})
	}
	if s.n > 0 {
		sum.Mean = float64(s.sum) / float64(s.n)
	}
	sum.figures(over)
	return sum
}

// Summarize returns the figures of several histograms taken together.
func Summarize(budget int64, hs ...*Histogram) Summary {
	var s Snapshot
	for _, h := range hs {
		s.Add(h)
	}
	return s.Summarize(budget)
}

// quantile returns a duration that the share q of all does not exceed, as
// HdrHistogram does: the upper end of its bucket, but never more than the longest.
func (s *Summary) quantile(q float64) int64 {
	want := max(uint64(q*float64(s.Count)+0.5), 1)
	var seen uint64
	for _, b := range s.Buckets {
		if seen += b.Count; seen >= want {
			return min(b.Upper, s.Max)
		}
	}
	return s.Max
}

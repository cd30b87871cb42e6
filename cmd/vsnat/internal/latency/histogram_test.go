package latency

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/HdrHistogram/hdrhistogram-go"
)

func TestBucketsAreContiguous(t *testing.T) {
	if got := bucketOf(0); got != 0 {
		t.Fatalf("bucketOf(0) = %d", got)
	}
	for i := range buckets - 1 {
		u := upper(i)
		if got := bucketOf(u); got != i {
			t.Fatalf("bucketOf(upper(%d) = %d) = %d", i, u, got)
		}
		if got := bucketOf(u + 1); got != i+1 {
			t.Fatalf("bucketOf(%d) = %d, want %d", u+1, got, i+1)
		}
	}
	if u := upper(buckets - 1); u != Longest {
		t.Errorf("the last bucket ends at %d, want %d", u, Longest)
	}
	for _, ns := range []int64{Longest, Longest + 1, math.MaxInt64} {
		if got := bucketOf(ns); got != buckets-1 {
			t.Errorf("bucketOf(%d) = %d, want the last, %d", ns, got, buckets-1)
		}
	}
}

// durations draws n durations from a few nanoseconds to seconds.
func durations(seed uint64, n int) []int64 {
	rng := rand.New(rand.NewPCG(seed, 2))
	all := make([]int64, n)
	for i := range all {
		all[i] = int64(math.Exp(rng.Float64()*22)) + 1
	}
	return all
}

// TestSameAsHdrHistogram holds buckets, counts and quantiles to those of the
// reference implementation.
func TestSameAsHdrHistogram(t *testing.T) {
	ref := hdrhistogram.New(1, Longest, SignificantDigits)
	var h Histogram
	for _, ns := range durations(1, 50000) {
		h.Record(ns, 1)
		if err := ref.RecordValue(ns); err != nil {
			t.Fatal(err)
		}
	}
	var s Snapshot
	s.Add(&h)
	counts := ref.Export().Counts
	if len(counts) != buckets {
		t.Fatalf("the reference has %d buckets, we have %d", len(counts), buckets)
	}
	for i, c := range counts {
		if s.count[i] != uint64(c) {
			t.Fatalf("bucket %d holds %d, the reference's %d", i, s.count[i], c)
		}
	}
	sum := s.Summarize(1)
	for _, q := range []float64{0.001, 0.25, 0.5, 0.9, 0.99, 0.999, 0.9999} {
		// The reference knows the longest only to its bucket.
		if got, want := sum.quantile(q), min(ref.ValueAtQuantile(100*q), s.max); got != want {
			t.Errorf("quantile %v: %d, the reference has %d", q, got, want)
		}
	}
}

func TestSummaryAgainstSortedValues(t *testing.T) {
	var a, b Histogram
	all := durations(3, 20000)
	const budget = 100_000
	over := 0
	for i, ns := range all {
		if i%2 == 0 {
			a.Record(ns, 1)
		} else {
			b.RecordAll(all[i : i+1])
		}
		if ns > budget {
			over++
		}
	}
	var sum float64
	for _, ns := range all {
		sum += float64(ns)
	}
	slices.Sort(all)
	var s, other Snapshot
	s.Add(&a)
	other.Add(&b)
	s.Merge(&other)
	got := s.Summarize(budget)
	if got.Count != uint64(len(all)) || got.Max != all[len(all)-1] {
		t.Fatalf("count %d max %d, want %d %d", got.Count, got.Max, len(all), all[len(all)-1])
	}
	if want := sum / float64(len(all)); math.Abs(got.Mean-want) > 1 {
		t.Errorf("mean %v, want %v", got.Mean, want)
	}
	for _, c := range []struct {
		q    float64
		have int64
	}{{0.5, got.P50}, {0.9, got.P90}, {0.99, got.P99}, {0.999, got.P999}} {
		want := float64(all[int(c.q*float64(len(all)))-1])
		if float64(c.have) < want || float64(c.have) > want*1.01 {
			t.Errorf("quantile %v = %d, want %v to 1 %% more", c.q, c.have, want)
		}
	}
	if want := float64(over) / float64(len(all)); math.Abs(got.Over-want) > 0.005 {
		t.Errorf("share over budget %v, want about %v", got.Over, want)
	}
	var n uint64
	for _, b := range got.Buckets {
		n += b.Count
	}
	if n != got.Count {
		t.Errorf("the buckets hold %d, want %d", n, got.Count)
	}
}

func TestNoDurations(t *testing.T) {
	var s Snapshot
	if got := s.Summarize(100); got.Count != 0 || got.Mean != 0 || got.P999 != 0 || got.Over != 0 || got.Buckets == nil {
		t.Errorf("%+v", got)
	}
}

func TestRecordAllocatesNothing(t *testing.T) {
	var h Histogram
	all := durations(4, 64)
	if n := testing.AllocsPerRun(100, func() { h.Record(1234, 3); h.Record(-5, 1); h.RecordAll(all) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func BenchmarkRecordAll(b *testing.B) {
	var h Histogram
	all := durations(4, 64)
	for b.Loop() {
		h.RecordAll(all)
	}
}

// TestSince compares what comes after a summary with a histogram of that alone.
func TestSince(t *testing.T) {
	var all, later Histogram
	for ns := int64(1); ns < 5_000; ns += 7 {
		all.Record(ns, 2)
	}
	before := Summarize(100, &all)
	for ns := int64(3); ns < 1_000; ns += 5 {
		all.Record(ns, 1)
		later.Record(ns, 1)
	}
	after := Summarize(100, &all)
	got, want := after.Since(&before, 100), Summarize(100, &later)
	if got.Count != want.Count || got.Over != want.Over || got.P50 != want.P50 || got.P90 != want.P90 || !slices.Equal(got.Buckets, want.Buckets) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	if last := want.Buckets[len(want.Buckets)-1].Upper; got.Max != last {
		t.Errorf("the longest is %d, its bucket's is %d", got.Max, last)
	}
	if none := after.Since(&after, 100); none.Count != 0 || none.Max != 0 || len(none.Buckets) != 0 {
		t.Errorf("nothing came since, but %+v", none)
	}
	if anew := before.Since(&after, 100); anew.Count != before.Count {
		t.Errorf("after a new start: %+v", anew)
	}
}

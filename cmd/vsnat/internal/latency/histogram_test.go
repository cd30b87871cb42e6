package latency

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestBucketsAreContiguous(t *testing.T) {
	for i := range buckets - 1 {
		u := upper(i)
		if u == math.MaxInt64 || u < 0 {
			break
		}
		if got := bucketOf(u); got != i {
			t.Fatalf("bucketOf(upper(%d) = %d) = %d", i, u, got)
		}
		if got := bucketOf(u + 1); got != i+1 {
			t.Fatalf("bucketOf(%d) = %d, want %d", u+1, got, i+1)
		}
	}
}

func TestSummaryAgainstSortedValues(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var a, b Histogram
	var all []int64
	over := 0
	for i := range 20000 {
		v := int64(math.Exp(rng.Float64()*12)) + 50
		if i%2 == 0 {
			a.Record(v, 1)
		} else {
			b.Record(v, 1)
		}
		if v > 100000 {
			over++
		}
		all = append(all, v)
	}
	slices.Sort(all)
	s := Summarize(100000, &a, &b)
	if s.Count != uint64(len(all)) || s.Max != all[len(all)-1] {
		t.Fatalf("count %d max %d, want %d %d", s.Count, s.Max, len(all), all[len(all)-1])
	}
	for _, c := range []struct {
		q    float64
		have int64
	}{{0.5, s.P50}, {0.9, s.P90}, {0.99, s.P99}, {0.999, s.P999}} {
		want := all[int(c.q*float64(len(all)))]
		if float64(c.have) < float64(want) || float64(c.have) > float64(want)*1.04 {
			t.Errorf("quantile %v = %d, want %d to 4 %% more", c.q, c.have, want)
		}
	}
	if want := float64(over) / float64(len(all)); math.Abs(s.Over-want) > 0.005 {
		t.Errorf("share over budget %v, want about %v", s.Over, want)
	}
}

func TestRecordAllocatesNothing(t *testing.T) {
	var h Histogram
	if n := testing.AllocsPerRun(100, func() { h.Record(1234, 3); h.Record(-5, 1) }); n != 0 {
		t.Fatalf("%v allocations", n)
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

package bench

import (
	"slices"
	"testing"
)

func TestLatencySince(t *testing.T) {
	before := DirectorLatency{Budget: 100, Receive: Latency{Count: 10, Mean: 5, Buckets: []LatencyBucket{{5, 10}}}}
	after := DirectorLatency{Budget: 100, Receive: Latency{Count: 20, Mean: 55, Max: 300, Buckets: []LatencyBucket{{5, 10}, {50, 6}, {90, 3}, {300, 1}}}}
	got := after.since(&before).Receive
	want := Latency{Count: 10, Mean: 105, P50: 50, P90: 300, P99: 300, P999: 300, Max: 300, Over: 0.1, Buckets: after.Receive.Buckets[1:]}
	if !slices.Equal(got.Buckets, want.Buckets) {
		t.Errorf("buckets %v", got.Buckets)
	}
	got.Buckets, want.Buckets = nil, nil
	if got.Count != want.Count || got.Mean != want.Mean || got.P50 != want.P50 || got.P90 != want.P90 || got.P99 != want.P99 ||
		got.Max != want.Max || got.Over != want.Over {
		t.Errorf("%+v, want %+v", got, want)
	}
	if none := before.since(&before).Receive; none.Count != 0 || none.P50 != 0 {
		t.Errorf("of nothing: %+v", none)
	}
}

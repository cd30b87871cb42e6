package sched_test

import (
	"strings"
	"testing"

	"vsnat/sched"
	"vsnat/sched/schedtest"
)

// subjects says for each scheduler what its picks should look like. What
// follows a hyphen in a name tells flags apart.
var subjects = []struct {
	name string
	schedtest.Subject
}{
	{"rr", schedtest.Subject{Shares: equal, Tolerance: 1e-5}},
	{"wrr", schedtest.Subject{Shares: byWeight, Tolerance: 1e-5}},
	{"lc", schedtest.Subject{Shares: equal, Open: 1000, Tolerance: 0.005}},
	{"wlc", schedtest.Subject{Shares: byWeight, Open: 1000, Tolerance: 0.005}},
	{"sed", schedtest.Subject{Shares: byWeight, Open: 1000, Tolerance: 0.005}},
	{"nq", schedtest.Subject{Shares: byWeight, Open: 1000, Tolerance: 0.005}},
	{"fo", schedtest.Subject{Shares: heaviest}},
	// As many connections as the servers take together: each is kept full.
	{"ovf", schedtest.Subject{Shares: byWeightPlus1, Open: 20, Tolerance: 1e-5, MayFail: true}},
	{"dh", schedtest.Subject{Shares: equalBuckets, Tolerance: 0.01, MayFail: true}},
	{"sh", schedtest.Subject{Shares: weightBuckets, Tolerance: 0.01, MayFail: true}},
	{"sh-port", schedtest.Subject{Flags: sched.Flag2, Shares: weightBuckets, Tolerance: 0.01, MayFail: true}},
	{"sh-fallback", schedtest.Subject{Flags: sched.Flag1, Shares: fallbackBuckets, Tolerance: 0.01, MayFail: true}},
	{"sh-fallback-port", schedtest.Subject{Flags: sched.Flag1 | sched.Flag2, Shares: fallbackBuckets, Tolerance: 0.01, MayFail: true}},
	{"mh", schedtest.Subject{Shares: byWeight, Tolerance: 0.01, MayFail: true}},
	{"mh-port", schedtest.Subject{Flags: sched.Flag2, Shares: byWeight, Tolerance: 0.01, MayFail: true}},
	{"mh-fallback", schedtest.Subject{Flags: sched.Flag1, Shares: byWeight, Tolerance: 0.01, MayFail: true}},
	{"mh-fallback-port", schedtest.Subject{Flags: sched.Flag1 | sched.Flag2, Shares: byWeight, Tolerance: 0.01, MayFail: true}},
	{"lblc", schedtest.Subject{Shares: byWeight, Open: 1000, Tolerance: 0.02, PicksOverloaded: true}},
	{"lblcr", schedtest.Subject{Shares: byWeight, Open: 1000, Tolerance: 0.02}},
	{"lrt", schedtest.Subject{Shares: byWeight, Open: 1000, Tolerance: 0.005}},
	{"twos", schedtest.Subject{Shares: byWeight, Open: 1000, Tolerance: 0.02}},
}

func TestLaws(t *testing.T) {
	if testing.Short() {
		t.Skip("takes minutes with the race detector, and is one goroutine")
	}
	missing := map[string]bool{}
	for _, name := range sched.Names() {
		missing[name] = true
	}
	for _, subject := range subjects {
		name, _, _ := strings.Cut(subject.name, "-")
		delete(missing, name)
		subject.New = func() sched.Scheduler {
			s, err := sched.New(name)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		t.Run(subject.name, func(t *testing.T) { schedtest.Run(t, subject.Subject) })
	}
	for name := range missing {
		t.Errorf("%s has no row in subjects", name)
	}
}

// equal gives every server with a weight the same share.
func equal(weights []int32) []float64 {
	return shares(weights, func(w int32) int32 { return min(w, 1) })
}

func byWeight(weights []int32) []float64 {
	return shares(weights, func(w int32) int32 { return w })
}

// equalBuckets gives every server the same share, and those of no weight fail
// theirs.
func equalBuckets(weights []int32) []float64 {
	all := make([]float64, len(weights))
	for i, w := range weights {
		all[i] = float64(min(w, 1)) / float64(len(weights))
	}
	return all
}

// weightBuckets is sh's: a server of no weight has a bucket, and fails it.
func weightBuckets(weights []int32) []float64 {
	all := shares(weights, func(w int32) int32 { return max(w, 1) })
	for i, w := range weights {
		if w == 0 {
			all[i] = 0
		}
	}
	return all
}

// fallbackBuckets is sh's with sh-fallback, for the kit's list 5, 4, 3, 2, 1, 0:
// 16 buckets a round, the last of them of no weight. Twice its number is that of
// the bucket before, so that server gets its share.
func fallbackBuckets(weights []int32) []float64 {
	all := weightBuckets(weights)
	all[len(all)-2] += 1. / 16
	return all
}

// byWeightPlus1 is for servers that are full with one connection more than
// their weight.
func byWeightPlus1(weights []int32) []float64 {
	return shares(weights, func(w int32) int32 {
		if w == 0 {
			return 0
		}
		return w + 1
	})
}

// heaviest gives all to the first server, which the kit makes the heaviest.
func heaviest(weights []int32) []float64 {
	all := make([]float64, len(weights))
	all[0] = 1
	return all
}

func shares(weights []int32, due func(int32) int32) []float64 {
	var sum float64
	for _, w := range weights {
		sum += float64(due(w))
	}
	var all []float64
	for _, w := range weights {
		all = append(all, float64(due(w))/sum)
	}
	return all
}

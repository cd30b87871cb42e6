package bench

import (
	"math"
	"slices"
	"strings"
	"testing"
)

func TestSeries(t *testing.T) {
	nan := math.NaN()
	s := Series{4, nan, 1, 3, 2}
	low, high := s.Spread()
	if s.Median() != 2.5 || low != 1 || high != 4 {
		t.Errorf("median %v, spread %v to %v", s.Median(), low, high)
	}
	if !math.IsNaN(Series{nan}.Median()) || (Series{nan}).spread(1) != "-" {
		t.Error("a figure of nothing")
	}
	if got := s.over(Series{2, 5, 0, nan, 4}); !slices.Equal(got, Series{2, 0.5}) {
		t.Errorf("ratios %v", got)
	}
	if got := s.spread(1); got != "2.5 (1.0..4.0)" {
		t.Errorf("printed %q", got)
	}
}

func TestDifferenceNamesNothingInsideTheNoise(t *testing.T) {
	for _, c := range []struct {
		a, b Series
		want string
	}{
		{Series{1, 2, 3}, Series{4, 5, 6}, "lower"},
		{Series{7, 8, 9}, Series{4, 5, 6}, "higher"},
		{Series{1, 2, 5}, Series{4, 5, 6}, "no difference seen"},
		{Series{1, 2, 3}, Series{3, 4, 5}, "no difference seen"},
		{Series{1, 1, 1}, Series{1, 1, 1}, "no difference seen"},
		{Series{1, 2}, Series{4, 5, 6}, "fewer than 3 rounds: nothing is concluded"},
		{Series{1, 2, 3}, Series{4, math.NaN(), 6}, "fewer than 3 rounds: nothing is concluded"},
	} {
		if got := Difference(c.a, c.b); got != c.want {
			t.Errorf("%v against %v: %q, want %q", c.a, c.b, got, c.want)
		}
	}
}

func TestTargets(t *testing.T) {
	for _, c := range []struct {
		target Target
		want   string
	}{
		{Target{Want: 0.9, Is: Series{0.91, 0.92, 0.93}}, "reached"},
		{Target{Want: 0.9, Is: Series{0.8, 0.85, 0.95}}, "falls short, within the spread"},
		{Target{Want: 0.9, Is: Series{0.7}}, "falls short"},
		{Target{Want: 1.5, AtMost: true, Is: Series{1.2, 1.3, 1.6}}, "reached, within the spread"},
		{Target{Want: 1.5, AtMost: true, Is: Series{1.6}}, "falls short"},
		{Target{Want: 1.5, AtMost: true}, "not measured"},
	} {
		var b strings.Builder
		c.target.write(&printer{w: &b}, 2)
		line := b.String()
		if !strings.HasPrefix(line, "TARGET ") || !strings.HasSuffix(line, "  "+c.want+"\n") {
			t.Errorf("%q, want %q at the end", line, c.want)
		}
	}
}

package bench

import (
	"fmt"
	"math"
	"slices"
)

// Series is one figure, measured once a round; NaN where that failed.
type Series []float64

// sorted returns what was measured, the least first.
func (s Series) sorted() []float64 {
	v := s.measured()
	slices.Sort(v)
	return v
}

// measured returns the series without the rounds that failed.
func (s Series) measured() Series {
	return slices.DeleteFunc(slices.Clone(s), math.IsNaN)
}

// Median returns the middle one, NaN if there is none.
func (s Series) Median() float64 {
	v := s.sorted()
	n := len(v)
	if n == 0 {
		return math.NaN()
	}
	return (v[(n-1)/2] + v[n/2]) / 2
}

// Spread returns the least and the largest, NaN if there are none.
func (s Series) Spread() (low, high float64) {
	v := s.sorted()
	if len(v) == 0 {
		return math.NaN(), math.NaN()
	}
	return v[0], v[len(v)-1]
}

// over returns s divided by base, round by round: what was measured a moment
// apart is compared, so that what disturbs the machine for longer disturbs
// both.
func (s Series) over(base Series) (r Series) {
	for i := range min(len(s), len(base)) {
		if base[i] != 0 && !math.IsNaN(base[i]) && !math.IsNaN(s[i]) {
			r = append(r, s[i]/base[i])
		}
	}
	return r
}

// fewRounds is the least number of rounds from which anything is concluded.
const fewRounds = 3

// Difference says how a compares with b in words. It names a difference only
// if every value of one is beyond every value of the other.
func Difference(a, b Series) string {
	if len(a.sorted()) < fewRounds || len(b.sorted()) < fewRounds {
		return fmt.Sprintf("fewer than %d rounds: nothing is concluded", fewRounds)
	}
	aLow, aHigh := a.Spread()
	bLow, bHigh := b.Spread()
	switch {
	case aLow > bHigh:
		return "higher"
	case aHigh < bLow:
		return "lower"
	}
	return "no difference seen"
}

// spread returns a median with its spread, as "0.93 (0.90..0.97)".
func (s Series) spread(digits int) string {
	low, high := s.Spread()
	if math.IsNaN(low) {
		return "-"
	}
	return fmt.Sprintf("%.*f (%.*f..%.*f)", digits, s.Median(), digits, low, digits, high)
}

// Target is a figure to reach: printed, never a test's business.
type Target struct {
	What   string  `json:"what"`
	Want   float64 `json:"want"`
	AtMost bool    `json:"at_most"` // else at least
	Is     Series  `json:"is"`      // its median counts
	Unit   string  `json:"unit,omitempty"`
}

// Reached tells whether the median is as wanted; false if nothing was measured.
func (t *Target) Reached() bool {
	m := t.Is.Median()
	if t.AtMost {
		return m <= t.Want
	}
	return m >= t.Want
}

// write prints the target in a line. A spread over the mark is said to be.
func (t *Target) write(p *printer, digits int) {
	bound, verdict := "at least", "falls short"
	if t.AtMost {
		bound = "at most"
	}
	low, high := t.Is.Spread()
	switch {
	case len(t.Is) == 0:
		verdict = "not measured"
	case t.Reached():
		verdict = "reached"
	}
	if low < t.Want && t.Want < high {
		verdict += ", within the spread"
	}
	unit := t.Unit
	if unit != "" {
		unit = " " + unit
	}
	p.line("TARGET %-58s %s %.*f%s: %s  %s", t.What, bound, digits, t.Want, unit, t.Is.spread(digits), verdict)
}

package arena

import (
	"math"
	"strings"
	"testing"
)

// TestMake writes to both ends of slices of all sizes, and finds them zeroed.
func TestMake(t *testing.T) {
	for _, n := range []int{1, 3, 1000, HugePage / 16, HugePage + 1, 1 << 28} {
		for _, huge := range []bool{false, true} {
			s, free, err := Make[[16]uint32](n, huge)
			if err != nil {
				t.Fatalf("%d: %v", n, err)
			}
			if len(s) != n || s[0] != ([16]uint32{}) || s[n/2][3] != 0 || s[n-1] != ([16]uint32{}) {
				t.Errorf("%d elements are not zeroed, or %d", n, len(s))
			}
			s[0][0], s[n-1][15] = 1, 2
			free()
		}
	}
}

func TestMakeTooMuch(t *testing.T) {
	for n, want := range map[int]string{math.MaxInt: "addresses", 1 << 55: "reserve"} {
		if _, _, err := Make[[64]byte](n, true); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%d elements: error %v, want one about %q", n, err, want)
		}
	}
}

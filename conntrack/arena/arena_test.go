package arena

import (
	"fmt"
	"math"
	"os"
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

// TestPopulate finds what was there unchanged, and the memory of the rest taken.
func TestPopulate(t *testing.T) {
	const n = 8 * HugePage / 16
	s, free, err := Make[[16]byte](n, false)
	if err != nil {
		t.Fatal(err)
	}
	defer free()
	s[1][0], s[n/2][5] = 7, 8
	before := resident(t)
	Populate(s, 1, n/2+1)
	Populate(s, n, n)
	if grown := resident(t) - before; grown < 3*HugePage {
		t.Errorf("%d bytes more are resident, want about %d", grown, 4*HugePage)
	}
	if s[1][0] != 7 || s[n/2][5] != 8 || s[n/2-1] != ([16]byte{}) {
		t.Error("what was there was changed")
	}
}

// resident returns how many bytes of this process are in memory.
func resident(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip("how much memory is resident is known on Linux only")
	}
	var size, pages int
	if _, err := fmt.Sscan(string(b), &size, &pages); err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

package human

import (
	"math"
	"testing"
)

func TestCount(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0", 99_999: "99999", 100_000: "100K", 123_456: "123K", 999_499: "999K", 999_500: "1.00M", 9_994_999: "9.99M", 9_995_001: "10.0M",
		12_345_678: "12.3M", 999_400_000: "999M", 999_600_000: "1.00G", math.MaxUint64: "18.4E",
	} {
		if got := Count(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
	for n := uint64(1); n < math.MaxUint64/7; n *= 7 {
		if s := Count(n); len(s) > 6 {
			t.Errorf("%d is %q", n, s)
		}
	}
}

func TestSeconds(t *testing.T) {
	for n, want := range map[uint32]string{0: "0s", 59: "59s", 60: "1m00s", 3599: "59m59s", 3600: "1h00m", 86400: "1d00h", 12*86400 + 3*3600: "12d03h"} {
		if got := Seconds(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}

func TestNanoseconds(t *testing.T) {
	for n, want := range map[int64]string{0: "0s", 870: "870ns", 1_234: "1.23µs", 12_345: "12.3µs", 12_345_678: "12.3ms", 123_456_789_012: "2m3s"} {
		if got := Nanoseconds(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}

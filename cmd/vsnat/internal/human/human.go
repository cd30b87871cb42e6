// Package human writes figures so that people read them at a glance.
package human

import (
	"fmt"
	"strconv"
	"time"
)

// Count writes a number in at most six letters: whole below 100,000, then in
// thousands (K), millions (M) and so on, which are powers of ten, with three
// figures at least.
func Count(n uint64) string {
	if n < 100_000 {
		return strconv.FormatUint(n, 10)
	}
	f, units := float64(n)/1000, "KMGTPE"
	for f >= 999.5 && len(units) > 1 {
		f, units = f/1000, units[1:]
	}
	switch {
	case f < 9.995:
		return fmt.Sprintf("%.2f%c", f, units[0])
	case f < 99.95:
		return fmt.Sprintf("%.1f%c", f, units[0])
	}
	return fmt.Sprintf("%.0f%c", f, units[0])
}

// Seconds writes a time in a few letters: 45s, 3m12s, 5h02m, 12d03h.
func Seconds(seconds uint32) string {
	const minute, hour, day = 60, 60 * 60, 24 * 60 * 60
	switch {
	case seconds < minute:
		return fmt.Sprintf("%ds", seconds)
	case seconds < hour:
		return fmt.Sprintf("%dm%02ds", seconds/minute, seconds%minute)
	case seconds < day:
		return fmt.Sprintf("%dh%02dm", seconds/hour, seconds%hour/minute)
	}
	return fmt.Sprintf("%dd%02dh", seconds/day, seconds%day/hour)
}

// Nanoseconds writes a time with three figures: 870ns, 12.3µs, 1.23ms.
func Nanoseconds(n int64) string {
	unit := int64(1)
	for n/unit >= 1000 {
		unit *= 10
	}
	return time.Duration(n).Round(time.Duration(unit)).String()
}

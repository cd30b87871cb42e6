package nearest

import "testing"

func TestOf(t *testing.T) {
	names := []string{"rr", "wrr", "wlc", "lblc", "lblcr", "mh"}
	for _, tt := range []struct{ name, want string }{
		{"wlcc", "wlc"},
		{"wrl", "wrr"},
		{"lblcrr", "lblcr"},
		{"mh", "mh"},
		{"round-robin", ""},
		{"", ""},
		{"x", ""},
	} {
		if got := Of(tt.name, names); got != tt.want {
			t.Errorf("Of(%q) = %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{
		{"", "", 0},
		{"", "abc", 3},
		{"kitten", "sitting", 3},
		{"flaw", "lawn", 2},
		{"abc", "abc", 0},
	} {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
		if got := distance(tt.b, tt.a); got != tt.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tt.b, tt.a, got, tt.want)
		}
	}
}

package afpacket

import "testing"

func TestTakesDatagrams(t *testing.T) {
	for release, want := range map[string]bool{
		"": false, "linux": false, "5.15.0-91-generic": false, "6.1.0-18-amd64": false, "6.2.0": true, "6.18.3": true, "7.0-rc1": true,
	} {
		if got := takesDatagrams(release); got != want {
			t.Errorf("%q: %t", release, got)
		}
	}
}

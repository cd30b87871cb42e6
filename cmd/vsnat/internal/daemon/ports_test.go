package daemon

import (
	"os"
	"path/filepath"
	"testing"
)

func TestLocalPorts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ports")
	if got := localPorts(file); got != [2]uint16{} {
		t.Errorf("no file: %v", got)
	}
	for text, want := range map[string][2]uint16{
		"32768\t60999\n": {32768, 60999}, "1024 65535": {1024, 65535}, "": {}, "7": {}, "9 8": {}, "1 70000": {},
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := localPorts(file); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vsnat/bench/lab"
)

// TestScreens looks at what vsnat top, and a report that is watched, write to a
// terminal: they show what there is, end when q is pressed, and leave the
// terminal as it was.
func TestScreens(t *testing.T) {
	need(t, "bsdutils")
	s := newSite(t, lab.PaperOptions{})
	s.serveAll()
	s.direct()
	s.cluster("wrr")
	s.pages(4)
	for verb, shows := range map[string][]string{
		"top":                  {"SERVICE, SERVER", "tcp:" + web, "wrr", server4 + ":80", "over 100µs", "q quit"},
		"server --watch=100ms": {"SERVICE, SERVER", "tcp:" + web + " wrr", server4 + ":80", "q ends"},
	} {
		out := filepath.Join(t.TempDir(), "screen")
		// script gives the command a terminal of its own, and writes down what it gets.
		r := s.run("director", "env", "TERM=xterm-256color", "sh", "-c",
			`(until grep -q "$2" "$1"; do sleep 0.05; done 2>/dev/null; printf q) | `+find("script")+` -qefc "$3" "$1"`,
			"sh", out, server1, bin("vsnat")+" "+verb)
		b, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		text := string(b)
		if r.code != 0 {
			t.Errorf("vsnat %s: exit code %d", verb, r.code)
		}
		for _, want := range shows {
			if !strings.Contains(text, want) {
				t.Errorf("vsnat %s does not show %q: %q", verb, want, text)
			}
		}
		enter, leave := strings.Index(text, "\x1b[?1049h"), strings.LastIndex(text, "\x1b[?1049l")
		if enter < 0 || leave < enter || strings.LastIndex(text, "\x1b[?25h") < strings.LastIndex(text, "\x1b[?25l") {
			t.Errorf("vsnat %s does not give the terminal back: %q", verb, text)
		}
	}
}

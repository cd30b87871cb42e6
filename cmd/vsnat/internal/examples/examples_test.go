package examples

import (
	"os"
	"path/filepath"
	"testing"
)

func TestHold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.md")
	const text = "a\n```\n$ one\n1\n```\nb\n```\n$ other\n```\n```\n$ two\n```\n    $ no block\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	answers := map[string]string{"one": "1\n", "two": "2\n22\n"}
	run := func(command string) (string, bool) {
		output, ok := answers[command]
		return output, ok
	}
	Hold(t, path, true, run)
	Hold(t, path, false, run)
	have, err := os.ReadFile(path)
	if want := "a\n```\n$ one\n1\n```\nb\n```\n$ other\n```\n```\n$ two\n2\n22\n```\n    $ no block\n"; err != nil || string(have) != want {
		t.Errorf("%q, %v", have, err)
	}
}

// Package examples keeps the examples in documents true: what they show of the
// program is what the program prints.
package examples

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// fence begins and ends a block.
const fence = "```"

// Hold runs the blocks of a document that begin with a line "$ COMMAND", and holds
// what stands below to what run says of the command; of those that it does not
// run, ok is false. With update the document is written anew.
func Hold(t *testing.T, path string, update bool, run func(command string) (output string, ok bool)) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var made bytes.Buffer
	lines := strings.SplitAfter(string(text), "\n")
	ran := 0
	for i := 0; i < len(lines); i++ {
		made.WriteString(lines[i])
		if !strings.HasPrefix(lines[i], fence) || i+1 == len(lines) || !strings.HasPrefix(lines[i+1], "$ ") {
			continue
		}
		i++
		command := strings.TrimSpace(strings.TrimPrefix(lines[i], "$ "))
		output, ok := run(command)
		if !ok {
			i--
			continue
		}
		ran++
		made.WriteString(lines[i])
		have := ""
		for i++; i < len(lines) && !strings.HasPrefix(lines[i], fence); i++ {
			have += lines[i]
		}
		if i < len(lines) {
			made.WriteString(output + lines[i])
		}
		if have != output && !update {
			t.Errorf("%s: of %q it has\n%swhere the program says\n%s", path, command, have, output)
		}
	}
	if ran == 0 {
		t.Errorf("%s: no example was run", path)
	}
	if update && made.String() != string(text) {
		if err := os.WriteFile(path, made.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

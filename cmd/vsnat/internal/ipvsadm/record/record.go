// Package record has what the real ipvsadm was seen to do, for the tests that
// hold ours to it. A record is the text of one session, in which every command
// sees what those before it did:
//
//	< a line of standard input for the next command
//	$ the command, in which single quotes hold a word together
//	| a line of its standard output
//	! a line of its standard error
//	= its exit code
//
// Other lines are comments.
package record

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

// Command is one command of a record.
type Command struct {
	Line   int // of its exit code, counted from 1
	Text   string
	Stdin  string
	Output string // the lines of standard output and standard error, with their marks
	Code   int
}

// Read returns the commands of a file.
func Read(t testing.TB, path string) (all []Command) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var c Command
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		mark, rest := line[:1], strings.TrimSuffix(line[1:], "\n")
		switch mark {
		case "<":
			c.Stdin += strings.TrimPrefix(rest, " ") + "\n"
		case "$":
			c.Text = strings.TrimPrefix(rest, " ")
		case "|", "!":
			c.Output += line
		case "=":
			if c.Code, err = strconv.Atoi(strings.TrimSpace(rest)); err != nil {
				t.Fatalf("%s:%d: %v", path, n, err)
			}
			c.Line = n
			all = append(all, c)
			c = Command{}
		}
	}
	return all
}

// Args returns the words of the command, its name being the first.
func (c *Command) Args() []string { return Words(c.Text) }

// Words splits a command line as a shell does that knows single quotes.
func Words(line string) (out []string) {
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			out = append(out, part)
			continue
		}
		out = append(out, strings.Fields(part)...)
	}
	return out
}

// Check compares what a program did with the record.
func (c *Command) Check(t testing.TB, stdout, stderr string, code int) {
	t.Helper()
	if got := marked("|", stdout) + marked("!", stderr); got != c.Output || code != c.Code {
		t.Errorf("line %d: %s\ngot code %d\n%swant %d\n%s", c.Line, c.Text, code, got, c.Code, c.Output)
	}
}

// marked puts a mark before every line. A text that does not end with a line's
// end gets one that shows.
func marked(mark, text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		fmt.Fprintf(&b, "%s%s", mark, line)
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		b.WriteString("(no end of line)\n")
	}
	return b.String()
}

package config

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"sort"
	"strings"
	"unicode/utf8"
)

// Problem is one thing wrong in a file, with its place.
type Problem struct {
	File    string `json:"file"`
	Line    int    `json:"line"`   // counted from 1
	Column  int    `json:"column"` // counted from 1, in characters
	Message string `json:"message"`
	// Warning is a problem that keeps nobody from using the file.
	Warning bool `json:"warning,omitempty"`

	text  string // the line
	width int    // characters that are wrong, at least 1
}

// String returns the problem on one line, as compilers write it.
func (p *Problem) String() string {
	what := ""
	if p.Warning {
		what = "warning: "
	}
	return fmt.Sprintf("%s:%d:%d: %s%s", p.File, p.Line, p.Column, what, p.Message)
}

// Problems are what is wrong with a configuration, in the order of the files.
type Problems []Problem

// Error returns all problems, each on a line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i := range ps {
		lines[i] = ps[i].String()
	}
	return strings.Join(lines, "\n")
}

// Errors returns the problems that are no warnings.
func (ps Problems) Errors() Problems {
	var all Problems
	for _, p := range ps {
		if !p.Warning {
			all = append(all, p)
		}
	}
	return all
}

// maxShown is how much of a line is shown, in characters.
const maxShown = 120

// Print writes each problem with the line it is in and a mark below what is
// wrong. Of a long line it is the part around that.
func (ps Problems) Print(w io.Writer) {
	for i := range ps {
		p := &ps[i]
		text, column := []rune(p.text), p.Column-1
		if len(text) > maxShown {
			if cut := column - maxShown/2; cut > 0 {
				text, column = text[cut:], column-cut
				text[0] = '…'
			}
			if len(text) > maxShown {
				text = append(text[:maxShown-1:maxShown-1], '…')
			}
		}
		margin := fmt.Sprintf("%5d | ", p.Line)
		fmt.Fprintf(w, "%s\n%s%s\n", p, margin, string(text))
		fmt.Fprintf(w, "%s| %s%s\n", strings.Repeat(" ", len(margin)-2), indent(text[:min(column, len(text))]),
			strings.Repeat("^", max(1, min(p.width, len(text)-column))))
	}
}

// indent returns blanks as wide as the text: a tab for a tab.
func indent(text []rune) string {
	return strings.Map(func(c rune) rune {
		if c == '\t' {
			return c
		}
		return ' '
	}, string(text))
}

// source is a file that was read.
type source struct {
	name  string
	order int // of the files
	text  []byte
	lines []int // where each begins
}

func newSource(name string, order int, text []byte) *source {
	s := &source{name: name, order: order, text: text, lines: []int{0}}
	for i, c := range text {
		if c == '\n' {
			s.lines = append(s.lines, i+1)
		}
	}
	return s
}

// span is a stretch of a file. The zero value is nowhere.
type span struct {
	src        *source
	start, end int // bytes
}

// line returns the number of the line that the span begins in, from 1.
func (at span) line() int {
	return sort.Search(len(at.src.lines), func(i int) bool { return at.src.lines[i] > at.start })
}

// String returns the place as FILE:LINE.
func (at span) String() string { return fmt.Sprintf("%s:%d", at.src.name, at.line()) }

// problem returns a problem with this place.
func (at span) problem(message string) Problem {
	line := at.line()
	first := at.src.lines[line-1]
	last := len(at.src.text)
	if line < len(at.src.lines) {
		last = at.src.lines[line] - 1
	}
	chars := func(from, to int) int { return utf8.RuneCount(at.src.text[from:max(from, to)]) }
	return Problem{
		File: at.src.name, Line: line, Column: chars(first, at.start) + 1, Message: message,
		text:  printable(at.src.text[first:last]),
		width: max(1, chars(at.start, min(at.end, last))),
	}
}

// printable returns a line with a sign in place of each control character but
// the tab, and of what is no UTF-8: a file must not command a terminal.
func printable(line []byte) string {
	return strings.Map(func(c rune) rune {
		if c != '\t' && (c < ' ' || c == 0x7f || 0x80 <= c && c < 0xa0) {
			return utf8.RuneError
		}
		return c
	}, strings.TrimSuffix(strings.ToValidUTF8(string(line), "\uFFFD"), "\r"))
}

// problems collects what is wrong.
type problems struct {
	all []located
}

type located struct {
	Problem
	at span
}

func (ps *problems) errorf(at span, format string, args ...any) {
	ps.all = append(ps.all, located{at.problem(fmt.Sprintf(format, args...)), at})
}

func (ps *problems) warnf(at span, format string, args ...any) {
	p := at.problem(fmt.Sprintf(format, args...))
	p.Warning = true
	ps.all = append(ps.all, located{p, at})
}

// sorted returns the problems in the order of the files.
func (ps *problems) sorted() Problems {
	slices.SortStableFunc(ps.all, func(a, b located) int {
		if a.at.src != b.at.src {
			return a.at.src.order - b.at.src.order
		}
		return cmp.Or(a.at.start-b.at.start, strings.Compare(a.Message, b.Message))
	})
	var list Problems
	for i := range ps.all {
		// What a service has wrong is found again with each of its servers.
		if p := ps.all[i].Problem; len(list) == 0 || p != list[len(list)-1] {
			list = append(list, p)
		}
	}
	return list
}

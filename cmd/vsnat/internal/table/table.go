// Package table prints what verbs list so that it fits a terminal of 80 columns.
package table

import (
	"bytes"
	"io"
	"strings"
	"unicode/utf8"
)

// Width is how wide a table is at most, in columns, unless a single word is
// wider.
const Width = 80

// gap is what stands between columns.
const gap = 2

// least is how narrow the last column of words gets before the columns are
// divided among lines.
const least = 24

// Table is rows of cells below titles. What does not fit is put on further lines:
// the words of the last column, if it is made of words, or else the last columns.
type Table struct {
	heads []string
	right []bool
	rows  []row
}

// row is cells, or a line of its own.
type row struct {
	cells []string
	line  string
}

// New returns an empty table. The cells below a title that begins with ">" stand
// to the right.
func New(heads ...string) *Table {
	t := &Table{}
	for _, h := range heads {
		text, right := strings.CutPrefix(h, ">")
		t.heads = append(t.heads, text)
		t.right = append(t.right, right)
	}
	return t
}

// Row adds a row, with a cell for each column.
func (t *Table) Row(cells ...string) { t.rows = append(t.rows, row{cells: cells}) }

// Line adds a line between rows.
func (t *Table) Line(text string) { t.rows = append(t.rows, row{line: text}) }

// Write prints the table.
func (t *Table) Write(w io.Writer) error {
	widths := make([]int, len(t.heads))
	total := -gap
	for i := range widths {
		widths[i] = cells(t.heads[i])
		for _, r := range t.rows {
			if r.cells != nil {
				widths[i] = max(widths[i], cells(r.cells[i]))
			}
		}
		total += widths[i] + gap
	}
	var b bytes.Buffer
	last := len(widths) - 1
	switch before := total - widths[last]; {
	case total <= Width:
		t.write(&b, widths, nil)
	case !t.right[last] && before+least <= Width && t.words():
		widths[last] = Width - before
		t.write(&b, widths, nil)
	default:
		t.write(&b, widths, divide(widths))
	}
	_, err := w.Write(b.Bytes())
	return err
}

// words reports whether the last column has words that can be put on several
// lines.
func (t *Table) words() bool {
	for _, r := range t.rows {
		if r.cells != nil && strings.Contains(r.cells[len(r.cells)-1], " ") {
			return true
		}
	}
	return false
}

// indent is what further lines of a row begin with.
const indent = "    "

// divide returns the columns that begin a further line.
func divide(widths []int) (starts []int) {
	at := 0
	for i, w := range widths {
		if i > 0 && at+w > Width {
			starts = append(starts, i)
			at = len(indent)
		}
		at += w + gap
	}
	return starts
}

func (t *Table) write(b *bytes.Buffer, widths []int, starts []int) {
	t.writeRow(b, t.heads, widths, starts)
	for _, r := range t.rows {
		if r.cells == nil {
			b.WriteString(strings.TrimRight(r.line, " ") + "\n")
			continue
		}
		t.writeRow(b, r.cells, widths, starts)
	}
}

func (t *Table) writeRow(b *bytes.Buffer, row []string, widths []int, starts []int) {
	var line strings.Builder
	end := func() {
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
		line.Reset()
	}
	for i, cell := range row {
		if len(starts) > 0 && starts[0] == i {
			starts = starts[1:]
			end()
			line.WriteString(indent)
		}
		blank := strings.Repeat(" ", max(widths[i]-cells(cell), 0))
		if t.right[i] {
			line.WriteString(blank)
		}
		if i == len(row)-1 && cells(cell) > widths[i] {
			margin := strings.Repeat(" ", cells(line.String()))
			for n, part := range Wrap(cell, widths[i]) {
				if n > 0 {
					end()
					line.WriteString(margin)
				}
				line.WriteString(part)
			}
			continue
		}
		line.WriteString(cell)
		if !t.right[i] {
			line.WriteString(blank)
		}
		line.WriteString(strings.Repeat(" ", gap))
	}
	end()
}

// cells is how many columns a text takes. Texts here have letters of one column.
func cells(s string) int { return utf8.RuneCountInString(s) }

// Wrap breaks a text between words, so that no line is wider than width unless a
// word is.
func Wrap(text string, width int) (lines []string) {
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case cells(line)+1+cells(word) > width:
			lines = append(lines, line)
			line = word
		default:
			line += " " + word
		}
	}
	return append(lines, line)
}

package table

import (
	"strings"
	"testing"
)

func TestTable(t *testing.T) {
	for _, c := range []struct {
		name  string
		table func() *Table
		want  string
	}{
		{"fits", func() *Table {
			t := New("NAME", ">COUNT")
			t.Row("a", "1")
			t.Line("between")
			t.Row("longer", "12345678")
			return t
		}, `
NAME       COUNT
a              1
between
longer  12345678
`},
		{"words", func() *Table {
			t := New("NAME", "MEANING")
			t.Row("a", strings.Repeat("word ", 20)+"end")
			t.Row("b", "short")
			return t
		}, `
NAME  MEANING
a     word word word word word word word word word word word word word word word
      word word word word word end
b     short
`},
		{"columns", func() *Table {
			t := New("FIRST", "SECOND", ">THIRD", "FOURTH")
			t.Row(strings.Repeat("1", 30), strings.Repeat("2", 30), "3", strings.Repeat("4", 30))
			t.Row("a", "b", "c", "d")
			return t
		}, `
FIRST                           SECOND                          THIRD
    FOURTH
111111111111111111111111111111  222222222222222222222222222222      3
    444444444444444444444444444444
a                               b                                   c
    d
`},
		{"empty", func() *Table { return New("A", ">B") }, "\nA  B\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b strings.Builder
			b.WriteString("\n")
			if err := c.table().Write(&b); err != nil || b.String() != c.want {
				t.Errorf("%v\n%swant\n%s", err, b.String(), c.want)
			}
			for line := range strings.Lines(b.String()) {
				if n := cells(strings.TrimSuffix(line, "\n")); n > Width {
					t.Errorf("%d columns: %s", n, line)
				}
			}
		})
	}
}

package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// kind is what a value is.
type kind uint8

const (
	_ kind = iota
	kindTable
	kindArray
	kindString
	kindInteger
	kindBool
	kindOther // floats, dates and times, which no key takes
	kindBad   // was complained of already
)

// String returns the kind with its article.
func (k kind) String() string {
	return [...]string{
		kindTable: "a table", kindArray: "a list", kindString: "a string", kindInteger: "a number", kindBool: "true or false",
		kindOther: "a date, a time or a number with a fraction", kindBad: "a value",
	}[k]
}

// node is a value with its place.
type node struct {
	kind    kind
	at      span
	text    string // of a string
	integer int64
	flag    bool // a bool

	entries []*entry          // of a table, in the order of the file
	keys    map[string]*entry // of a table with many entries
	items   []*node           // of an array

	tables  bool // an array of tables that [[...]] made
	dotted  bool // a table that dotted keys made
	closed  bool // an inline table, which nothing can be added to
	implied bool // a table that is only a part of another's name so far
}

// entry is a key of a table with its value.
type entry struct {
	key   string
	at    span // of the key
	value *node
}

func newTable(at span) *node { return &node{kind: kindTable, at: at} }

// manyEntries is from how many entries on a table is not searched from its
// beginning.
const manyEntries = 12

// get returns a key's entry, or nil.
func (n *node) get(key string) *entry {
	if n.keys != nil {
		return n.keys[key]
	}
	for _, e := range n.entries {
		if e.key == key {
			return e
		}
	}
	return nil
}

func (n *node) add(e *entry) {
	n.entries = append(n.entries, e)
	switch {
	case n.keys != nil:
		n.keys[e.key] = e
	case len(n.entries) == manyEntries:
		n.keys = make(map[string]*entry, 2*manyEntries)
		for _, e := range n.entries {
			n.keys[e.key] = e
		}
	}
}

// grower makes the tree of one file after another. Its problems are those of
// TOML itself.
type grower struct {
	*problems
	root   *node
	src    *source
	base   int // where in the file the parser began
	parser unstable.Parser
	broken bool // some part could not be read
}

// file adds a file to the tree. After what is no TOML it goes on with the next
// line that begins a table, so that all such errors are found.
func (g *grower) file(src *source) {
	g.src, g.base = src, 0
	for {
		table := g.root
		g.parser.Reset(src.text[g.base:])
		for g.parser.NextExpression() {
			switch e := g.parser.Expression(); e.Kind {
			case unstable.Table:
				table = g.header(g.path(e.Key(), nil), false)
			case unstable.ArrayTable:
				table = g.header(g.path(e.Key(), nil), true)
			case unstable.KeyValue:
				g.keyValue(table, e)
			}
		}
		err := g.parser.Error()
		if err == nil {
			return
		}
		g.broken = true
		at := span{src, g.base, g.base + 1}
		if wrong := (*unstable.ParserError)(nil); errors.As(err, &wrong) {
			at = g.span(g.parser.Range(wrong.Highlight))
		}
		g.errorf(at, "%s", strings.Replace(err.Error(), "character U+000A", "end of the line", 1))
		next, ok := nextHeader(src, at)
		if !ok {
			return
		}
		g.base = next
	}
}

// nextHeader returns where the next line begins that begins with [.
func nextHeader(src *source, at span) (int, bool) {
	for _, first := range src.lines[at.line():] {
		if first < len(src.text) && src.text[first] == '[' {
			return first, true
		}
	}
	return 0, false
}

func (g *grower) span(r unstable.Range) span {
	start := g.base + int(r.Offset)
	return span{g.src, start, start + int(r.Length)}
}

// name is a part of a key.
type name struct {
	text string
	at   span
}

// path returns the parts of a key, in the room there is for them.
func (g *grower) path(it unstable.Iterator, path []name) []name {
	for it.Next() {
		n := it.Node()
		path = append(path, name{string(n.Data), g.span(n.Raw)})
	}
	return path
}

// header returns the table that [path] or [[path]] begins. What is in one that
// cannot be is looked at all the same, in a table of its own.
func (g *grower) header(path []name, array bool) *node {
	t := g.root
	for _, p := range path[:len(path)-1] {
		e := t.get(p.text)
		if e == nil {
			e = &entry{p.text, p.at, newTable(p.at)}
			e.value.implied = true
			t.add(e)
		}
		next := e.value
		if next.tables {
			next = next.items[len(next.items)-1]
		}
		if next.kind != kindTable || next.closed {
			g.errorf(p.at, "%s is %s already, at %s", p.text, e.value.kind, e.at)
			return newTable(p.at)
		}
		t = next
	}
	last := path[len(path)-1]
	at := span{g.src, path[0].at.start, last.at.end}
	fresh := newTable(at)
	e := t.get(last.text)
	switch {
	case e == nil && array:
		t.add(&entry{last.text, at, &node{kind: kindArray, at: at, tables: true, items: []*node{fresh}}})
	case e == nil:
		t.add(&entry{last.text, at, fresh})
	case array && e.value.tables:
		e.value.items = append(e.value.items, fresh)
	case array && e.value.kind == kindArray:
		g.errorf(at, "%s is a list already, at %s: write all of it one way", last.text, e.at)
	case array:
		g.errorf(at, "%s is %s already, at %s: [[%s]] begins one of several", last.text, e.value.kind, e.at, spell(path))
	case e.value.tables:
		g.errorf(at, "%s is one of several, as at %s: write [[%s]]", last.text, e.at, spell(path))
	case e.value.kind == kindTable && e.value.implied:
		e.value.implied, e.value.at = false, at
		return e.value
	default:
		g.errorf(at, "[%s] is there already, at %s", spell(path), e.at)
	}
	return fresh
}

// spell returns the names as one key.
func spell(path []name) string {
	parts := make([]string, len(path))
	for i, p := range path {
		parts[i] = Quote(p.text)
	}
	return strings.Join(parts, ".")
}

// Quote returns a key as TOML writes it: bare if it can be.
func Quote(key string) string {
	if key != "" && strings.Trim(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == "" {
		return key
	}
	return String(key)
}

// String returns a string as TOML writes it.
func String(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c < ' ' || c == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, c)
		default:
			b.WriteRune(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// keyValue adds key = value to a table.
func (g *grower) keyValue(t *node, kv *unstable.Node) {
	var room [4]name // as many as most keys have
	path := g.path(kv.Key(), room[:0])
	last := path[len(path)-1]
	value := g.value(kv.Value(), g.valueAt(last.at))
	for _, p := range path[:len(path)-1] {
		e := t.get(p.text)
		if e == nil {
			e = &entry{p.text, p.at, newTable(p.at)}
			e.value.dotted = true
			t.add(e)
		}
		if e.value.kind != kindTable || !e.value.dotted {
			g.errorf(p.at, "%s is %s already, at %s", p.text, e.value.kind, e.at)
			return
		}
		t = e.value
	}
	if e := t.get(last.text); e != nil {
		g.errorf(last.at, "%s is there already, at %s", last.text, e.at)
		return
	}
	t.add(&entry{last.text, last.at, value})
}

// valueAt returns where the value of a key begins: after the =.
func (g *grower) valueAt(key span) span {
	text := g.src.text
	i := key.end
	for i < len(text) && (text[i] == ' ' || text[i] == '\t' || text[i] == '=') {
		i++
	}
	return span{g.src, i, i + 1}
}

// value returns a value. at is its place, if it does not know its own.
func (g *grower) value(v *unstable.Node, at span) *node {
	if v.Raw.Length > 0 {
		at = g.span(v.Raw)
	}
	n := &node{at: at}
	switch v.Kind {
	case unstable.String:
		n.kind, n.text = kindString, string(v.Data)
	case unstable.Bool:
		n.kind, n.flag = kindBool, string(v.Data) == "true"
	case unstable.Integer:
		n.kind = kindInteger
		var err error
		if n.integer, err = strconv.ParseInt(strings.ReplaceAll(string(v.Data), "_", ""), 0, 64); err != nil {
			n.kind = kindBad
			g.errorf(at, "%s is too large a number", v.Data)
		}
	case unstable.Array:
		n.kind = kindArray
		many := 0
		for it := v.Children(); it.Next(); {
			many++
		}
		n.items = make([]*node, 0, many)
		for it := v.Children(); it.Next(); {
			n.items = append(n.items, g.value(it.Node(), at))
		}
	case unstable.InlineTable:
		n = newTable(at)
		for it := v.Children(); it.Next(); {
			g.keyValue(n, it.Node())
		}
		n.closed = true
	default:
		n.kind = kindOther
	}
	return n
}

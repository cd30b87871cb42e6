package plan

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"vsnat/cmd/vsnat/internal/config"
)

// width is how wide the text is at most, in columns.
const width = 80

func seconds(n int64) string { return config.FormatDuration(time.Duration(n) * time.Second) }

// signs are what lines begin with.
var signs = map[Action]string{Add: "+", Edit: "~", Reweight: "~", Drain: "!", Remove: "-"}

// Print writes the plan for people.
func (p *Plan) Print(w io.Writer) error {
	var b bytes.Buffer
	printChanges(&b, p.Changes)
	if len(p.Drift) > 0 {
		if len(p.Changes) > 0 {
			fmt.Fprintln(&b)
		}
		fmt.Fprintln(&b, "Changed by hand, and kept. To be as the file says, this would take:")
		fmt.Fprintln(&b)
		printChanges(&b, p.Drift)
	}
	for _, f := range p.Restart {
		line(&b, "* ", fmt.Sprintf("[director] %s: %s -> %s, with the next start", f.Name, orDefault(f.From), orDefault(f.To)))
	}
	if b.Len() > 0 {
		fmt.Fprintln(&b)
	}
	line(&b, "", p.Summary())
	_, err := w.Write(b.Bytes())
	return err
}

func printChanges(b *bytes.Buffer, changes []Change) {
	service := ""
	for i := range changes {
		c := &changes[i]
		if c.Kind == KindServer && c.Service != service {
			line(b, "", fmt.Sprintf("  %s%s", c.Service, named(c)))
		}
		service = c.Service
		indent := ""
		if c.Kind == KindServer {
			indent = "  "
		}
		line(b, indent+signs[c.Action]+" ", c.text())
	}
}

// named is the service's name in the file, where there is one.
func named(c *Change) string {
	if c.Name == "" {
		return ""
	}
	return " (" + config.Quote(c.Name) + ")"
}

// text returns a change in words.
func (c *Change) text() string {
	var b strings.Builder
	switch c.Kind {
	case KindService:
		b.WriteString(c.Service + named(c))
	case KindServer:
		b.WriteString(c.Server)
	case KindAddress:
		fmt.Fprintf(&b, "address %s", c.Address)
		return b.String()
	case KindMarks:
		fmt.Fprintf(&b, "mark rules: %s -> %s", orNone(c.Fields[0].From), orNone(c.Fields[0].To))
		return b.String()
	case KindPools, KindInside:
		fmt.Fprintf(&b, "%s: %s -> %s", c.Kind, orNone(c.Fields[0].From), orNone(c.Fields[0].To))
		return b.String()
	default:
		fmt.Fprintf(&b, "%s %s: %s -> %s", c.Kind, c.Name, c.Fields[0].From, c.Fields[0].To)
		return b.String()
	}
	switch c.Action {
	case Add:
		b.WriteString(": " + describe(c.Fields))
	case Remove:
		if c.Servers > 0 {
			fmt.Fprintf(&b, " and its %s", plural(c.Servers, "server"))
		}
	default:
		for i, f := range c.Fields {
			sep := ", "
			if i == 0 {
				sep = ": "
			}
			fmt.Fprintf(&b, "%s%s %s -> %s", sep, f.Name, orNone(f.From), orNone(f.To))
		}
	}
	if c.Active+c.Inactive > 0 {
		fmt.Fprintf(&b, " (%d active, %d inactive)", c.Active, c.Inactive)
	}
	return b.String()
}

func orDefault(s string) string {
	if s == "" {
		return "default"
	}
	return s
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func plural(n int, what string) string {
	if n == 1 {
		return fmt.Sprintf("1 %s", what)
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// line writes a text after its beginning, broken between words so that it is not
// too wide.
func line(b *bytes.Buffer, begin, text string) {
	blank := strings.Repeat(" ", len(begin)+2)
	at := begin
	for len(at)+len(text) > width {
		cut := strings.LastIndexByte(text[:width-len(at)+1], ' ')
		if cut <= 0 {
			for cut = width - len(at); !utf8.RuneStart(text[cut]); cut-- {
			}
		}
		fmt.Fprintln(b, at+text[:cut])
		at, text = blank, strings.TrimPrefix(text[cut:], " ")
	}
	fmt.Fprintln(b, at+text)
}

// Summary says in one line what there is to do.
func (p *Plan) Summary() string {
	if len(p.Changes) == 0 {
		if len(p.Drift) > 0 {
			return fmt.Sprintf("Nothing to change; %s by hand.", plural(len(p.Drift), "difference"))
		}
		return "Nothing to change."
	}
	counts := map[Action]int{}
	var touched uint64
	for i := range p.Changes {
		c := &p.Changes[i]
		counts[c.Action]++
		// A service's connections are those of its servers.
		if c.Kind == KindServer || c.Action == Remove {
			touched += c.Active + c.Inactive
		}
	}
	var words []string
	for _, a := range []struct {
		action Action
		word   string
	}{{Add, "to add"}, {Edit, "to change"}, {Reweight, "to reweight"}, {Drain, "to drain"}, {Remove, "to remove"}} {
		if n := counts[a.action]; n > 0 {
			words = append(words, fmt.Sprintf("%d %s", n, a.word))
		}
	}
	text := strings.Join(words, ", ")
	if touched > 0 {
		text += fmt.Sprintf("; servers with %d live connections", touched)
	}
	if len(p.Drift) > 0 {
		text += fmt.Sprintf("; %s by hand", plural(len(p.Drift), "difference"))
	}
	return text + "."
}

package bench

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
)

// WriteReport writes the tables, in at most 80 columns.
func (r *ScaleResult) WriteReport(w io.Writer) {
	p := &printer{w: w}
	p.line("The engine in memory, one worker, no NIC: %d rounds, median (least..most)", r.Rounds)
	p.line("Linux %s, %d CPUs", r.Machine.Kernel, r.Machine.CPUs)
	p.line("%s", r.Machine.Model)
	all := max(r.Machine.Ticks.all(), 1e-9)
	load, _, _ := strings.Cut(r.Machine.Load, " ")
	p.line("steal %.1f %% of all CPU time, other processes about %.1f %%; load before %s",
		100*r.Machine.Ticks.Steal/all, 100*r.Machine.Others/all, load)
	for _, s := range r.Missing {
		p.line("not measured: %s", s)
	}
	for _, axis := range r.axes() {
		p.head("%s", axis.title)
		head := []string{"", "ns a packet", "ns a new connection", "with wlc"}
		rows := [][]string{}
		for i := range axis.points {
			pt := &axis.points[i]
			row := []string{count(pt.N), pt.Packet.spread(0), pt.New.spread(0), ""}
			if len(pt.Least) > 0 {
				row[3] = pt.Least.spread(0)
			}
			rows = append(rows, row)
		}
		for _, row := range append([][]string{head}, rows...) {
			p.line("  %-12s %20s %20s %22s", row[0], row[1], row[2], row[3])
		}
	}
	if len(r.Needs) == 0 {
		return
	}
	p.head("What a director takes for a full link: computed from the above, not measured")
	p.line("  %-8s %-20s %9s %9s %7s %8s %9s", "Gbit/s", "traffic", "packets/s", "conns/s", "cores", "in all", "table")
	for i := range r.Needs {
		n := &r.Needs[i]
		inAll, fresh := "-", "-"
		if n.Director > 0 {
			inAll = fmt.Sprintf("%.1f", n.Director)
		}
		if n.New > 0 {
			fresh = million(n.New)
		}
		p.line("  %-8.0f %-20s %9s %9s %7.1f %8s %6.2f GB", n.Link/1e9, n.Traffic, million(n.Packets), fresh, n.Engine, inAll, n.Memory/1e9)
	}
	p.line("  cores: to judge and rewrite, at what was measured with as many connections or")
	p.line("  the next larger number, beyond all of them at the largest.")
	if r.Director > 0 {
		p.line("  in all: with the director's sockets and the kernel, %.0f ns a small packet as", r.Director)
		p.line("  `vsnat bench path' measured it; super-frames of full frames would take less.")
	} else {
		p.line("  in all: with the director's sockets and the kernel; --path FILE tells what")
		p.line("  they cost, of `vsnat bench path --out FILE'.")
	}
}

// million prints a number in millions or thousands.
func million(n float64) string {
	if n >= 1e6 {
		return fmt.Sprintf("%.1fM", n/1e6)
	}
	return fmt.Sprintf("%.0fk", n/1e3)
}

// scaleAxis is what grows in one of the tables and pictures.
type scaleAxis struct {
	name, title, x string
	points         []ScalePoint
}

func (r *ScaleResult) axes() []scaleAxis {
	base := count(r.Base) + " connections"
	return []scaleAxis{
		{"connections", fmt.Sprintf("Connections: to one service of %d servers", bedServerCount), "connections", r.Connections},
		{"services", fmt.Sprintf("Services of %d servers each, with %s", scaleServers, base), "services", r.Services},
		{"servers", "Servers of one service, with " + base, "servers of the service", r.Servers},
	}
}

// plots returns the pictures by the names of their files.
func (r *ScaleResult) plots() map[string]*Plot {
	all := map[string]*Plot{}
	for _, axis := range r.axes() {
		packet, fresh, least := Curve{Name: "a packet of a connection that is there"}, Curve{Name: "a new connection, rr"}, Curve{Name: "a new connection, wlc"}
		for i := range axis.points {
			pt := &axis.points[i]
			for _, c := range []struct {
				curve *Curve
				y     Series
			}{{&packet, pt.Packet}, {&fresh, pt.New}, {&least, pt.Least}} {
				if len(c.y) > 0 {
					c.curve.X, c.curve.Y = append(c.curve.X, float64(pt.N)), append(c.curve.Y, c.y)
				}
			}
		}
		p := &Plot{Title: axis.title, X: axis.x, Y: "nanoseconds of CPU time", Curves: []Curve{packet, fresh}}
		if len(least.X) > 0 {
			p.Curves = append(p.Curves, least)
		}
		all["scale-"+axis.name+".svg"] = p
	}
	return all
}

// The marks in docs/scale.md between which the figures stand.
const (
	scaleBegin = "<!-- measured by vsnat bench scale --docs -->\n"
	scaleEnd   = "<!-- end -->\n"
)

// WriteDocs puts the pictures and the figures into a directory with a scale.md that
// has a place for them.
func (r *ScaleResult) WriteDocs(dir string) error {
	page := filepath.Join(dir, "scale.md")
	text, err := os.ReadFile(page)
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	before, rest, ok := strings.Cut(string(text), scaleBegin)
	_, after, closed := strings.Cut(rest, scaleEnd)
	if !ok || !closed {
		return fmt.Errorf("bench: %s has no lines %q and %q, between which the figures are to stand", page, strings.TrimSpace(scaleBegin), strings.TrimSpace(scaleEnd))
	}
	for name, p := range r.plots() {
		if err := os.WriteFile(filepath.Join(dir, name), p.SVG(), 0o644); err != nil {
			return fmt.Errorf("bench: %w", err)
		}
	}
	var b bytes.Buffer
	b.WriteString(before + scaleBegin + "\n")
	fmt.Fprintf(&b, "Measured %s on %s, %d CPUs, Linux %s, %s.\n\n", r.Machine.Start.UTC().Format("2006-01-02"), r.Machine.Model, r.Machine.CPUs, r.Machine.Kernel, r.Machine.Go)
	for _, axis := range r.axes() {
		if len(axis.points) > 0 {
			fmt.Fprintf(&b, "![%s](scale-%s.svg)\n\n", axis.title, axis.name)
		}
	}
	b.WriteString("```\n")
	r.WriteReport(&b)
	b.WriteString("```\n\n" + scaleEnd + after)
	if err := os.WriteFile(page, b.Bytes(), 0o644); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	return nil
}

// Compute works out what directors take. director is what a small packet costs one
// in all, in nanoseconds, or 0 if that is not known.
func (r *ScaleResult) Compute(director float64) {
	if !math.IsNaN(director) {
		r.Director = director
	}
	r.needs()
}

package lab

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"vsnat/bench/lab"
)

// maxWidth is the widest drawing, in columns.
const maxWidth = 80

// layout is how roomy a drawing is.
type layout struct {
	short  bool // a server's first address stands beside its NIC's name and not below it
	indent int  // of an address below a name
	margin int  // the least length of a line on either side of a lane
	named  bool // a switch's name stands below its lane and not below the drawing
}

// layouts are tried in this order: the first that fits is taken.
var layouts = []layout{
	{true, 2, 3, true}, {true, 2, 1, true}, {false, 2, 3, true}, {false, 2, 1, true}, {false, 1, 1, true}, {false, 2, 1, false},
}

// writeStatus shows a lab: a line about it, its topology, and what runs in it.
func writeStatus(w io.Writer, s *State, now time.Time) error {
	fmt.Fprintf(w, "lab %s: up %s, since %s, supervisor %d", s.Name, age(now.Sub(s.Since)), s.Since.Format(time.DateTime), s.Supervisor)
	if s.UserNamespace {
		fmt.Fprint(w, ",\nin a user namespace")
	}
	fmt.Fprint(w, "\n\n")
	if drawing, ok := draw(&s.Topology); ok {
		fmt.Fprint(w, drawing, "\n")
	} else if err := writeLinks(w, &s.Topology); err != nil {
		return err
	}
	return writeProcesses(w, s, now)
}

// writeProcesses lists the programs of a lab.
func writeProcesses(w io.Writer, s *State, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprint(t, "HOST\tRUNS\tPID\tUP\tSERVED\n")
	for _, p := range s.Processes {
		up, served := age(now.Sub(p.Since)), "-"
		if p.State != "running" {
			up = p.State
		}
		if p.Page != nil {
			served = fmt.Sprint(p.Page.Served)
			if p.Page.Waiting > 0 {
				served += fmt.Sprintf(" (%d waiting)", p.Page.Waiting)
			}
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%s\n", p.Host, p.What, p.PID, up, served)
	}
	if len(s.Processes) == 0 {
		fmt.Fprint(t, "-\tnothing but what `vsnat lab exec` starts\t-\t-\t-\n")
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, p := range s.Processes {
		if p.State != "running" {
			fmt.Fprintf(w, "\n%s of %s has ended; its output is in\n%s\n", p.What, p.Host, p.Log)
		}
	}
	return nil
}

// writeLinks lists the links of a topology that cannot be drawn.
func writeLinks(w io.Writer, t *lab.Topology) error {
	out := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprint(out, "HOST\tNIC\tADDRESSES\tLINKED TO\n")
	for _, h := range t.Hosts {
		for _, n := range nicsOf(t, h.Name) {
			var to string
			for _, l := range t.Links {
				switch n {
				case l.A:
					to = l.B.NIC + " of " + l.B.Host
				case l.B:
					to = l.A.NIC + " of " + l.A.Host
				}
			}
			fmt.Fprintf(out, "%s\t%s\t%s\t%s\n", h.Name, n.NIC, strings.Join(addressesOf(t, n), " "), to)
		}
	}
	fmt.Fprint(out, "\n")
	return out.Flush()
}

// age writes a duration in its two largest units: 45s, 3m12s, 5h2m, 12d3h.
func age(d time.Duration) string {
	d = max(0, d).Truncate(time.Second)
	switch day := 24 * time.Hour; {
	case d < time.Minute:
		return d.String()
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	case d < day:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	default:
		return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
	}
}

// nicsOf returns the NICs of a host in the order of the links; "lo" comes last,
// if it has addresses.
func nicsOf(t *lab.Topology, host string) []lab.End {
	var nics []lab.End
	for _, l := range t.Links {
		for _, e := range []lab.End{l.A, l.B} {
			if e.Host == host {
				nics = append(nics, e)
			}
		}
	}
	lo := lab.End{Host: host, NIC: "lo"}
	if len(addressesOf(t, lo)) > 0 {
		nics = append(nics, lo)
	}
	return nics
}

// addressesOf returns the addresses of a NIC, VIPs marked.
func addressesOf(t *lab.Topology, nic lab.End) []string {
	var list []string
	for _, a := range t.Addresses {
		if a.End == nic {
			s := a.Prefix.String()
			if a.VIP {
				s += " VIP"
			}
			list = append(list, s)
		}
	}
	return list
}

// A drawing has three columns: clients, directors, servers. What joins NICs of
// neighbouring columns is drawn in the gap between them. A cable that goes
// straight from one box to the next is a line; everything else has a lane of
// its own, from top to bottom, with a switch's name below it.

// segment is a set of NICs that hear one another: a cable, or a switch with all
// of its cables.
type segment struct {
	nics   map[lab.End]bool
	bridge string // its name, or empty
}

// segments joins the links of a topology at its switches.
func segments(t *lab.Topology) []*segment {
	var list []*segment
	at := make(map[string]*segment) // by switch
	switches := t.Names(lab.Switch)
	for _, l := range t.Links {
		s := &segment{nics: make(map[lab.End]bool)}
		for _, e := range []lab.End{l.A, l.B} {
			if !slices.Contains(switches, e.Host) {
				s.nics[e] = true
				continue
			}
			old := at[e.Host]
			if old == s {
				continue
			}
			if old != nil { // the switch is known: s and its segment are one
				for n := range old.nics {
					s.nics[n] = true
				}
				list = slices.DeleteFunc(list, func(x *segment) bool { return x == old })
				s.bridge = joinNames(old.bridge, s.bridge)
				for name, x := range at {
					if x == old {
						at[name] = s
					}
				}
			} else {
				at[e.Host] = s
				s.bridge = joinNames(s.bridge, e.Host)
			}
		}
		list = append(list, s)
	}
	return list
}

// joinNames joins the names of switches that are one segment.
func joinNames(a, b string) string {
	if a == "" || b == "" || a == b {
		return a + strings.TrimPrefix(b, a)
	}
	return a + "+" + b
}

// column is a stack of boxes.
type column struct {
	rows  []string        // what is written, borders included, all of one width
	ports map[lab.End]int // the row of each NIC
}

// newColumn draws the boxes of hosts.
func newColumn(t *lab.Topology, hosts []string, short bool, below int) column {
	c := column{ports: make(map[lab.End]int)}
	const border = "\x00" // marks rows to become a border, with the host's name
	for _, h := range hosts {
		c.rows = append(c.rows, border+h)
		for _, n := range nicsOf(t, h) {
			c.ports[n] = len(c.rows)
			line, addresses := n.NIC, addressesOf(t, n)
			indent := strings.Repeat(" ", below)
			if short && len(addresses) > 0 {
				indent = strings.Repeat(" ", len(n.NIC)+2)
				line += "  " + addresses[0]
				addresses = addresses[1:]
			}
			c.rows = append(c.rows, line)
			for _, a := range addresses {
				c.rows = append(c.rows, indent+a)
			}
		}
	}
	c.rows = append(c.rows, border)
	width := 0
	for _, r := range c.rows {
		width = max(width, len(strings.TrimPrefix(r, border))+2)
	}
	for i, r := range c.rows {
		name, isBorder := strings.CutPrefix(r, border)
		switch {
		case isBorder && name == "":
			c.rows[i] = "+" + strings.Repeat("-", width) + "+"
		case isBorder:
			c.rows[i] = "+- " + name + " " + strings.Repeat("-", width-len(name)-3) + "+"
		default:
			c.rows[i] = fmt.Sprintf("| %-*s |", width-2, r)
		}
	}
	return c
}

// draw draws a topology in ASCII. It is false for one that does not fit into
// three columns and maxWidth.
func draw(t *lab.Topology) (string, bool) {
	for _, l := range layouts {
		if drawing, ok := l.draw(t); ok {
			return drawing, true
		}
	}
	return "", false
}

func (l layout) draw(t *lab.Topology) (string, bool) {
	roles := []lab.Role{lab.Client, lab.Director, lab.Server}
	var columns []column
	for _, r := range roles {
		if hosts := t.Names(r); len(hosts) > 0 {
			columns = append(columns, newColumn(t, hosts, l.short && r == lab.Server, l.indent))
		}
	}
	if len(columns) == 0 {
		return "", false
	}
	height := 0
	for _, c := range columns {
		height = max(height, len(c.rows))
	}
	height++ // for the name of a switch
	lines := make([]string, height)
	all := segments(t)
	for i, c := range columns {
		for y := range lines {
			row := strings.Repeat(" ", len(c.rows[0]))
			if y < len(c.rows) {
				row = c.rows[y]
			}
			lines[y] += row
		}
		if i == len(columns)-1 {
			break
		}
		for y, row := range l.gap(all, columns, i, height) {
			lines[y] += row
		}
	}
	if !drawable(all, columns) || len(lines[0]) > maxWidth {
		return "", false
	}
	var b strings.Builder
	for _, line := range lines {
		if line = strings.TrimRight(line, " "); line != "" {
			b.WriteString(line + "\n")
		}
	}
	if names := t.Names(lab.Switch); !l.named && len(names) > 0 {
		fmt.Fprintf(&b, "Where lines meet is a switch: %s.\n", strings.Join(names, ", "))
	}
	return b.String(), true
}

// drawable tells whether every segment joins neighbouring columns, all of those
// between its first and its last, or is a switch with one NIC.
func drawable(all []*segment, columns []column) bool {
	for _, s := range all {
		var in []int
		most := 0
		for i, c := range columns {
			n := 0
			for e := range s.nics {
				if _, ok := c.ports[e]; ok {
					n++
				}
			}
			if most = max(most, n); n > 0 {
				in = append(in, i)
			}
		}
		if len(in) > 0 && in[len(in)-1]-in[0] != len(in)-1 {
			return false // it skips a column
		}
		if len(in) == 1 && most > 1 {
			return false // it joins hosts of one column
		}
	}
	return true
}

// lane is a segment as it goes through one gap.
type lane struct {
	left, right []int // rows of its NICs on either side, ascending
	name        string
}

// rows returns where the lane begins and ends.
func (l lane) rows() (top, bottom int) {
	return min(l.left[0], l.right[0]), max(l.left[len(l.left)-1], l.right[len(l.right)-1])
}

// lanesIn returns the lanes between column i and the next.
func lanesIn(all []*segment, columns []column, i int) []lane {
	var lanes []lane
	for _, s := range all {
		l := lane{name: s.bridge}
		for e := range s.nics {
			if y, ok := columns[i].ports[e]; ok {
				l.left = append(l.left, y)
			}
			if y, ok := columns[i+1].ports[e]; ok {
				l.right = append(l.right, y)
			}
		}
		if len(l.left) > 0 && len(l.right) > 0 {
			slices.Sort(l.left)
			slices.Sort(l.right)
			lanes = append(lanes, l)
		}
	}
	return lanes
}

// laneWidth is the distance of two lanes.
const laneWidth = 3

// gap draws what is between column i and the next. Where a line crosses a lane
// it is not joined to, the lane is shown; a "+" is a joint.
func (l layout) gap(all []*segment, columns []column, i, height int) []string {
	lanes, margin, named := lanesIn(all, columns, i), l.margin, l.named
	for _, lane := range lanes {
		if named {
			margin = max(margin, (len(lane.name)+1)/2+1) // the name is centred below
		}
	}
	width := 2*margin + laneWidth*max(0, len(lanes)-1) + 1
	grid := make([][]byte, height)
	for y := range grid {
		grid[y] = []byte(strings.Repeat(" ", width))
	}
	horizontal := func(y, from, to int) {
		for x := from; x < to; x++ {
			if grid[y][x] == ' ' {
				grid[y][x] = '-'
			}
		}
	}
	x := func(k int) int { return margin + laneWidth*k }
	for k, l := range lanes {
		top, bottom := l.rows()
		for y := top; y <= bottom; y++ {
			grid[y][x(k)] = '|'
		}
		if named && l.name != "" {
			copy(grid[bottom+1][x(k)-len(l.name)/2:], l.name)
		}
	}
	for k, l := range lanes {
		for _, y := range l.left {
			grid[y][x(k)] = '+'
			horizontal(y, 0, x(k))
		}
		for _, y := range l.right {
			grid[y][x(k)] = '+'
			horizontal(y, x(k)+1, width)
		}
		if top, bottom := l.rows(); top == bottom && l.name == "" {
			grid[top][x(k)] = '-' // a plain line
		}
	}
	rows := make([]string, height)
	for y := range grid {
		rows[y] = string(grid[y])
	}
	return rows
}

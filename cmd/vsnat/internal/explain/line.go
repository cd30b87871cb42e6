package explain

import (
	"fmt"
	"io"
	"strings"
	"time"

	"vsnat/cmd/vsnat/internal/control"
)

// WriteLine prints the decision of a trace in a line: when, the packet, what it
// belongs to or what it meets, its server, and what becomes of it.
func WriteLine(w io.Writer, t *control.Traced) error {
	when := t.Time
	if at, err := time.Parse(time.RFC3339Nano, t.Time); err == nil {
		when = at.Local().Format("15:04:05.000000")
	}
	d := t.Decision
	_, err := fmt.Fprintf(w, "%s %s %s: %s\n", when, d.NIC, packet(&d.Packet), Line(d))
	return err
}

// Line says in a line what a packet belongs to or meets, its server, and what becomes
// of it.
func Line(d *control.Decision) string {
	var words []string
	if w := what(d); w != "" {
		words = append(words, w)
	}
	if c := d.Connection; c != nil {
		words = append(words, "to "+c.Destination.String()+",", state(d)+",")
	}
	return strings.Join(append(words, end(d)), " ")
}

// what says in a few words what a packet belongs to or meets.
func what(d *control.Decision) string {
	switch {
	case d.GivenUp != "" && d.Connection != nil:
		return "begins anew, " + d.GivenUp + ","
	case d.From == "server":
		return "answer,"
	case d.Found != nil && d.GivenUp == "":
		return "known,"
	case d.Scheduling != nil:
		return "new, by " + d.Scheduling.Scheduler + ","
	case d.Template != nil && d.Connection != nil:
		return "new, by template,"
	case d.Cause != "":
		return d.Cause + ","
	case d.Connection != nil:
		return "new,"
	}
	return ""
}

// state says the connection's state, and what it was if it has changed.
func state(d *control.Decision) string {
	if f := d.Found; f != nil && d.GivenUp == "" && f.State != d.Connection.State {
		return f.State + ">" + d.Connection.State
	}
	return d.Connection.State
}

// end says what becomes of the packet.
func end(d *control.Decision) string {
	switch {
	case d.Reason != "":
		return d.Verdict + " " + d.Reason
	case d.Verdict == "reply" && len(d.Out) > 0:
		return "answered with " + said(&d.Out[0].Headers)
	case d.Verdict == "forward" && len(d.Out) > 0:
		return "leaves by " + d.Out[0].NIC
	case d.Verdict == "hold":
		return "waits for a neighbour, or its first fragment"
	}
	return d.Verdict
}

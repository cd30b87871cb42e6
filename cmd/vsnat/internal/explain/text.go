// Package explain puts decisions into words: flat numbered steps for people.
package explain

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/cmd/vsnat/internal/human"
	"vsnat/cmd/vsnat/internal/table"
)

// Width is how wide the text is at most, in columns.
const Width = 100

// margin is what the lines of a step begin with, in place of its number.
const margin = "    "

// writer writes steps.
type writer struct {
	d *control.Decision
	b bytes.Buffer
	n int
}

// Write prints the decision.
func Write(w io.Writer, d *control.Decision) error {
	t := &writer{d: d}
	t.title()
	t.connection()
	t.service()
	t.template()
	t.scheduling()
	t.state()
	t.headers()
	t.way()
	t.reply()
	_, err := w.Write(t.b.Bytes())
	return err
}

// step writes a step, in as many lines as it takes.
func (t *writer) step(format string, args ...any) {
	t.n++
	number := fmt.Sprintf("%2d. ", t.n)
	for _, line := range table.Wrap(fmt.Sprintf(format, args...), Width-len(margin)) {
		t.b.WriteString(number + line + "\n")
		number = margin
	}
}

// line adds a line to a step.
func (t *writer) line(format string, args ...any) {
	for _, line := range table.Wrap(fmt.Sprintf(format, args...), Width-2*len(margin)) {
		t.b.WriteString(margin + "  " + line + "\n")
	}
}

// lines adds a table to a step.
func (t *writer) lines(tab *table.Table) {
	var b bytes.Buffer
	_ = tab.Write(&b) // a buffer takes all
	for l := range strings.Lines(b.String()) {
		t.b.WriteString(margin + "  " + l)
	}
}

func (t *writer) title() {
	d := t.d
	fmt.Fprintf(&t.b, "%s", packet(&d.Packet))
	if d.NIC != "" {
		fmt.Fprintf(&t.b, ", received by %s", d.NIC)
	}
	if d.FWMark != 0 {
		fmt.Fprintf(&t.b, ", firewall mark %d", d.FWMark)
	}
	t.b.WriteString("\n")
	if d.HostUnknown {
		t.b.WriteString("Of the host nothing is known: routes, neighbours and addresses are as if all were in order.\n")
	}
	t.b.WriteString("\n")
}

// packet writes a packet in one line.
func packet(h *control.Headers) string {
	s := fmt.Sprintf("%s %s to %s", protocol(h), endpoint(h.Src, h.SrcPort), endpoint(h.Dst, h.DstPort))
	if len(h.TCPFlags) > 0 {
		s += ", " + flags(h.TCPFlags)
	}
	return s
}

func flags(names []string) string { return strings.ToUpper(strings.Join(names, "+")) }

func protocol(h *control.Headers) string {
	switch h.IPProtocol {
	case 1:
		return "icmp"
	case 4:
		return "ipip"
	case 41:
		return "ipv6 in ip"
	case 47:
		return "gre"
	case 58:
		return "icmpv6"
	}
	if p := control.ProtocolOf(h.IPProtocol); p != control.AnyProtocol {
		return string(p)
	}
	return "protocol " + strconv.Itoa(int(h.IPProtocol))
}

func endpoint(a netip.Addr, port uint16) string {
	if port == 0 {
		return a.String()
	}
	return netip.AddrPortFrom(a, port).String()
}

var givenUp = map[string]string{
	"policy":            "as the service's policy says",
	"begun-anew":        "it is over, and its client begins another one with this SYN (conn_reuse_mode)",
	"server-quiesced":   "its server has weight 0, and a SYN is scheduled anew then (expire_nodest_conn)",
	"server-deleted":    "its server was deleted (expire_nodest_conn)",
	"server-takes-none": "its server was deleted, or has weight 0 (expire_quiescent_template)",
}

var why = map[string]string{
	"scheduled": "its server was scheduled", "template": "a template named its server",
	"helper": "it goes where its control connection goes", "moved": "its client was moved there, by policy",
	"bypass": "it goes where its client sent it", "synced": "another director told of it",
}

func (t *writer) connection() {
	d := t.d
	c := d.Found
	switch {
	case c == nil && d.From == "server":
		return
	case c == nil:
		t.step("Connection: none has these addresses and ports.")
		return
	}
	past := ""
	if w := why[c.Why]; w != "" {
		past = ": " + w
	}
	t.step("Connection: one of %s to %s by way of %s, %s, %s old%s. From its client came %d packets, %d bytes, from its server %d bytes; it would have ended in %s.",
		c.Client, c.Destination, c.Virtual, c.State, human.Seconds(c.Age), past, c.InPkts, c.InBytes, c.OutBytes, human.Seconds(c.Expires))
	t.ruled(d.Life)
	if d.GivenUp != "" {
		t.line("It does not count: %s.", givenUp[d.GivenUp])
	}
}

var events = map[string]string{"drain": "has weight 0", "down": "is down", "removed": "was removed"}

func (t *writer) ruled(l *control.LifeRuling) {
	if l == nil {
		return
	}
	after := ""
	if l.Deadline {
		after = ", now that the deadline has passed"
	}
	t.line("Its server %s, for which the service's policy says of this traffic (%s): %s%s.", events[l.Event], l.Traffic, l.Action, after)
}

var rules = map[string]string{
	"mark": "the firewall mark is the service's", "exact": "address, port and protocol are the service's",
	"ftp-fallback": "the port may be that of one of its FTP data connections",
	"any-port":     "the service takes all ports that no other has",
}

func (t *writer) service() {
	d := t.d
	switch {
	case d.Service != nil:
		t.step("Service %s: %s.", d.Service.ServiceID, rules[d.Rule])
	case d.Cause == "no-service":
		t.step("Service: none takes it.")
		if len(d.Near) > 0 {
			t.line("It just misses:")
			for _, n := range d.Near {
				t.line("  %s (%s)", n.Service, n.Missed)
			}
		}
	}
	switch d.Cause {
	case "begins-nothing":
		t.step("It begins no connection: %s.", map[bool]string{
			true:  "only a SYN does, and no reset, unless sloppy_tcp is set",
			false: "only an INIT does, and no ABORT, unless sloppy_sctp is set",
		}[d.Packet.IPProtocol == control.TCP.Number()])
	case "from-ftp-data":
		t.step("It begins no connection: what comes from FTP's data port, 20, is never scheduled.")
	case "other-port":
		t.step("It begins no connection: only if it is persistent, a service takes other ports than its own.")
	case "service-deleted":
		t.step("It begins no connection: the service was deleted at this moment.")
	}
}

func (t *writer) template() {
	u := t.d.Template
	if u == nil {
		return
	}
	c := u.Found
	if c == nil {
		t.step("Persistence: there is no template of this client.")
		return
	}
	t.step("Persistence: there is a template of %s for %s, %s old; it would have ended in %s.",
		c.Client.Addr(), c.Destination.Addr(), human.Seconds(c.Age), human.Seconds(c.Expires))
	t.ruled(u.Life)
	if u.GivenUp != "" {
		t.line("It does not count: %s.", givenUp[u.GivenUp])
	}
}

func (t *writer) scheduling() {
	s := t.d.Scheduling
	if s == nil {
		return
	}
	if s.Brief {
		t.step("Scheduler %s. It was not asked what it thinks of each server, as packets waited.", s.Scheduler)
		return
	}
	t.step("Scheduler %s: %s.", s.Scheduler, s.Rule)
	if s.Compared != "" {
		which := "least"
		if s.Greatest {
			which = "greatest"
		}
		t.line("Compared is: %s; the %s wins, the first of equal ones.", s.Compared, which)
	}
	picked := false
	if len(s.Servers) > 0 {
		tab := table.New("", "SERVER", ">WEIGHT", ">ACTIVE", ">CONNS", ">VALUE", "")
		for _, c := range s.Servers {
			mark, value, note := "", "-", c.Note
			if c.Picked {
				mark, picked = "*", true
			}
			if c.Value != nil {
				value = strconv.FormatFloat(*c.Value, 'f', -1, 64)
			}
			if c.Refused != "" {
				note = strings.TrimSuffix("refused: "+c.Refused+"; "+c.Note, "; ")
			}
			tab.Row(mark, c.Server.String(), num(c.Weight), num(c.Active), num(c.Conns), value, note)
		}
		t.lines(tab)
	}
	switch {
	case len(s.Servers) == 0:
		t.line("The service has no server.")
	case !picked:
		t.line("None is picked.")
	}
}

func num(n int32) string { return strconv.Itoa(int(n)) }

// state tells what becomes of the connection.
func (t *writer) state() {
	c, was := t.d.Connection, t.d.Found
	if c == nil {
		return
	}
	fresh := was == nil || t.d.GivenUp != ""
	switch {
	case c.Method == control.Outbound:
		t.step("It is of a network that is masqueraded: its source becomes a port of a pool.")
	case c.Why == "bypass":
		t.step("No server has it: it goes on to where it was sent (cache_bypass).")
	case fresh:
		t.step("Server %s, %s: %s.", c.Destination, methods[c.Method], cause(c))
	default:
		trouble := ""
		if e := events[string(t.d.ServerState)]; e != "" {
			trouble = ", which " + e
		}
		t.step("Server %s%s, %s.", c.Destination, trouble, methods[c.Method])
	}
	if fresh {
		if c.OnePacket {
			t.step("The connection is of this datagram alone, and ends with it (one-packet scheduling).")
			return
		}
		t.step("A connection is made: its state is %s, its timer is set to %s.", c.State, human.Seconds(c.Timer))
		if u := t.d.Template; u != nil && u.Now != nil {
			verb := "renewed"
			if u.Found == nil || u.GivenUp != "" {
				verb = "made"
			}
			t.line("Its template is %s: %s.", verb, human.Seconds(u.Now.Timer))
		}
		return
	}
	state := "stays " + c.State
	if was.State != c.State {
		state = fmt.Sprintf("%s becomes %s", was.State, c.State)
	}
	if t.d.Verdict == "drop" && was.State == c.State {
		return // nothing of it has changed
	}
	t.step("Its state %s, its timer is set to %s.", state, human.Seconds(c.Timer))
}

var methods = map[control.Method]string{
	control.Masq: "by masquerading", control.Direct: "by direct routing", control.Tunnel: "by a tunnel", control.Local: "on this host itself",
	control.Full: "by FullNAT",
}

// cause says why a new connection has its server.
func cause(c *control.DecidedConnection) string {
	switch c.Why {
	case "template":
		return "the template names it"
	case "moved":
		return "scheduled, as the one before is given up"
	case "helper":
		return "that of its control connection"
	}
	return "scheduled"
}

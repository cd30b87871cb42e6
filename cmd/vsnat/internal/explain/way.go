package explain

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/cmd/vsnat/internal/table"
)

// headers tells what becomes of the packet's headers.
func (t *writer) headers() {
	d := t.d
	if len(d.Out) == 0 || d.Out[0].Answer {
		return
	}
	t.step("Headers:")
	t.lines(changes(&d.Packet, &d.Out[0].Headers))
	if n := len(d.Out) + d.MoreOut; n > 1 {
		t.line("That is the first of %d frames that leave.", n)
	}
}

// changes returns a table of headers before and after.
func changes(was, is *control.Headers) *table.Table {
	tab := table.New("", "BEFORE", "AFTER")
	row := func(what, before, after string) {
		if before == after {
			after = "the same"
		}
		tab.Row(what, before, after)
	}
	if was.IPProtocol != is.IPProtocol {
		row("outer protocol", "none", protocol(is))
		row("outer source", "none", endpoint(is.Src, is.SrcPort))
		row("outer destination", "none", endpoint(is.Dst, is.DstPort))
		row("length", strconv.Itoa(was.Length), strconv.Itoa(is.Length))
	} else {
		row("source", endpoint(was.Src, was.SrcPort), endpoint(is.Src, is.SrcPort))
		row("destination", endpoint(was.Dst, was.DstPort), endpoint(is.Dst, is.DstPort))
		row("TTL", strconv.Itoa(int(was.TTL)), strconv.Itoa(int(is.TTL)))
	}
	if is.DstMAC != "" {
		row("link-layer source", cmp.Or(was.SrcMAC, "any"), is.SrcMAC)
		row("link-layer destination", cmp.Or(was.DstMAC, "this host"), is.DstMAC)
	}
	return tab
}

// way tells where the packet goes.
func (t *writer) way() {
	d := t.d
	if d.Verdict == "reply" || d.Verdict == "pass" || d.Verdict == "drop" {
		t.end()
		return
	}
	t.step("%s", route(d))
}

func route(d *control.Decision) string {
	h := d.NextHop
	if h.State == "local" {
		return fmt.Sprintf("It is given to this host's own stack, where the server %s is.", h.To)
	}
	if d.HostUnknown {
		return fmt.Sprintf("It is forwarded to %s, by whatever route there is.", h.To)
	}
	way := fmt.Sprintf("%s is on the link of %s", h.To, h.NIC)
	who := h.To
	if h.Gateway.IsValid() {
		way, who = fmt.Sprintf("the route to %s leads through %s on %s", h.To, h.Gateway, h.NIC), h.Gateway
	}
	way = fmt.Sprintf("It is forwarded: %s, MTU %d", way, h.MTU)
	if d.Verdict == "hold" {
		return fmt.Sprintf("%s. The link-layer address of %s is not known: the packet waits for it, 3 seconds at most, and the kernel is asked to find it.", way, who)
	}
	return way + "."
}

func (t *writer) end() {
	d := t.d
	switch {
	case d.Verdict == "pass":
		t.step("It is left to the host's own stack.")
	case d.Verdict == "drop":
		t.step("It is dropped: %s, %s.", d.Reason, d.Meaning)
	default:
		for i, o := range d.Out {
			verb := "It is answered"
			if i > 0 {
				verb = "So is the other side"
			}
			t.step("%s: %s, from %s to %s%s.", verb, said(&o.Headers), endpoint(o.Headers.Src, o.Headers.SrcPort), endpoint(o.Headers.Dst, o.Headers.DstPort), by(o.NIC))
		}
	}
	if h := d.NextHop; d.Connection != nil && d.Verdict == "reply" && h != nil && d.Life == nil && d.Cause == "" {
		t.line("It finds no way to %s: see the routes and the packet's TTL and length.", d.Connection.Destination.Addr())
	}
}

// said names what an answer of the director's says.
func said(h *control.Headers) string {
	if h.ICMPType == nil {
		if h.IPProtocol == control.SCTP.Number() {
			return "an ABORT"
		}
		return "a reset"
	}
	v6 := h.IPProtocol == 58
	return "ICMP " + map[[3]int]string{
		{0, 3, 0}: "net unreachable", {0, 3, 1}: "host unreachable", {0, 3, 3}: "port unreachable", {0, 3, 4}: "fragmentation needed",
		{0, 11, 0}: "time exceeded", {6, 1, 0}: "no route", {6, 1, 3}: "address unreachable", {6, 1, 4}: "port unreachable",
		{6, 2, 0}: "packet too big", {6, 3, 0}: "hop limit exceeded",
	}[[3]int{map[bool]int{true: 6}[v6], int(*h.ICMPType), int(*h.ICMPCode)}]
}

// reply tells what becomes of the server's answer.
func (t *writer) reply() {
	d, r := t.d, t.d.Reply
	c := d.Connection
	switch {
	case r != nil && (r.Verdict == "forward" || r.Verdict == "hold"):
		t.step("Its server answers: %s, comes back%s.", packet(&r.Packet), by(r.NIC))
		if len(r.Out) > 0 {
			t.lines(changes(&r.Packet, &r.Out[0].Headers))
		}
		t.line("%s", route(r))
	case r != nil && c != nil && c.OnePacket:
		t.step("Its server's answer is not translated: no connection is left that it could belong to.")
	case r != nil:
		t.step("Its server answers: %s, comes back%s, and does not reach the client: %s.", packet(&r.Packet), by(r.NIC), strings.TrimSpace(r.Verdict+" "+r.Reason+" "+r.Meaning))
	case c == nil || d.From != "client" || d.Verdict != "forward" && d.Verdict != "hold":
	case c.Method == control.Direct || c.Method == control.Tunnel:
		t.step("Its server answers the client itself, from %s to %s: that does not pass here.", c.Virtual, c.Client)
	}
}

func by(nic string) string {
	if nic == "" {
		return ""
	}
	return ", by " + nic
}

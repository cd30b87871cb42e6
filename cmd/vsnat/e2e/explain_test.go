package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"vsnat/bench/lab"
	"vsnat/cmd/vsnat/internal/control"
	"vsnat/sched"
)

// explain asks the director about a packet of the client's.
func (s *site) explain(port int, args ...string) (d control.Decision) {
	s.t.Helper()
	from := fmt.Sprintf("%s:%d", clientIP, port)
	out := s.must("director", append([]string{bin("vsnat"), "explain", "--json", from, web}, args...)...)
	if err := json.Unmarshal([]byte(out), &d); err != nil {
		s.t.Fatalf("vsnat explain --json: %v\n%s", err, out)
	}
	return d
}

// picked returns the server that the decision's connection goes to.
func picked(d *control.Decision) string {
	if d.Connection == nil {
		return ""
	}
	return d.Connection.Destination.Addr().String()
}

// curl asks for the page from a port, and returns the server that answers; with
// none, why.
func (s *site) curl(port int) string {
	s.t.Helper()
	r := s.run("client", "curl", "-sS", "--max-time", "10", "--local-port", fmt.Sprint(port), "-o", "/dev/null", "-D", "-", "http://"+web+"/")
	for line := range strings.Lines(r.stdout) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.EqualFold(name, headerServer) {
			return strings.TrimSpace(value)
		}
	}
	return r.stderr
}

// TestExplainForesees asks, with every scheduler, which server the next connection
// gets, more than once, and then has curl make it: that server answers. Servers
// differ in weight, and some have connections open.
func TestExplainForesees(t *testing.T) {
	need(t, "curl")
	s := newSite(t, lab.PaperOptions{})
	s.serveAll()
	s.direct()
	s.cluster("rr")
	for i, ip := range serverIPs {
		s.ipvsadm(fmt.Sprintf("-e -t %s -r %s:80 -m -w %d", web, ip, 1+i%3))
	}
	for range 3 {
		conn, err := s.Host("client").Dial(t.Context(), "tcp4", web)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
	}
	port := 20000
	names := append(sched.Names(), "sh -b sh-port", "mh -b mh-port,mh-fallback")
	for _, name := range names {
		s.ipvsadm("-E -t " + web + " -s " + name)
		for range 3 {
			port++
			first := s.explain(port)
			again := s.explain(port)
			if first.Scheduling == nil || picked(&first) == "" || picked(&first) != picked(&again) {
				t.Fatalf("%s: explained %q and then %q", name, picked(&first), picked(&again))
			}
			if got := s.curl(port); got != picked(&first) {
				t.Errorf("%s: %s answers, explained was %s: %+v", name, got, picked(&first), first.Scheduling)
			}
		}
	}
	d := s.explain(port, "--flags", "ack")
	if d.Found == nil || d.Found.Why != "scheduled" || d.Found.OutBytes < 4000 || picked(&d) != d.Found.Destination.Addr().String() {
		t.Errorf("of the last connection it says %+v", d.Found)
	}
	var conn control.Connection
	out := s.vsnat(fmt.Sprintf("conns --json --why scheduled --client %s:%d", clientIP, port))
	if err := json.Unmarshal([]byte(out), &conn); err != nil || conn.OutBytes != d.Found.OutBytes || conn.Why != "scheduled" {
		t.Errorf("conns: %s, %v", out, err)
	}
}

// TestExplainIfDown asks what would be if a server were down, and then marks it
// down: for one of several, for all, and for a connection under fail-fast.
func TestExplainIfDown(t *testing.T) {
	need(t, "curl")
	s := newSite(t, lab.PaperOptions{})
	s.serveAll()
	s.direct()
	s.cluster("rr")
	first := s.explain(21000)
	gone := picked(&first)
	other := s.explain(21000, "--if-down", gone)
	if picked(&other) == gone || picked(&other) == "" {
		t.Fatalf("if %s were down, %q would be picked", gone, picked(&other))
	}
	if got := s.curl(21000); got != gone {
		t.Fatalf("asking what would be has changed what is: %s answers, not %s", got, gone)
	}
	s.vsnat("server down -t " + web + " -r " + picked(&other) + ":80")
	next := s.explain(21001)
	if got := s.curl(21001); got != picked(&next) || got == picked(&other) {
		t.Errorf("%s answers, explained was %s; down is %s", got, picked(&next), picked(&other))
	}
	args := []string{}
	for _, ip := range serverIPs {
		args = append(args, "--if-down", ip+":80")
	}
	none := s.explain(21002, args...)
	if none.Verdict != "reply" || none.Cause != "no-server" || len(none.Out) != 1 || none.Out[0].Headers.ICMPType == nil {
		t.Errorf("with all down: %+v", none)
	}
	text := s.must("director", append([]string{bin("vsnat"), "explain", clientIP + ":21002", web}, args...)...)
	if !strings.Contains(text, "It is answered: ICMP port unreachable, from "+vip+" to "+clientIP) {
		t.Errorf("with all down: %s", text)
	}
	for _, ip := range serverIPs {
		s.vsnat("server down -t " + web + " -r " + ip + ":80")
	}
	if got := s.curl(21002); !strings.HasPrefix(got, "curl: (7)") {
		t.Errorf("with all down curl says %q", got)
	}
}

// TestExplainMissedService asks about ports without service, and where no director
// runs.
func TestExplainMissedService(t *testing.T) {
	s := newSite(t, lab.PaperOptions{})
	d := s.direct()
	s.cluster("rr")
	ask := func(to string, args ...string) (d control.Decision) {
		out := s.must("director", append([]string{bin("vsnat"), "explain", "--json", clientIP + ":1234", to}, args...)...)
		if err := json.Unmarshal([]byte(out), &d); err != nil {
			t.Fatal(err)
		}
		return d
	}
	service := control.ServiceID{Family: control.IPv4, Protocol: control.TCP, Address: netip.MustParseAddr(vip), Port: 80}
	for to, want := range map[string]string{vip + ":81": "other port", vip + ":80 udp": "other protocol", "192.168.28.99:80": "other address"} {
		words := strings.Fields(to)
		got := ask(words[0], words[1:]...)
		if len(got.Near) != 1 || got.Near[0].Service != service || got.Near[0].Missed != want || got.Cause != "no-service" || got.Verdict != "pass" {
			t.Errorf("%s: %+v", to, got)
		}
	}
	if r := s.run("director", bin("vsnat"), "explain", clientIP+":1234", web, "--in", "eth9"); r.code != 1 || !strings.Contains(r.stderr, "there is no NIC eth9") {
		t.Errorf("an unknown NIC: %+v", r)
	}
	d.leave()
	if r := s.run("director", bin("vsnat"), "explain", clientIP+":1234", web); r.code != 1 || !strings.Contains(r.stderr, "vsnat is not running") {
		t.Errorf("without a director: %+v", r)
	}
}

// TestTrace has the director show new connections while a client makes them: each is
// told with the server that then answered, and with the scheduler's account. What
// comes to a port without service is told as such.
func TestTrace(t *testing.T) {
	s := newSite(t, lab.PaperOptions{})
	s.serveAll()
	s.direct()
	s.cluster("rr")
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	follow := func(args ...string) <-chan []control.Decision {
		cmd := s.Host("director").Command(ctx, bin("vsnat"), append([]string{"trace", "--json"}, args...)...)
		cmd.Env = append(os.Environ(), s.Env("director")...)
		done := make(chan []control.Decision, 1)
		go func() {
			out, err := cmd.Output()
			if err != nil {
				t.Errorf("vsnat trace %v: %v", args, err)
			}
			var all []control.Decision
			for lines := json.NewDecoder(bytes.NewReader(out)); ; {
				var line control.Traced
				if lines.Decode(&line) != nil {
					break
				}
				all = append(all, *line.Decision)
			}
			done <- all
		}()
		return done
	}
	fresh := follow("--new", "--vip", web, "--limit", "6")
	missed := follow("--client", clientIP, "--vip", vip+":81", "--limit", "1")
	var answered []string
	var told, nothing []control.Decision
	for told == nil || nothing == nil {
		select {
		case told = <-fresh:
		case nothing = <-missed:
		default:
			if a := s.page("client", web); len(answered) == 0 || told == nil {
				answered = append(answered, a.server)
			}
			if conn, err := s.Host("client").Dial(ctx, "tcp4", vip+":81"); err == nil {
				conn.Close()
				t.Fatal("there is something at port 81")
			}
		}
	}
	var picks []string
	for i := range told {
		d := &told[i]
		if d.Scheduling == nil || len(d.Scheduling.Servers) != 4 || d.Verdict != "forward" || d.Connection == nil || d.Connection.State != "SYN_RECV" {
			t.Fatalf("told of %+v", d)
		}
		picks = append(picks, picked(d))
	}
	if len(picks) != 6 || !strings.Contains(strings.Join(answered, " "), strings.Join(picks, " ")) {
		t.Errorf("told of %v, and these answered: %v", picks, answered)
	}
	if len(nothing) != 1 || nothing[0].Cause != "no-service" || nothing[0].Verdict != "pass" || nothing[0].Packet.DstPort != 81 {
		t.Errorf("of port 81: %+v", nothing)
	}
}

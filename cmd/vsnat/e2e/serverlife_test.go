package e2e

import (
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"vsnat/bench/lab"
	"vsnat/cmd/vsnat/internal/control"
)

// accepted has all real servers accept TCP connections at a port and gives each
// to the channel.
func (s *site) accepted(port string) <-chan net.Conn {
	s.t.Helper()
	conns := make(chan net.Conn, 16)
	for _, ip := range serverIPs {
		ln, err := s.Host(serverName(ip)).Listen("tcp4", ip+":"+port)
		if err != nil {
			s.t.Fatal(err)
		}
		s.t.Cleanup(func() { ln.Close() })
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				conns <- c
			}
		}()
	}
	return conns
}

func (s *site) vsnat(line string) string {
	s.t.Helper()
	return s.must("director", append([]string{bin("vsnat")}, strings.Fields(line)...)...)
}

// lived returns what `vsnat server --json` says of a server.
func (s *site) lived(service, server string) control.ServerEntry {
	s.t.Helper()
	var all []control.ServiceEntry
	if err := json.Unmarshal([]byte(s.vsnat("server --json "+service)), &all); err != nil || len(all) != 1 {
		s.t.Fatalf("vsnat server --json %s: %v, %d services", service, err, len(all))
	}
	for _, e := range append(all[0].Servers, all[0].Removed...) {
		if e.Address == netip.MustParseAddr(server) {
			return e
		}
	}
	s.t.Fatalf("vsnat server --json %s does not show %s", service, server)
	return control.ServerEntry{}
}

// TestFailFast has the director reset connections whose server is marked down or
// deleted: both kernels must take the resets, whichever side speaks first.
func TestFailFast(t *testing.T) {
	s := newSite(t, lab.PaperOptions{})
	conns := s.accepted("9")
	s.direct()
	s.ipvsadm("-A -t " + vip + ":9 -s rr")
	for _, ip := range serverIPs {
		s.ipvsadm("-a -t " + vip + ":9 -r " + ip + ":9 -m")
	}
	s.vsnat("service life -t " + vip + ":9 fail-fast")
	for _, event := range []string{"down", "removed"} {
		for _, first := range []string{"client", "server"} {
			client, err := s.Host("client").Dial(t.Context(), "tcp4", vip+":9")
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			server := <-conns
			defer server.Close()
			for _, c := range []net.Conn{client, server} {
				_ = c.SetDeadline(time.Now().Add(patience))
			}
			said := make([]byte, 5)
			for _, c := range [][2]net.Conn{{client, server}, {server, client}} {
				if _, err := c[0].Write([]byte("hello")); err != nil {
					t.Fatal(err)
				}
				if _, err := c[1].Read(said); err != nil {
					t.Fatal(err)
				}
			}
			ip := server.LocalAddr().(*net.TCPAddr).IP.String()
			name := " -t " + vip + ":9 -r " + ip + ":9"
			if event == "down" {
				s.vsnat("server down" + name)
			} else {
				s.ipvsadm("-d" + name)
			}
			speaker := map[string]net.Conn{"client": client, "server": server}[first]
			if _, err := speaker.Write([]byte("again")); err != nil {
				t.Fatal(err)
			}
			for who, c := range map[string]net.Conn{"client": client, "server": server} {
				if _, err := c.Read(said); !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("%s, the %s speaks first: the %s reads %v, want ECONNRESET", event, first, who, err)
				}
			}
			if e := s.lived("-t "+vip+":9", ip); string(e.State) != event || e.LifeCounts != (control.LifeCounts{Reset: 1}) {
				t.Errorf("%s, the %s speaks first: %+v", event, first, e)
			}
			if event == "down" {
				s.vsnat("server up" + name)
				s.ipvsadm("-Z -t " + vip + ":9")
			}
		}
	}
}

// TestDNSLife has a client ask again from the same port while its server drains,
// is down and is removed: another one answers.
func TestDNSLife(t *testing.T) {
	s := newSite(t, lab.PaperOptions{})
	e := s.echoUDP("53")
	s.direct()
	s.ipvsadm("-A -u " + vip + ":53 -s rr")
	for _, ip := range serverIPs {
		s.ipvsadm("-a -u " + vip + ":53 -r " + ip + ":53 -m")
	}
	s.vsnat("service life -u " + vip + ":53 dns")
	conn := s.dialUDP(vip + ":53")
	ask := func() string {
		t.Helper()
		if _, err := conn.Write([]byte("who?")); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 10)); err != nil {
			t.Fatalf("no answer: %v", err)
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		ip, _, _ := strings.Cut(e.asked[len(e.asked)-1], " ")
		return ip
	}
	for _, how := range []string{"vsnat server drain", "vsnat server down", "ipvsadm -d"} {
		before := ask()
		if again := ask(); again != before {
			t.Fatalf("one flow, two servers: %s and %s", before, again)
		}
		name := " -u " + vip + ":53 -r " + before + ":53"
		if verb, ok := strings.CutPrefix(how, "vsnat "); ok {
			s.vsnat(verb + name)
		} else {
			s.ipvsadm("-d" + name)
		}
		if after := ask(); after == before {
			t.Errorf("after %s %s still answers", how, after)
		}
		if d := s.lived("-u "+vip+":53", before); d.LifeCounts != (control.LifeCounts{Moved: 1}) {
			t.Errorf("after %s: %+v", how, d)
		}
	}
	table := s.vsnat("server -u " + vip + ":53")
	for _, want := range []string{" drain ", " down ", " removed ", " up "} {
		if !strings.Contains(table, want) {
			t.Errorf("vsnat server shows no server in the state%s:\n%s", want, table)
		}
	}
}

// TestLifeCommands looks at what is shown, and what bad input is told.
func TestLifeCommands(t *testing.T) {
	s := newSite(t, lab.PaperOptions{})
	s.direct()
	s.ipvsadm("-A -t " + vip + ":9 -s rr")
	s.ipvsadm("-a -t " + vip + ":9 -r " + server1 + ":9 -m -w 3")
	s.vsnat("service life -t " + vip + ":9 stateful drain.deadline=90s")
	s.vsnat("service life -t " + vip + ":9 down.udp=unreachable removed.established=reset-both removed.udp=move")
	want := `tcp:` + vip + `:9: its own
EVENT    ESTABLISHED      NEW   UDP          PERSISTENT  DEADLINE
drain    keep,reset-both  move  keep,move    move        1m30s
down     keep,reset-both  move  unreachable  move        1m0s
removed  reset-both       move  move         move        -
`
	if got := s.vsnat("service life -t " + vip + ":9"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for _, c := range []struct {
		line, stderr string
		code         int
	}{
		{"service life -t " + vip + ":10 dns", "no such service", 1},
		{"service life -t " + vip + ":9 dsn", "PRESET is one of kernel, stateful, dns, fail-fast", 2},
		{"service life -t " + vip + ":9 dns down.udp=reset-both", "UDP knows no reset", 1},
		{"service life -t " + vip + ":9 drian.udp=move", "EVENT is one of drain, down, removed", 2},
		{"service life -t " + vip + ":9 drain.sctp=move", "CLASS is one of established, new, udp, persistent", 2},
		{"service life -t " + vip + ":9 drain.deadline=soon", "no time in whole seconds", 2},
		{"service life dns", "--sctp-service VIP:PORT and -f MARK", 2},
		{"service life -t " + vip, "is not ADDRESS:PORT", 2},
		{"server down -t " + vip + ":9", "-r ADDRESS[:PORT] names the real server", 2},
		{"server down -t " + vip + ":9 -r x", "it is not ADDRESS or ADDRESS:PORT", 2},
		{"server down -t " + vip + ":9 -r " + server2, server2, 1},
		{"server drain -t " + vip + ":9 -r " + server2, server2, 1},
	} {
		r := s.run("director", append([]string{bin("vsnat")}, strings.Fields(c.line)...)...)
		if r.code != c.code || !strings.Contains(r.stderr, c.stderr) {
			t.Errorf("vsnat %s: %+v, want %d and %q", c.line, r, c.code, c.stderr)
		}
	}
	s.vsnat("server drain -t " + vip + ":9 -r " + server1)
	if e := s.lived("-t "+vip+":9", server1); e.State != control.StateDrain || e.Weight != 0 || e.Method != control.Masq {
		t.Errorf("%+v", e)
	}
}

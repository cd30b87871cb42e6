package e2e

import (
	"strings"
	"testing"

	"vsnat/bench/lab"
	"vsnat/nic/guard"
)

// TestMarks has a service of many ports and some clients, told by mark rules, and
// the host serve what is excepted. The host listens at all of those ports: where
// the guard let a packet through, the host would answer too.
func TestMarks(t *testing.T) {
	for _, kind := range []string{guard.TCX, guard.NFT} {
		t.Run(kind, func(t *testing.T) {
			s := newSite(t, lab.PaperOptions{})
			s.serveAll()
			for _, port := range []string{":8080", ":8085", ":9999"} {
				s.serveAt("director", port, "the director")
			}
			s.directGuarded(kind)
			mark := func(line string) string {
				return s.must("director", append([]string{bin("vsnat"), "mark"}, strings.Fields(line)...)...)
			}
			mark("add 7 --src 192.168.28.0/24 --dst " + vip + " --proto tcp --dport 8000-9999")
			mark("add 0 --proto tcp --dport 8080 --at 1")
			s.ipvsadm("-A -f 7 -s rr")
			for _, ip := range serverIPs {
				s.ipvsadm("-a -f 7 -r " + ip + ":80 -m")
			}
			for port, want := range map[string]string{":8085": server4, ":9999": server3, ":8080": "the director"} {
				got := s.page("client", vip+port).server
				if (got == "the director") != (want == "the director") {
					t.Errorf("port %s was answered by %s", port, got)
				}
			}
			if got := s.page("server1", vip+":8085").server; got != "the director" {
				t.Errorf("a client that no rule takes was answered by %s", got)
			}
			s.refusedAtOnce(vip + ":7999") // no rule takes it, and nobody listens
			want := []string{"1 0 tcp any any 8080 any", "2 7 tcp 192.168.28.0/24 " + vip + "/32 8000-9999 any"}
			for i, line := range strings.Split(strings.TrimSpace(mark("")), "\n")[1:] {
				if got := strings.Join(strings.Fields(line), " "); got != want[i] {
					t.Errorf("vsnat mark: %q, want %q", got, want[i])
				}
			}
			mark("replace 2 7 --dport 9999 --proto tcp")
			if got := s.page("client", vip+":8085").server; got != "the director" {
				t.Errorf("a port that no rule takes any more was answered by %s", got)
			}
			if got := s.page("client", vip+":9999").server; got == "the director" {
				t.Error("a port that the new rule takes was answered by the director's host")
			}
			if r := s.run("director", bin("vsnat"), "mark", "delete", "3"); r.code != 1 || !strings.Contains(r.stderr, "there is no rule 3") {
				t.Errorf("vsnat mark delete 3: %+v", r)
			}
			mark("clear")
			if got := s.page("client", vip+":9999").server; got != "the director" {
				t.Errorf("without rules %s answers", got)
			}
		})
	}
}

// TestSet changes settings and reads them back.
func TestSet(t *testing.T) {
	s := newSite(t, lab.PaperOptions{})
	s.direct()
	vsnat := func(line string) result {
		return s.run("director", append([]string{bin("vsnat"), "set"}, strings.Fields(line)...)...)
	}
	if r := vsnat("expire_nodest_conn=1 net.ipv4.vs.am_droprate=7"); r.code != 0 {
		t.Errorf("%+v", r)
	}
	for _, c := range []struct {
		line, stdout, stderr string
		code                 int
	}{
		{"expire_nodest_conn", "1\n", "", 0},
		{"net.ipv4.vs.am_droprate", "7\n", "", 0},
		{"expire_nodset_conn", "", "is it expire_nodest_conn?", 1},
		{"expire_nodset_conn=1", "", "is it expire_nodest_conn?", 1},
		{"drop_packet=9", "", "9 is not in 0..3", 1},
		{"drop_packet=x", "", "is no number", 2},
		{"sync_threshold", "3 50\n", "", 0},
		{"sync_threshold=4,60", "", "", 0},
		{"sync_threshold", "4 60\n", "", 0},
		{"sync_threshold=60,60", "", "the threshold 60 is not below the period 60", 1},
		{"sync_ports=3", "", "3 is no power of two", 1},
		{"est_nice=1", "", "does nothing in vsnat", 1},
		{"drop_packet secure_tcp=1", "", "NAME=VALUE is wanted", 2},
	} {
		if r := vsnat(c.line); r.code != c.code || r.stdout != c.stdout || !strings.Contains(r.stderr, c.stderr) {
			t.Errorf("vsnat set %s: %+v", c.line, r)
		}
	}
	if r := vsnat(""); r.code != 0 || strings.Count(r.stdout, "\n") < 10 || !strings.Contains(r.stdout, "sloppy_tcp") {
		t.Errorf("vsnat set: %+v", r)
	}
}

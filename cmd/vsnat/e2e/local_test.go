package e2e

import (
	"slices"
	"strings"
	"syscall"
	"testing"

	"vsnat/bench/lab"
)

const inside = "10.0.100.1" // the director's address on the servers' side

// TestServerOnTheDirector has a real server on the director itself, beside another,
// reached by each method: rewritten, and as the service that it is. Reverse path
// filtering is strict, the host is a router or not.
func TestServerOnTheDirector(t *testing.T) {
	for _, tt := range []struct {
		name    string
		forward bool
	}{{"ip_forward=0", false}, {"ip_forward=1", true}} {
		t.Run(tt.name, func(t *testing.T) {
			topology, err := lab.Paper(lab.PaperOptions{Forward: tt.forward, IPv6: true})
			if err != nil {
				t.Fatal(err)
			}
			topology.Sysctls = append(topology.Sysctls,
				lab.Sysctl{Host: "director", Key: "net/ipv4/conf/all/rp_filter", Value: "1"},
				lab.Sysctl{Host: "director", Key: "net/ipv4/conf/default/rp_filter", Value: "1"})
			s := newSiteOf(t, topology)
			s.serve("server1")
			s.serveAt("director", inside+":8080", "the director")
			s.serveAt("director", vip+":80", "the director's VIP")
			s.serveAt("director", "["+vip6+"]:80", "the director's VIP")
			d := s.direct()

			s.ipvsadm("-A -t " + web + " -s rr")
			s.ipvsadm("-a -t " + web + " -r " + server1 + ":80 -m")
			s.ipvsadm("-a -t " + web + " -r " + inside + ":8080 -m")
			if got, want := s.pages(3), []string{"the director", server1, "the director"}; !slices.Equal(got, want) {
				t.Errorf("answered %v, want %v", got, want)
			}
			s.ipvsadm("-d -t " + web + " -r " + server1 + ":80")
			s.together(2, s.download, 5_000_000)
			s.together(2, s.upload, 5_000_000)
			if l := d.ledger("vsnat0"); l.Forwarded == 0 || l.Passed != 0 {
				t.Errorf("what the host sent: %+v", l)
			}

			for _, method := range []string{"-g", "-i"} {
				s.ipvsadm("-C")
				s.ipvsadm("-A -t " + web + " -s rr")
				s.ipvsadm("-a -t " + web + " -r " + inside + " " + method)
				s.ipvsadm("-A -t " + web6 + " -s rr")
				s.ipvsadm("-a -t " + web6 + " -r fd00:100::1 " + method)
				for _, service := range []string{web, web6} {
					if got := s.page("client", service).server; got != "the director's VIP" {
						t.Errorf("%s of %s: %s", method, service, got)
					}
				}
				s.together(1, s.upload, 1_000_000)
				if out := s.ipvsadm("-Ln --stats"); !strings.Contains(out, inside+":80") {
					t.Errorf("ipvsadm -Ln --stats:\n%s", out)
				}
			}

			// Killed, it leaves nothing in the host's way; the next one begins anew.
			d.signal(syscall.SIGKILL)
			s.eventually("the device is gone", func() bool { return s.run("director", "ip", "link", "show", "vsnat0").code != 0 })
			if got := s.page("client", web).server; got != "the director's VIP" {
				t.Errorf("the host itself: %s", got)
			}
			d = s.direct()
			if out := s.must("director", "ip", "rule"); strings.Contains(out, "30067") {
				t.Errorf("rules are left:\n%s", out)
			}
			s.ipvsadm("-A -t " + web + " -s rr")
			s.ipvsadm("-a -t " + web + " -r " + inside + ":8080 -m")
			if got := s.page("client", web).server; got != "the director" {
				t.Errorf("after a new start: %s", got)
			}
			d.signal(syscall.SIGTERM)
			s.eventually("no rule, no device", func() bool {
				return !strings.Contains(s.must("director", "ip", "rule"), "30067") && s.run("director", "ip", "link", "show", "vsnat0").code != 0
			})
		})
	}
}

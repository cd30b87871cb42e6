package e2e

import (
	"os"
	"slices"
	"strings"
	"testing"

	"vsnat/bench/lab"
)

// fullSite is a cluster on one switch whose servers have no way to the client, with
// a FullNAT service.
func fullSite(t *testing.T) *site {
	topology, err := lab.Full(lab.PaperOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s := newSiteOf(t, topology)
	s.sees = "10.0.100.1"
	return s
}

// TestFullNAT has a director with one NIC before servers without a route back. The
// client is in another network, or in the servers' own. Pages and files, with
// offloads as the kernel sets them, arrive whole.
func TestFullNAT(t *testing.T) {
	need(t, "curl")
	s := fullSite(t)
	s.serveAll()
	s.direct()
	s.ipvsadm("-A -t " + web + " -s rr")
	for _, ip := range serverIPs {
		s.ipvsadm("-a -t " + web + " -r " + ip + ":80 --full-nat")
	}
	if got, want := s.pages(5), []string{server4, server3, server2, server1, server4}; !slices.Equal(got, want) {
		t.Errorf("the servers answered in the order\n%v, want\n%v", got, want)
	}
	curl := []string{find("curl"), "-sS", "--fail", "--noproxy", "*", "--max-time", "15", "--interface", "10.0.100.99"}
	for range 5 {
		s.must("client", append(curl, "-o", "/dev/null", "http://"+web+"/")...)
	}
	s.together(3, s.download, bigFile)
	s.together(3, s.upload, bigFile)
	if out := s.ipvsadm("-Ln"); strings.Count(out, "FullNat ") != 4 {
		t.Errorf("ipvsadm -Ln:\n%s", out)
	}
	if out := s.ipvsadm("-Sn"); strings.Count(out, " --full-nat -w 1") != 4 {
		t.Errorf("ipvsadm -Sn:\n%s", out)
	}
	// Ports that no connection has are still answered: the guard keeps the host's
	// stack from them.
	if r := s.run("server1", find("curl"), "-sS", "--max-time", "5", "http://10.0.100.1:10001/"); !strings.Contains(r.stderr, "refused") && r.code != 7 {
		t.Errorf("a port of the pool: %d %s", r.code, r.stderr)
	}
	// Neither is any other port of the address: the host's own.
	if r := s.run("server1", find("curl"), "-sS", "--max-time", "5", "http://10.0.100.1:9999/"); r.code != 7 {
		t.Errorf("a port of the host: %d %s", r.code, r.stderr)
	}
}

// TestFullNATPorts has a pool run out of ports, and says so.
func TestFullNATPorts(t *testing.T) {
	need(t, "curl")
	s := fullSite(t)
	s.serveAll()
	d := s.direct()
	s.must("director", bin("vsnat"), "pool", "add", "few", "--address", "10.0.100.1", "--ports", "20000-20002")
	s.ipvsadm("-A -t " + web + " -s rr")
	s.ipvsadm("-a -t " + web + " -r " + server1 + ":80 --full-nat --pool few")
	for range 3 {
		conn, err := s.Host("client").Dial(t.Context(), "tcp4", web)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	r := s.run("client", find("curl"), "-sS", "--noproxy", "*", "--max-time", "2", "-o", "/dev/null", "http://"+web+"/")
	if r.code != 28 {
		t.Errorf("curl ended with %d, want 28, in vain for two seconds: %s", r.code, r.stderr)
	}
	if l := d.ledger("director-0"); l.Dropped["no-port"] == 0 {
		t.Errorf("%+v", l)
	}
	s.eventually("the log tells of it", func() bool {
		out, err := os.ReadFile(d.log)
		return err == nil && strings.Contains(string(out), "no port of a pool was free")
	})
	if out := s.must("director", bin("vsnat"), "pool"); !strings.Contains(out, "few") || !strings.Contains(out, "20000-20002") {
		t.Errorf("vsnat pool:\n%s", out)
	}
}

package e2e

import (
	"slices"
	"strings"
	"testing"

	"vsnat/bench/lab"
)

// TestDirectRouting has the servers answer the client themselves: the director,
// on one NIC, sees one direction only. Pages and files arrive whole, and the
// states are those that the client's packets tell.
func TestDirectRouting(t *testing.T) {
	topology, err := lab.Direct(lab.PaperOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s := newSiteOf(t, topology)
	s.serveAll()
	d := s.direct()
	s.ipvsadm("-A -t " + web + " -s rr")
	for _, ip := range serverIPs {
		s.ipvsadm("-a -t " + web + " -r " + ip + " -g")
	}
	if got, want := s.pages(5), []string{server4, server3, server2, server1, server4}; !slices.Equal(got, want) {
		t.Errorf("the servers answered in the order\n%v, want\n%v", got, want)
	}
	if a := s.page("client", web); !strings.HasPrefix(a.client, clientIP+":") {
		t.Errorf("the server took %s for its client, want %s", a.client, clientIP)
	}
	s.together(3, s.download, bigFile)
	s.together(3, s.upload, bigFile)
	if out := s.ipvsadm("-Ln"); strings.Count(out, "Route ") != 4 {
		t.Errorf("ipvsadm -Ln:\n%s", out)
	}
	if out := s.ipvsadm("-Lnc"); !strings.Contains(out, "FIN_WAIT") {
		t.Errorf("ipvsadm -Lnc:\n%s", out)
	}
	if l := d.ledger("director-0"); l.Forwarded == 0 || l.Replied != 0 {
		t.Errorf("%+v", l)
	}
}

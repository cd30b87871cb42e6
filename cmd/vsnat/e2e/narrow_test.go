package e2e

import (
	"bytes"
	"net/netip"
	"testing"

	"vsnat/bench/lab"
)

// TestNarrowLink has routes of 1,280 bytes on both sides of the director, and
// links of 1,500. TCP finds that out from the director's ICMP errors, and moves files both
// ways; datagrams that may be fragmented are, those already in fragments once
// more.
func TestNarrowLink(t *testing.T) {
	topology, err := lab.Paper(lab.PaperOptions{})
	if err != nil {
		t.Fatal(err)
	}
	topology.Routes = append(topology.Routes,
		lab.Route{Host: "director", To: netip.MustParsePrefix(clientIP + "/32"), NIC: "director-0", MTU: 1280},
		lab.Route{Host: "director", To: netip.MustParsePrefix("10.0.100.8/29"), NIC: "director-1", MTU: 1280})
	s := newSiteOf(t, topology)
	s.serveAll()
	s.echoUDP("7")
	d := s.direct()
	s.cluster("rr")
	s.ipvsadm("-A -u " + vip + ":7 -s rr")
	s.ipvsadm("-a -u " + vip + ":7 -r " + server1 + ":7 -m")

	s.together(2, s.download, 5_000_000)
	s.together(2, s.upload, 5_000_000)
	for _, nic := range []string{"director-0", "director-1"} {
		if l := d.ledger(nic); l.Replied == 0 {
			t.Errorf("nobody behind %s was told that the link is narrower", nic)
		}
	}

	conn := s.dialUDP(vip + ":7")
	fragment(t, conn)
	buf := make([]byte, 1<<16)
	for _, size := range []int{1, 1252, 1253, 1400, 1472, 1473, 9000, 60_000} {
		sent := bytes.Repeat([]byte{byte(size), 7}, size)[:size]
		if _, err := conn.Write(sent); err != nil {
			t.Fatal(err)
		}
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatalf("%d bytes: no echo: %v", size, err)
		}
		if !bytes.Equal(buf[:n], sent) {
			t.Errorf("%d bytes: the echo has %d and is not what was sent", size, n)
		}
	}
}

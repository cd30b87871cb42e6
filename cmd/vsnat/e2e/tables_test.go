package e2e

import (
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"

	"vsnat/bench/lab"
)

// TestTables checks what ipvsadm shows of connections that a test has made.
func TestTables(t *testing.T) {
	s := newSite(t, lab.PaperOptions{})
	s.serveAll()
	s.echoUDP("7")
	s.direct()
	s.cluster("rr")
	s.ipvsadm("-A -u " + vip + ":7 -s wlc")
	s.ipvsadm("-a -u " + vip + ":7 -r " + server2 + ":7 -m -w 3")

	// Two connections that stay, four that are over, and a datagram.
	var open []net.Conn
	for range 2 {
		conn, err := s.Host("client").Dial(t.Context(), "tcp4", web)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		ask(t, conn)
		open = append(open, conn)
	}
	s.pages(4)
	udp := s.dialUDP(vip + ":7")
	if _, err := udp.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, err := udp.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}

	// The four need a moment for their last packets.
	var list string
	defer func() {
		if t.Failed() {
			t.Logf("ipvsadm -Ln:\n%s", list)
		}
	}()
	s.eventually("ipvsadm -Ln counts two open connections and four that are over", func() bool {
		list = s.ipvsadm("-Ln")
		for _, line := range []string{
			`TCP  192\.168\.28\.167:80 rr`,
			`  -> 10\.0\.100\.15:80 +Masq +1 +1 +1 *`,
			`  -> 10\.0\.100\.13:80 +Masq +1 +1 +1 *`,
			`  -> 10\.0\.100\.12:80 +Masq +1 +0 +1 *`,
			`  -> 10\.0\.100\.11:80 +Masq +1 +0 +1 *`,
			`UDP  192\.168\.28\.167:7 wlc`,
			`  -> 10\.0\.100\.12:7 +Masq +3 +0 +1 *`,
		} {
			if !regexp.MustCompile(`(?m)^` + line + `$`).MatchString(list) {
				return false
			}
		}
		return true
	})

	conns := s.ipvsadm("-Lnc")
	lines := strings.Split(strings.TrimSpace(conns), "\n")
	if len(lines) != 2+7 || lines[0] != "IPVS connection entries" {
		t.Errorf("ipvsadm -Lnc shows other than seven connections:\n%s", conns)
	}
	for _, want := range []string{
		// A line is: protocol, what is left of the timeout, state, client, VIP, server.
		`TCP 1[45]:[0-5]\d +ESTABLISHED ` + open[0].LocalAddr().String() + ` +` + web + ` +` + server4 + `:80`,
		`TCP 1[45]:[0-5]\d +ESTABLISHED ` + open[1].LocalAddr().String() + ` +` + web + ` +` + server3 + `:80`,
		`UDP 0[45]:[0-5]\d +UDP +` + udp.LocalAddr().String() + ` +` + vip + `:7 +` + server2 + `:7`,
	} {
		if !regexp.MustCompile(`(?m)^` + want + ` *$`).MatchString(conns) {
			t.Errorf("ipvsadm -Lnc has no line like %q:\n%s", want, conns)
		}
	}

	// Every byte of the datagram and its echo: 5, UDP's header and IPv4's.
	stats := s.ipvsadm("-Ln --stats")
	for _, want := range []string{
		fmt.Sprintf(`UDP  %s:7 +1 +1 +1 +%d +%d *`, vip, 33, 33),
		`TCP  ` + web + ` +6 +\d+ +\d+ +\d+ +\d+ *`,
		`  -> ` + server4 + `:80 +2 +\d+ +\d+ +\d+ +\d+ *`,
		`  -> ` + server1 + `:80 +1 +\d+ +\d+ +\d+ +\d+ *`,
	} {
		if !regexp.MustCompile(`(?m)^` + want + `$`).MatchString(stats) {
			t.Errorf("ipvsadm -Ln --stats has no line like %q:\n%s", want, stats)
		}
	}

	s.ipvsadm("-Z")
	if stats := s.ipvsadm("-Ln --stats"); !regexp.MustCompile(`(?m)^TCP  ` + web + ` +0 +0 +0 +0 +0 *$`).MatchString(stats) {
		t.Errorf("ipvsadm -Z has not zeroed the counters:\n%s", stats)
	}

	s.ipvsadm("-C")
	if out := s.ipvsadm("-Ln"); strings.Contains(out, vip) {
		t.Errorf("ipvsadm -C has left something:\n%s", out)
	}
	s.refusedAtOnce(web)
}

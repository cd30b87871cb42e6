package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vsnat/bench/lab"
)

// reloads is how often the file is read again under load.
const reloads = 100

// TestHundredReloads has ab ask for pages while the file is changed and read
// again a hundred times: weights, the scheduler, a setting, other services, and a
// server that comes and goes. Not one request may fail, and no connection be
// reset.
func TestHundredReloads(t *testing.T) {
	need(t, "apache2-utils")
	s := newSite(t, lab.PaperOptions{})
	s.serveAll()
	file := filepath.Join(s.Dir, "vsnat.toml")
	write := func(n int) {
		t.Helper()
		servers := []string{server1, server2, server3}
		if n%2 == 1 {
			servers = append(servers, server4)
		}
		var b strings.Builder
		fmt.Fprintf(&b, "[settings]\nsloppy_tcp = %d\n", n%2)
		// What a removed server has established is let finish.
		fmt.Fprintf(&b, "[service.web]\nlisten = %q\nlife = \"stateful\"\nscheduler = %q\nserver = [\n", web, []string{"rr", "wrr", "wlc"}[n%3])
		for i, ip := range servers {
			fmt.Fprintf(&b, "{ address = %q, weight = %d },\n", ip, (n+i)%3+1)
		}
		b.WriteString("]\n")
		if n%5 > 0 {
			fmt.Fprintf(&b, "[service.other]\nlisten = \"%s:%d\"\nserver = %q\n", vip, 8000+n%5, server1)
		}
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(0)
	s.direct("-c", file)

	ended := make(chan result, 1)
	go func() {
		// It is killed when the reloads are done: -t bounds it whatever happens.
		ended <- s.run("client", find("ab"), "-q", "-n", "1000000", "-c", "8", "-t", "8", "http://"+web+"/")
	}()
	s.eventually("ab asks", func() bool {
		return !strings.Contains(s.ipvsadm("-Ln --stats"), " 0        0        0        0        0\n  ->")
	})
	done := 0
	for ; done < reloads; done++ {
		select {
		case r := <-ended:
			t.Fatalf("ab ended after %d reloads: code %d\n%s%s", done, r.code, r.stdout, r.stderr)
		default:
		}
		write(done + 1)
		s.vsnat("reload")
	}
	r := <-ended
	if r.code != 0 || figure(r.stdout, "Failed requests") != 0 || figure(r.stdout, "Complete requests") < 500 || strings.Contains(r.stdout, "Non-2xx") {
		t.Errorf("ab: code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	t.Logf("%d requests, %d reloads", figure(r.stdout, "Complete requests"), done)
	// Tcp: ... EstabResets is the 8th figure.
	for _, host := range []string{"client", "server1", "server4"} {
		var figures []string
		for line := range strings.Lines(s.must(host, "cat", "/proc/net/snmp")) {
			if f := strings.Fields(line); f[0] == "Tcp:" {
				figures = f
			}
		}
		if figures[8] != "0" {
			t.Errorf("%s: %s connections were reset", host, figures[8])
		}
	}
}

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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

	// It goes on until it is interrupted, and then says what came of it.
	ab := s.Host("client").Command(context.Background(), find("ab"), "-q", "-n", "10000000", "-c", "8", "-s", "20", "http://"+web+"/")
	var out bytes.Buffer
	ab.Stdout, ab.Stderr = &out, &out
	if err := ab.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- ab.Wait() }()
	for n := range reloads {
		select {
		case <-ended:
			t.Fatalf("ab ended after %d reloads:\n%s", n, out.String())
		default:
		}
		write(n + 1)
		s.vsnat("reload")
	}
	// Before ab is interrupted, which resets what it has open. EstabResets is the
	// eighth figure of Tcp.
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
	if err := ab.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(patience):
		_ = ab.Process.Kill()
		t.Fatal("ab does not end")
	}
	text := out.String()
	if figure(text, "Failed requests") != 0 || figure(text, "Complete requests") < 500 || strings.Contains(text, "Non-2xx") || strings.Contains(text, "apr_") {
		t.Errorf("ab:\n%s", text)
	}
	t.Logf("%d requests, %d reloads", figure(text, "Complete requests"), reloads)
}

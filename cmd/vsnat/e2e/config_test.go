package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"vsnat/bench/lab"
)

// The addresses that the configuration file puts on the director.
const (
	announced  = "192.168.28.200"
	announced6 = "fd00:28::200"
)

// TestConfiguration runs the director by a file alone: its addresses are put on the
// NIC and announced, its service serves, and it is as the file says through
// reloads under load, none of which costs a request.
func TestConfiguration(t *testing.T) {
	need(t, "iproute2")
	s := newSite(t, lab.PaperOptions{IPv6: true})
	s.serveAll()
	file := filepath.Join(s.Dir, "vsnat.toml")
	write := func(weight int, more string) {
		t.Helper()
		text := fmt.Sprintf(`
[[address]]
address = "%[1]s"
nic = "director-0"
[[address]]
address = "%[7]s"
nic = "director-0"
[service.web]
listen = ["%[1]s:80", "%[2]s"]
scheduler = "rr"
server = ["%[3]s:80", { address = "%[4]s:80", weight = %[5]d }]
%[6]s`, announced, web, server1, server2, weight, more, announced6)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(1, "")
	if out := s.must("director", bin("vsnat"), "check", file); !strings.Contains(out, "2 virtual services, 4 real servers, 2 addresses") {
		t.Errorf("vsnat check: %s", out)
	}

	// The client believes the addresses to be elsewhere until it hears otherwise.
	for _, addr := range []string{announced, announced6} {
		s.must("client", "ip", "neigh", "replace", addr, "lladdr", "02:00:00:00:00:99", "dev", "client-0", "nud", "stale")
	}
	d := s.direct("-c", file)
	for _, addr := range []string{announced, announced6} {
		s.eventually("the client knows whose the address is: "+addr, func() bool {
			return !strings.Contains(s.must("client", "ip", "neigh", "show", addr), "02:00:00:00:00:99")
		})
	}
	for _, addr := range []string{announced + ":80", web} {
		got := map[string]bool{s.page("client", addr).server: true, s.page("client", addr).server: true}
		if !got[server1] || !got[server2] {
			t.Errorf("%s is served by %v", addr, got)
		}
	}

	end := make(chan struct{})
	var load sync.WaitGroup
	for range 2 {
		load.Go(func() {
			for {
				select {
				case <-end:
					return
				default:
				}
				if got := s.page("client", announced+":80").server; got != server1 && got != server2 {
					t.Errorf("served by %s", got)
					return
				}
			}
		})
	}
	for i := range 20 {
		write(i%3, "")
		s.vsnat("reload")
	}
	close(end)
	load.Wait()

	// By signal; and what is wrong changes nothing.
	write(7, "")
	if err := d.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	weight := func(want string) bool {
		return strings.Contains(s.ipvsadm("-S -n"), "-r "+server2+":80 -m -w "+want)
	}
	s.eventually("the weight is 7", func() bool { return weight("7") })
	write(8, "shceduler = 1\n")
	if r := s.run("director", bin("vsnat"), "reload"); r.code != 1 || !strings.Contains(r.stderr, `vsnat.toml:12:1: unknown key "shceduler" in [service.web]; did you mean "scheduler"?`) {
		t.Errorf("vsnat reload of a bad file: %+v", r)
	}
	if !weight("7") {
		t.Error("a bad file has changed something")
	}

	// Undone if it is not confirmed.
	write(9, "")
	s.vsnat("reload --confirm 1s")
	if !weight("9") {
		t.Error("a reload that is to be confirmed has not changed anything")
	}
	s.eventually("the weight is 7 again", func() bool { return weight("7") })

	// What hands have done is told and kept.
	s.ipvsadm("-e -t " + web + " -r " + server1 + ":80 -m -w 3")
	if out := s.vsnat("plan"); !strings.Contains(out, "Changed by hand") || !strings.Contains(out, "~ "+server1+":80: weight 3 -> 1") {
		t.Errorf("vsnat plan:\n%s", out)
	}

	on := func() (n int) {
		addrs := s.must("director", "ip", "addr", "show", "dev", "director-0")
		return strings.Count(addrs, announced+"/32") + strings.Count(addrs, announced6+"/128")
	}
	if on() != 2 {
		t.Error("the addresses are not on the NIC")
	}
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-d.done:
	case <-time.After(patience):
		t.Fatal("the director does not leave")
	}
	if on() != 0 {
		t.Error("an address is still on the NIC")
	}
}

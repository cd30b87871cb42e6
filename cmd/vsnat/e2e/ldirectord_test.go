package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"vsnat/bench/lab"
)

// ldirectordConfig has three real servers and one for when none of them is
// left. %s is yes or no.
const ldirectordConfig = `checktimeout=3
checkinterval=1
negotiatetimeout=3
autoreload=no
quiescent=%s
virtual=192.168.28.167:80
	real=10.0.100.11:80 masq 1
	real=10.0.100.12:80 masq 2
	real=10.0.100.13:80 masq 1
	fallback=10.0.100.15:80 masq
	service=http
	request="/"
	receive="It works"
	scheduler=wrr
	persistent=300
	protocol=tcp
	checktype=negotiate
`

// ldirectord starts Debian's ldirectord, unmodified, in the director. In a mount
// namespace of its own our ipvsadm stands where it looks for one.
func (s *site) ldirectord(quiescent string) *lab.Cmd {
	t := s.t
	t.Helper()
	dir := t.TempDir()
	conf := filepath.Join(dir, "vsnat-e2e.cf")
	write(t, conf, strings.NewReader(fmt.Sprintf(ldirectordConfig, quiescent)))
	cmd := s.Host("director").Command(context.Background(), "unshare", "--mount", "sh", "-ec",
		`mount --bind "$1" "$(readlink -f /usr/sbin/ipvsadm)"; mount -t tmpfs none /var/run; cd /; exec "$2" -d "$3" start`,
		"sh", bin("ipvsadm"), find("ldirectord"), conf)
	out, err := os.Create(filepath.Join(dir, "output"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = append(os.Environ(), s.Env("director")...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait() // it was killed
		}
		if t.Failed() {
			b, err := os.ReadFile(out.Name())
			t.Logf("ldirectord:\n%s%s", tail(string(b), 4000), errOrNothing(err))
		}
	})
	return cmd
}

// weights returns the weights of the service's servers by address, as a listing
// shows them.
func (s *site) weights() map[string]string {
	s.t.Helper()
	all := map[string]string{}
	for line := range strings.Lines(s.ipvsadm("-Ln")) {
		if f := strings.Fields(line); len(f) == 6 && f[0] == "->" && f[2] == "Masq" {
			all[strings.TrimSuffix(f[1], ":80")] = f[3]
		}
	}
	return all
}

// settles waits until the service's servers are these, "" meaning not listed.
func (s *site) settles(what string, weights ...string) {
	s.t.Helper()
	s.eventually("ldirectord: "+what, func() bool {
		have := s.weights()
		return !slices.ContainsFunc([]int{0, 1, 2, 3}, func(i int) bool { return have[serverIPs[i]] != weights[i] })
	})
}

// TestLdirectord has Debian's ldirectord set the service up, take servers out
// that its HTTP check finds dead, bring them back, fall back when none is left,
// and clear up when it is stopped.
func TestLdirectord(t *testing.T) {
	need(t, "ldirectord")
	for _, tt := range []struct {
		quiescent string
		out       string // the weight of a server that is out
	}{{"no", ""}, {"yes", "0"}} {
		t.Run("quiescent="+tt.quiescent, func(t *testing.T) {
			s := newSite(t, lab.PaperOptions{})
			var stop [3]func()
			for i := range stop {
				stop[i] = s.serveAt(serverName(serverIPs[i]), ":80", serverIPs[i])
			}
			s.serve("server4")
			s.direct()
			ldirectord := s.ldirectord(tt.quiescent)
			s.settles("three servers", "1", "2", "1", "")
			if out := s.ipvsadm("-Ln"); !strings.Contains(out, "TCP  "+web+" wrr persistent 300") {
				t.Errorf("the service is another one:\n%s", out)
			}

			stop[1]()
			s.settles("the second server is dead", "1", tt.out, "1", "")
			s.serves(server1, server3)
			stop[0]()
			stop[2]()
			s.settles("all servers are dead", tt.out, tt.out, tt.out, "1")
			for i := range stop {
				stop[i] = s.serveAt(serverName(serverIPs[i]), ":80", serverIPs[i])
			}
			s.settles("the servers are back", "1", "2", "1", "")

			if err := ldirectord.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			s.eventually("ldirectord has cleared the table", func() bool { return !strings.Contains(s.ipvsadm("-Ln"), web) })
			done := make(chan error, 1)
			go func() { done <- ldirectord.Wait() }()
			select {
			case <-done: // whatever its exit status
			case <-time.After(patience):
				t.Error("ldirectord does not end")
			}
		})
	}
}

// serves checks that a request is answered by one of these servers.
func (s *site) serves(servers ...string) {
	s.t.Helper()
	if got := s.page("client", web).server; !slices.Contains(servers, got) {
		s.t.Errorf("%s answered, want one of %v", got, servers)
	}
}

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"vsnat/bench/lab"
)

// The paper's addresses. The real servers are in the order in which they are
// added to a service; schedulers see the newest first.
const (
	clientIP = "192.168.28.1"
	vip      = "192.168.28.167"
	web      = vip + ":80"
	server1  = "10.0.100.11"
	server2  = "10.0.100.12"
	server3  = "10.0.100.13"
	server4  = "10.0.100.15"
)

var serverIPs = []string{server1, server2, server3, server4}

// patience bounds whatever must happen but may be late on a busy machine.
const patience = 20 * time.Second

// site is the paper's cluster, for the length of one test.
type site struct {
	*lab.Lab
	t    *testing.T
	sees string // whom servers take for the client, "" for the client itself
}

// newSite raises the paper's cluster.
func newSite(t *testing.T, o lab.PaperOptions) *site {
	t.Helper()
	topology, err := lab.Paper(o)
	if err != nil {
		t.Fatal(err)
	}
	return newSiteOf(t, topology)
}

// newSiteOf raises a cluster with the paper's hosts and addresses.
func newSiteOf(t *testing.T, topology lab.Topology) *site {
	t.Helper()
	return newSiteWith(t, lab.Options{Topology: topology})
}

// newSiteWith raises a cluster and what runs in it.
func newSiteWith(t *testing.T, o lab.Options) *site {
	t.Helper()
	if why := lab.Missing(); why != "" {
		t.Skip(why)
	}
	l, err := lab.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return &site{Lab: l, t: t}
}

// serverName returns the name of the host with one of serverIPs.
func serverName(ip string) string {
	for i, s := range serverIPs {
		if s == ip {
			return "server" + strconv.Itoa(i+1)
		}
	}
	panic("no real server has the address " + ip)
}

// result is what a command that ran to its end said.
type result struct {
	stdout, stderr string
	code           int
}

// run runs a command in a host to its end, whatever its exit code.
func (s *site) run(host string, argv ...string) result {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := s.Host(host).Command(ctx, argv[0], argv[1:]...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Env = append(os.Environ(), s.Env(host)...)
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	r := result{stdout: stdout.String(), stderr: stderr.String()}
	var exit *exec.ExitError
	switch {
	case err == nil:
	case ctx.Err() != nil:
		s.t.Fatalf("%s: %s: still running after %v\n%s%s", host, strings.Join(argv, " "), patience, r.stdout, r.stderr)
	case errors.As(err, &exit):
		r.code = exit.ExitCode()
	default:
		s.t.Fatalf("%s: %s: %v", host, strings.Join(argv, " "), err)
	}
	return r
}

// must runs a command in a host, which must succeed, and returns its standard
// output.
func (s *site) must(host string, argv ...string) string {
	s.t.Helper()
	r := s.run(host, argv...)
	if r.code != 0 {
		s.t.Fatalf("%s: %s: exit code %d\n%s%s", host, strings.Join(argv, " "), r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// ipvsadm runs ipvsadm in the director, as it would be typed.
func (s *site) ipvsadm(line string) string {
	s.t.Helper()
	return s.must("director", append([]string{bin("ipvsadm")}, strings.Fields(line)...)...)
}

// cluster sets up the paper's service with its four real servers.
func (s *site) cluster(scheduler string) {
	s.t.Helper()
	s.ipvsadm("-A -t " + web + " -s " + scheduler)
	for _, ip := range serverIPs {
		s.ipvsadm("-a -t " + web + " -r " + ip + ":80 -m -w 1")
	}
}

// report has a verb of vsnat print its report as JSON.
func report[T any](s *site, verb string) (r T) {
	s.t.Helper()
	out := s.must("director", bin("vsnat"), verb, "--json")
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		s.t.Fatalf("vsnat %s --json: %v\n%s", verb, err, out)
	}
	return r
}

// eventually waits until ok is true.
func (s *site) eventually(what string, ok func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("not so after %v: %s", patience, what)
		}
	}
}

// inUserNamespace reports whether root is only this process's own idea: then
// not all users exist (user_namespaces(7)).
func inUserNamespace() bool {
	b, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && strings.Join(strings.Fields(string(b)), " ") != "0 0 4294967295"
}

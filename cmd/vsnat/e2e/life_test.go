package e2e

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/google/nftables"

	"vsnat/bench/lab"
	"vsnat/cmd/vsnat/internal/daemon"
	"vsnat/nic/guard"
)

// TestSecondDirector checks that a second `vsnat run` on the same socket is
// refused with a reason, and leaves the first alone.
func TestSecondDirector(t *testing.T) {
	s := newSite(t, lab.PaperOptions{})
	s.serveAll()
	d := s.direct()
	s.cluster("rr")
	s.pages(2)
	r := s.run("director", bin("vsnat"), "run")
	if r.code != 1 {
		t.Errorf("the second vsnat run ended with exit code %d, want 1", r.code)
	}
	for _, part := range []string{"vsnat: ", "another vsnat", s.Socket(), "VSNAT_SOCKET"} {
		if !strings.Contains(r.stderr, part) {
			t.Errorf("the second vsnat run does not say %q: %s", part, r.stderr)
		}
	}
	if !d.running() {
		t.Fatal("the first vsnat run has ended")
	}
	s.pages(4)
	if out := s.ipvsadm("-Ln"); !strings.Contains(out, web) {
		t.Errorf("the first vsnat run has lost its service:\n%s", out)
	}
}

// TestStaleSocket checks that a socket file whose owner is gone is replaced.
func TestStaleSocket(t *testing.T) {
	s := newSite(t, lab.PaperOptions{})
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: s.Socket(), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	ln.Close()
	if _, err := os.Lstat(s.Socket()); err != nil {
		t.Fatal(err)
	}
	s.serveAll()
	s.direct()
	s.cluster("rr")
	s.pages(4)
}

// TestLeavesInGoodOrder checks that after SIGTERM the host is as it was, and
// that the next director starts where this one was.
func TestLeavesInGoodOrder(t *testing.T) {
	s := newSite(t, lab.PaperOptions{})
	s.serveAll()
	for range 2 {
		d := s.direct()
		s.cluster("rr")
		s.pages(4)
		d.checkLedger()
		d.leave()
		s.checkGone()
	}
}

// TestKilled checks that a director which is killed amid traffic leaves nothing
// behind either.
func TestKilled(t *testing.T) {
	for _, kind := range []string{guard.TCX, guard.NFT} {
		t.Run(kind, func(t *testing.T) {
			s := newSite(t, lab.PaperOptions{})
			s.serveAll()
			d := s.directGuarded(kind)
			s.cluster("rr")
			s.pages(4)
			s.kill(d)
			s.directGuarded(kind)
			s.cluster("rr")
			s.pages(4)
		})
	}
}

// directGuarded starts the director with a kind of guard, or skips the test if
// this process may not have it.
func (s *site) directGuarded(kind string) *director {
	s.t.Helper()
	if kind == guard.TCX && inUserNamespace() {
		s.t.Skip("the guard tcx loads BPF programs, which needs CAP_BPF outside of any user namespace")
	}
	d := s.direct("--guard", kind)
	if got := report[daemon.Status](s, "status").Guard; got != kind {
		s.t.Errorf("vsnat run --guard %s has the guard %s", kind, got)
	}
	return d
}

// kill kills the director amid a download and checks that the host is free.
func (s *site) kill(d *director) {
	t := s.t
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+web+"/blob?seed=1&size=100000000000", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.client("client").Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.CopyN(io.Discard, resp.Body, 1_000_000); err != nil {
		t.Fatal(err)
	}
	flows := make(chan struct{})
	go func() {
		defer close(flows)
		_, _ = io.Copy(io.Discard, resp.Body) // ends with ctx
	}()
	d.signal(syscall.SIGKILL)
	s.checkGone()
	cancel()
	<-flows
}

// checkGone checks that the host has its ports back and that no guard is left.
func (s *site) checkGone() {
	s.t.Helper()
	s.refusedAtOnce(web)
	if names := s.guardTables(); len(names) > 0 {
		s.t.Errorf("nft tables are left behind: %v", names)
	}
}

// guardTables returns the names of vsnat's nftables tables in the director.
func (s *site) guardTables() (names []string) {
	s.t.Helper()
	err := s.Host("director").Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		tables, err := c.ListTables()
		for _, t := range tables {
			if strings.HasPrefix(t.Name, "vsnat-guard-") {
				names = append(names, t.Name)
			}
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return names
}

// TestGuardNFT runs a part of the other tests with the guard that older kernels
// have.
func TestGuardNFT(t *testing.T) {
	s := newSite(t, lab.PaperOptions{Forward: true})
	s.serveAll()
	s.serveAt("director", ":8080", "the director")
	s.directGuarded(guard.NFT)
	s.cluster("rr")
	if len(s.guardTables()) == 0 {
		t.Error("the guard nft has no table")
	}
	s.pages(4)
	s.checkHost()
	s.checkDirect()
	s.together(3, s.download, bigFile/4)
	s.together(3, s.upload, bigFile/4)
	s.pages(4)
}

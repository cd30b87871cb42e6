package peer

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"vsnat/bench/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }

func TestRules(t *testing.T) {
	got := Rules([]Service{
		{Proto: "tcp", VIP: netip.MustParseAddrPort("192.0.2.1:80"), Servers: []netip.AddrPort{
			netip.MustParseAddrPort("10.0.0.1:80"), netip.MustParseAddrPort("10.0.0.2:80"),
		}},
		{Proto: "udp", VIP: netip.MustParseAddrPort("192.0.2.1:53")},
	})
	want := "-A -t 192.0.2.1:80 -s rr\n-a -t 192.0.2.1:80 -r 10.0.0.1:80 -m -w 1\n-a -t 192.0.2.1:80 -r 10.0.0.2:80 -m -w 1\n-A -u 192.0.2.1:53 -s rr\n"
	if got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// The kernel's ipvsadm is none that is this program under that name, and what is
// taken for it never finds a director that runs on the machine.
func TestKernelsOwn(t *testing.T) {
	ours, theirs := t.TempDir(), t.TempDir()
	t.Setenv("PATH", ours+":"+theirs+":"+os.Getenv("PATH"))
	t.Setenv("VSNAT_SOCKET", "/run/vsnat.sock")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, ours+"/ipvsadm"); err != nil {
		t.Fatal(err)
	}
	if got := kernelsOwn(); strings.HasPrefix(got, ours) {
		t.Errorf("%s is this program", got)
	}
	if err := os.WriteFile(theirs+"/ipvsadm", []byte("#!/bin/sh\necho $VSNAT_SOCKET\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got := kernelsOwn(); got != theirs+"/ipvsadm" {
		t.Errorf("%q, want that in %s", got, theirs)
	}
	_, l := startPaper(t, lab.PaperOptions{})
	if err := ipvsadm(t.Context(), Director{Lab: l, Host: "director"}, "", "-C"); err == nil || err.Error() != "/dev/null/nobody" {
		t.Errorf("it was told of the control socket %v", err)
	}
}

// startPaper raises the paper's cluster until the test ends. A machine that gives
// neither root nor user namespaces has none; the reason says so.
func startPaper(t *testing.T, o lab.PaperOptions) (lab.Topology, *lab.Lab) {
	t.Helper()
	if why := lab.Missing(); why != "" {
		t.Skip(why)
	}
	topology, err := lab.Paper(o)
	if err != nil {
		t.Fatal(err)
	}
	l, err := lab.Start(t.Context(), lab.Options{Topology: topology})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return topology, l
}

// TestNFTablesSharesConnections connects through it, and no more once it is
// stopped.
func TestNFTablesSharesConnections(t *testing.T) {
	topology, l := startPaper(t, lab.PaperOptions{Forward: true})
	d := Director{Lab: l, Host: "director"}
	if why := (NFTables{}).Missing(t.Context(), d); why != "" {
		t.Skip(why)
	}
	const port = "7000"
	vip := netip.MustParseAddrPort("192.168.28.167:" + port)
	service := Service{Proto: "tcp", VIP: vip}
	for _, name := range topology.Names(lab.Server) {
		addr := topology.Addr(name).String()
		ln, err := l.Host(name).Listen("tcp", net.JoinHostPort(addr, port))
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		service.Servers = append(service.Servers, netip.MustParseAddrPort(ln.Addr().String()))
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				io.WriteString(c, addr)
				c.Close()
			}
		}()
	}
	ask := func() (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		c, err := l.Host("client").Dial(ctx, "tcp", vip.String())
		if err != nil {
			return "", err
		}
		defer c.Close()
		b, err := io.ReadAll(c)
		return string(b), err
	}
	r, err := NFTables{}.Start(t.Context(), d, []Service{service})
	if err != nil {
		t.Fatal(err)
	}
	took := map[string]int{}
	for range 8 {
		who, err := ask()
		if err != nil {
			t.Fatal(err)
		}
		took[who]++
	}
	for _, s := range service.Servers {
		if n := took[s.Addr().String()]; n != 2 {
			t.Errorf("%v took %d of 8 connections", s, n)
		}
	}
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	if who, err := ask(); err == nil {
		t.Errorf("%q answers after the end", who)
	}
}

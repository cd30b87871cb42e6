package e2e

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"vsnat/bench/lab"
	"vsnat/cmd/vsnat/internal/daemon"
)

// TestNICComesBack takes the director's outer NIC away, as a hot unplug does,
// and puts another in its place: the running director takes it up, new
// connections work, and so does one from before.
func TestNICComesBack(t *testing.T) {
	s := newSite(t, lab.PaperOptions{})
	s.serveAll()
	d := s.direct()
	s.cluster("rr")
	s.pages(2)
	before := d.ledger("director-0").Received

	old, err := s.Host("client").Dial(t.Context(), "tcp4", web)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	ask(t, old)

	s.unplug("director", "director-0")
	s.eventually("vsnat has noticed that director-0 is gone", func() bool {
		return len(report[daemon.Status](s, "status").NICs) == 1
	})
	if !d.running() {
		t.Fatal("vsnat run has ended with its NIC")
	}
	s.plug()
	s.comesBack(web)
	s.pages(4)
	ask(t, old)
	// What the first of the two received is still in the books.
	if l := d.ledger("director-0"); l.Received <= before {
		t.Errorf("director-0 has received %d frames, %d before it was replaced", l.Received, before)
	}
}

// ask fetches the page over a connection that stays open.
func ask(t *testing.T, conn net.Conn) {
	t.Helper()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: vsnat\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("over the open connection %v: %v", conn.LocalAddr(), err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || string(body) != page {
		t.Fatalf("over the open connection %v came %d bytes that are not the page: %v", conn.LocalAddr(), len(body), err)
	}
}

// unplug deletes a NIC, and with it the other end of its cable.
func (s *site) unplug(host, nic string) {
	s.t.Helper()
	err := s.Host(host).Do(func() error {
		l, err := netlink.LinkByName(nic)
		if err != nil {
			return err
		}
		return netlink.LinkDel(l)
	})
	if err != nil {
		s.t.Fatalf("%s: %v", host, err)
	}
}

// plug makes the cable between client and director again, with the same names
// and addresses but other hardware addresses, as of another card.
func (s *site) plug() {
	s.t.Helper()
	var clientNS *os.File
	err := s.Host("client").Do(func() (err error) {
		clientNS, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	defer clientNS.Close()
	err = s.Host("director").Do(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "director-0"
		veth := netlink.NewVeth(attrs)
		veth.PeerName = "client-0"
		veth.PeerNamespace = netlink.NsFd(clientNS.Fd())
		return netlink.LinkAdd(veth)
	})
	if err != nil {
		s.t.Fatalf("director: %v", err)
	}
	for _, host := range []string{"director", "client"} {
		if err := s.Host(host).Do(func() error { return s.setUp(host, host+"-0") }); err != nil {
			s.t.Fatalf("%s: %v", host, err)
		}
	}
}

// setUp gives a new NIC the addresses of the topology, brings it up and gives
// the host its routes. It runs in the host's namespace.
func (s *site) setUp(host, nic string) error {
	l, err := netlink.LinkByName(nic)
	if err != nil {
		return err
	}
	for _, a := range s.Topology().Addresses {
		if a.Host != host || a.NIC != nic {
			continue
		}
		if err := netlink.AddrAdd(l, &netlink.Addr{IPNet: ipNet(a.Prefix)}); err != nil {
			return err
		}
	}
	if err := netlink.LinkSetUp(l); err != nil {
		return err
	}
	return s.restoreRoutes(host)
}

// restoreRoutes adds the topology's routes that the kernel has dropped. It runs
// in the host's namespace.
func (s *site) restoreRoutes(host string) error {
	for _, r := range s.Topology().Routes {
		if r.Host != host {
			continue
		}
		err := netlink.RouteAdd(&netlink.Route{Dst: ipNet(r.To), Gw: r.Via.AsSlice()})
		if err != nil && !errors.Is(err, syscall.EEXIST) {
			return err
		}
	}
	return nil
}

// ipNet returns a prefix, with its host bits, as package net has it.
func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

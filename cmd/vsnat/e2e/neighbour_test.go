package e2e

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"vsnat/bench/lab"
)

// TestServerIsDown checks that a client is told when its real server does not
// answer ARP. The kernel asks three times, a second apart.
func TestServerIsDown(t *testing.T) {
	for _, tt := range []struct {
		name, server string
		down         bool
	}{
		{"link down", server1, true},
		{"no such address", "10.0.100.99", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t, lab.PaperOptions{})
			if tt.down {
				s.setLink("server1", "server1-0", false)
			}
			d := s.direct()
			s.ipvsadm("-A -t " + web + " -s rr")
			s.ipvsadm("-a -t " + web + " -r " + tt.server + ":80 -m")

			ctx, cancel := context.WithTimeout(context.Background(), 6*time.Second)
			defer cancel()
			conn, err := s.Host("client").Dial(ctx, "tcp4", web)
			if err == nil {
				conn.Close()
			}
			if !errors.Is(err, syscall.EHOSTUNREACH) {
				t.Errorf("%v, want EHOSTUNREACH within 6 s", err)
			}
			if l := d.ledger("director-0"); l.Replied == 0 || l.Forwarded != 0 {
				t.Errorf("%d replied, %d forwarded; want replies only", l.Replied, l.Forwarded)
			}

			if tt.down {
				// It comes back, and needs nobody to say so.
				s.setLink("server1", "server1-0", true)
				s.serve("server1")
				s.comesBack(web)
			}
		})
	}
}

// comesBack waits until a client that tries again and again gets the page.
func (s *site) comesBack(addr string) {
	s.t.Helper()
	s.eventually("the page comes from "+addr+" again", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		a, err := s.fetch(ctx, "client", "GET", "http://"+addr+"/", nil)
		return err == nil && a.body == page
	})
}

// setLink brings a host's NIC up or down, its addresses and routes kept as far
// as the kernel keeps them.
func (s *site) setLink(host, nic string, up bool) {
	s.t.Helper()
	err := s.Host(host).Do(func() error {
		l, err := netlink.LinkByName(nic)
		if err != nil {
			return err
		}
		if up {
			if err := netlink.LinkSetUp(l); err != nil {
				return err
			}
			return s.restoreRoutes(host)
		}
		return netlink.LinkSetDown(l)
	})
	if err != nil {
		s.t.Fatalf("%s: %v", host, err)
	}
}

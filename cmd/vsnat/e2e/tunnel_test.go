package e2e

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"vsnat/bench/lab"
)

// tunnelSite is a cluster whose servers take packets out of tunnels, with a
// director at work.
func tunnelSite(t *testing.T) (*site, *director) {
	t.Helper()
	topology, err := lab.Direct(lab.PaperOptions{IPv6: true})
	if err != nil {
		t.Fatal(err)
	}
	s := newSiteWith(t, lab.Options{Topology: topology, Decap: lab.GUEPort})
	s.serveAll()
	for _, ip := range serverIPs {
		s.serveAt(serverName(ip), "[::]:80", ip)
	}
	return s, s.direct()
}

// tunnelTo sets the service up, with the servers at their addresses of a family
// behind tunnels.
func (s *site) tunnelTo(service string, v6 bool, kind string) {
	s.t.Helper()
	s.ipvsadm("-C")
	s.ipvsadm("-A -t " + service + " -s rr")
	for _, ip := range serverIPs {
		if v6 {
			ip = "[" + ip6(ip) + "]"
		}
		s.ipvsadm("-a -t " + service + " -r " + ip + ":80 -i --tun-type " + kind)
	}
}

// TestTunnels has clients' packets reach the servers in each kind of tunnel, IPv4
// and IPv6 in either. Pages and files arrive whole, files by super-frames on the
// client's side.
func TestTunnels(t *testing.T) {
	s, d := tunnelSite(t)
	for _, c := range []struct {
		kind, info string
		service    string
		v6         bool // the servers
		size       int64
	}{
		{"ipip", "ipip", web, false, bigFile},
		{"gue --tun-port 5555 --tun-csum", "gue:5555:+c", web, false, bigFile},
		{"gre --tun-csum", "gre:+c", web, false, bigFile},
		{"gue --tun-port 5555 --tun-nocsum", "gue:5555:-c", web6, true, 2_000_000},
		{"gre --tun-nocsum", "gre:-c", web6, true, 2_000_000},
		{"ipip", "ipip", web6, true, 2_000_000},
		{"ipip", "ipip", web, true, 2_000_000},
		{"gue --tun-port 5555 --tun-remcsum", "gue:5555:r+c", web6, false, 2_000_000},
	} {
		t.Run(fmt.Sprintf("%s of %s, IPv6 %v", c.kind, c.service, c.v6), func(t *testing.T) {
			s := &site{Lab: s.Lab, t: t}
			s.tunnelTo(c.service, c.v6, c.kind)
			var servers []string
			for range 4 {
				servers = append(servers, s.page("client", c.service).server)
			}
			if want := []string{server4, server3, server2, server1}; !slices.Equal(servers, want) {
				t.Errorf("the servers answered in the order\n%v, want\n%v", servers, want)
			}
			ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
			defer cancel()
			before := d.nic("director-0").Stats
			if err := s.upload(ctx, c.service, 1, c.size); err != nil {
				t.Error(err)
			}
			after := d.nic("director-0").Stats
			frames, bytes := after.RxFrames-before.RxFrames, after.RxBytes-before.RxBytes
			if bytes < uint64(c.size) || frames >= bytes/1500 || after.TxFrames-before.TxFrames < bytes/1500 {
				t.Errorf("%d bytes came in %d frames, and left in %d", bytes, frames, after.TxFrames-before.TxFrames)
			}
			if err := s.download(ctx, c.service, 2, c.size); err != nil {
				t.Error(err)
			}
			if out := s.ipvsadm("-Ln --tun-info"); strings.Count(out, "Tunnel  "+c.info+" ") != 4 {
				t.Errorf("ipvsadm -Ln --tun-info:\n%s", out)
			}
			if rules := s.ipvsadm("-Sn"); strings.Count(rules, " -i -w 1 --tun-type "+c.kind+"\n") != 4 {
				t.Errorf("ipvsadm -Sn:\n%s", rules)
			}
		})
	}
	if l := d.ledger("director-0"); l.Forwarded == 0 || l.Dropped["too-big"]+l.Dropped["tx-failed"] != 0 {
		t.Errorf("%+v", l)
	}
}

// TestTunnelInNarrowLink has a link of 1,400 bytes between the director and the
// servers: TCP learns from the director what fits a tunnel there, and datagrams
// that may be fragmented are.
func TestTunnelInNarrowLink(t *testing.T) {
	s, d := tunnelSite(t)
	// From the address that servers do not have too.
	s.must("director", "ip", "route", "add", "10.0.100.8/29", "dev", "director-0", "src", "10.0.100.1", "mtu", "1400")
	s.echoUDPAt("udp4", server1, vip+":7", new(echoes)) // answers have that address as their source
	for _, kind := range []string{"ipip", "gue --tun-port 5555 --tun-csum", "gre --tun-csum"} {
		s.tunnelTo(web, false, kind)
		before := d.ledger("director-0").Replied
		s.together(1, s.upload, 2_000_000)
		if d.ledger("director-0").Replied == before {
			t.Errorf("%s: the client was not told that the tunnel is narrower", kind)
		}
		s.must("client", "ip", "route", "flush", "cache") // it must hear of it again
		s.ipvsadm("-A -u " + vip + ":7 -s rr")
		s.ipvsadm("-a -u " + vip + ":7 -r " + server1 + ":7 -i --tun-type " + kind)
		conn := s.dialUDP(vip + ":7")
		fragment(t, conn)
		buf := make([]byte, 1<<16)
		for _, size := range []int{1, 1340, 1353, 1473, 9000, 60_000} {
			sent := bytes.Repeat([]byte{byte(size), 7}, size)[:size]
			if _, err := conn.Write(sent); err != nil {
				t.Fatal(err)
			}
			n, err := conn.Read(buf)
			if err != nil {
				t.Fatalf("%s: %d bytes: no echo: %v", kind, size, err)
			}
			if !bytes.Equal(buf[:n], sent) {
				t.Errorf("%s: %d bytes: the echo has %d and is not what was sent", kind, size, n)
			}
		}
	}
}

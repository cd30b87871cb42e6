package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
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

// TestTunnelThroughARouter has a router on the tunnel's way, behind which the link is
// narrower than the director knows. Its errors are about the tunnel's packets; the
// client learns from them what fits inside.
func TestTunnelThroughARouter(t *testing.T) {
	end := func(host, nic string) lab.End { return lab.End{Host: host, NIC: nic} }
	addr := func(host, nic, prefix string) lab.Address {
		return lab.Address{End: end(host, nic), Prefix: netip.MustParsePrefix(prefix)}
	}
	route := func(host, to, via, nic string) lab.Route {
		r := lab.Route{Host: host, To: netip.MustParsePrefix(to), NIC: nic}
		if via != "" {
			r.Via = netip.MustParseAddr(via)
		}
		return r
	}
	service := addr("director", "director-0", vip+"/24")
	service.VIP = true
	topology := lab.Topology{
		Name: "tunnel",
		Hosts: []lab.HostSpec{
			{Name: "client", Role: lab.Client}, {Name: "director", Role: lab.Director}, {Name: "router", Role: lab.Client}, {Name: "server1", Role: lab.Server},
		},
		Links: []lab.Link{
			{A: end("client", "client-0"), B: end("director", "director-0")},
			{A: end("director", "director-1"), B: end("router", "router-0")},
			{A: end("router", "router-1"), B: end("server1", "server1-0"), MTU: 1300},
			{A: end("server1", "server1-1"), B: end("client", "client-1")}, // the way back
		},
		Addresses: []lab.Address{
			service, addr("client", "client-0", clientIP+"/24"), addr("client", "client-1", "192.168.29.1/24"),
			addr("director", "director-1", "10.0.1.1/24"), addr("router", "router-0", "10.0.1.2/24"),
			addr("router", "router-1", "10.0.100.1/24"), addr("server1", "server1-0", server1+"/24"),
			addr("server1", "server1-1", "192.168.29.2/24"), addr("server1", "lo", vip+"/32"),
		},
		Routes: []lab.Route{
			route("director", "10.0.100.0/24", "10.0.1.2", ""), route("server1", "10.0.1.0/24", "10.0.100.1", ""),
			route("server1", "192.168.28.0/24", "192.168.29.1", ""),
		},
		Sysctls: []lab.Sysctl{{Host: "router", Key: "net/ipv4/ip_forward", Value: "1"}},
	}
	s := newSiteWith(t, lab.Options{Topology: topology, Decap: lab.GUEPort})
	s.serve("server1")
	d := s.direct()
	for _, kind := range []string{"ipip", "gue --tun-port 5555 --tun-csum", "gre --tun-csum"} {
		s.ipvsadm("-C")
		s.ipvsadm("-A -t " + web + " -s rr")
		s.ipvsadm("-a -t " + web + " -r " + server1 + " -i --tun-type " + kind)
		s.must("client", "ip", "route", "flush", "cache")
		before := d.ledger("director-0").Replied + d.ledger("director-1").Replied
		s.together(1, s.upload, 2_000_000)
		if d.ledger("director-0").Replied+d.ledger("director-1").Replied == before {
			t.Errorf("%s: the client was not told what fits", kind)
		}
	}
	// What the router said of the first tunnel the director knew with the others.
	if d.ledger("director-1").Replied == 0 {
		t.Error("no error of the router has reached the client")
	}
	if out := s.must("client", "ip", "route", "get", vip); !strings.Contains(out, "mtu 1272") { // 1300 less 20 less 8 of GRE
		t.Errorf("the client's route:\n%s", out)
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

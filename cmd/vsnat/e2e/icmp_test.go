package e2e

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vsnat/bench/lab"
)

// set changes a setting of the running director.
func (s *site) set(setting string) {
	s.t.Helper()
	s.must("director", bin("vsnat"), "set", setting)
}

// errorOn reads an ICMP error from a raw socket: from whom it is, and the packet that
// it quotes.
func (s *site) errorOn(conn net.PacketConn) (from string, quoted []byte) {
	s.t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 1500)
	n, src, err := conn.ReadFrom(buf)
	if err != nil {
		s.t.Fatalf("no ICMP error: %v", err)
	}
	if n < 8+28 || buf[0] != 3 || buf[1] != 3 {
		s.t.Fatalf("ICMP of %d bytes from %v: %x, want port unreachable", n, src, buf[:n])
	}
	return src.String(), buf[8:n]
}

// silent checks that nothing has come to a socket.
func (s *site) silent(conn net.PacketConn, what string) {
	s.t.Helper()
	_ = conn.SetReadDeadline(time.Now())
	if n, from, err := conn.ReadFrom(make([]byte, 1500)); !errors.Is(err, os.ErrDeadlineExceeded) {
		s.t.Errorf("%s: %d bytes from %v (%v)", what, n, from, err)
	}
}

// TestScheduleICMP sends an error about a packet of no connection to the service.
// With schedule_icmp it makes one, and reaches the server that a packet of the
// client's would have reached.
func TestScheduleICMP(t *testing.T) {
	s := newSite(t, lab.PaperOptions{})
	d := s.direct()
	s.ipvsadm("-A -u " + vip + ":53 -s rr")
	s.ipvsadm("-a -u " + vip + ":53 -r " + server1 + ":5353 -m")
	client, server := s.raw("client", "icmp"), s.raw("server1", "icmp")
	refuse := func() {
		t.Helper()
		if _, err := client.WriteTo(portUnreachable(vip, 53, clientIP, 40000), &net.IPAddr{IP: net.ParseIP(vip)}); err != nil {
			t.Fatal(err)
		}
	}
	refuse()
	s.eventually("the error is left to the host", func() bool { return d.ledger("director-0").Passed > 0 })
	s.silent(server, "without the setting the server got")

	s.set("schedule_icmp=1")
	refuse()
	from, quoted := s.errorOn(server)
	if src, port := net.IP(quoted[12:16]).String(), binary.BigEndian.Uint16(quoted[20:]); from != clientIP || src != server1 || port != 5353 {
		t.Errorf("from %s, about a packet of %s:%d; want %s, %s:5353", from, src, port, clientIP, server1)
	}
	if out := s.must("director", bin("vsnat"), "conns", "--proto", "udp", "--client", clientIP+":40000"); !strings.Contains(out, server1+":5353") {
		t.Errorf("vsnat conns:\n%s", out)
	}
}

// portUnreachable returns an ICMP error about a UDP datagram, without the IP header.
func portUnreachable(src string, sport uint16, dst string, dport uint16) []byte {
	b := make([]byte, 8+20+8)
	b[0], b[1] = 3, 3
	ip := b[8:]
	ip[0], ip[3], ip[8], ip[9] = 0x45, 28, 64, unix.IPPROTO_UDP
	copy(ip[12:], net.ParseIP(src).To4())
	copy(ip[16:], net.ParseIP(dst).To4())
	binary.BigEndian.PutUint16(ip[10:], ^onesSum(ip[:20]))
	binary.BigEndian.PutUint16(ip[20:], sport)
	binary.BigEndian.PutUint16(ip[22:], dport)
	ip[25] = 8
	binary.BigEndian.PutUint16(b[2:], ^onesSum(b))
	return b
}

// TestNATICMPSend has a server send a datagram of no connection from its service's
// port. With nat_icmp_send the director refuses it instead of passing it on with
// the server's own address.
func TestNATICMPSend(t *testing.T) {
	s := newSite(t, lab.PaperOptions{Forward: true})
	s.direct()
	s.ipvsadm("-A -u " + vip + ":7 -s rr")
	s.ipvsadm("-a -u " + vip + ":7 -r " + server1 + ":7 -m")
	client, err := s.Host("client").ListenPacket("udp4", ":9")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := s.Host("server1").ListenPacket("udp4", server1+":7")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	refusals := s.raw("server1", "icmp")
	to := &net.UDPAddr{IP: net.ParseIP(clientIP), Port: 9}
	if _, err := server.WriteTo([]byte("stray"), to); err != nil {
		t.Fatal(err)
	}
	_ = client.SetReadDeadline(time.Now().Add(patience))
	if n, from, err := client.ReadFrom(make([]byte, 10)); err != nil || n != 5 || from.String() != server1+":7" {
		t.Fatalf("without the setting: %d bytes from %v (%v), want 5 from the server itself", n, from, err)
	}
	s.silent(refusals, "without the setting the server got")

	s.set("nat_icmp_send=1")
	if _, err := server.WriteTo([]byte("stray"), to); err != nil {
		t.Fatal(err)
	}
	from, quoted := s.errorOn(refusals)
	if dst, port := net.IP(quoted[16:20]).String(), binary.BigEndian.Uint16(quoted[22:]); from != "10.0.100.1" || dst != clientIP || port != 9 {
		t.Errorf("from %s, about a packet to %s:%d; want the director's, about %v", from, dst, port, to)
	}
	s.silent(client, "the client got")
}

// TestCacheBypass has a service of caches for whatever the clients ask for: while
// there is none, with cache_bypass clients reach where they wanted.
func TestCacheBypass(t *testing.T) {
	s := newSite(t, lab.PaperOptions{Forward: true})
	s.serveAll()
	s.direct()
	s.must("director", bin("vsnat"), "mark", "add", "7", "--dst", "10.0.100.0/24", "--proto", "tcp", "--dport", "80")
	s.ipvsadm("-A -f 7 -s rr")
	s.refusedAtOnce(server2 + ":80")
	s.set("cache_bypass=1")
	if a := s.page("client", server2+":80"); a.server != server2 || !strings.HasPrefix(a.client, clientIP+":") {
		t.Errorf("%s answered %s, want %s and %s", a.server, a.client, server2, clientIP)
	}
	if out := s.must("director", bin("vsnat"), "conns", "--why", "bypass"); !strings.Contains(out, server2+":80") {
		t.Errorf("vsnat conns --why bypass:\n%s", out)
	}
	// A cache that comes takes the next connection.
	s.ipvsadm("-a -f 7 -r " + server1 + " -m")
	if a := s.page("client", server2+":80"); a.server != server1 {
		t.Errorf("%s answered, want the cache %s", a.server, server1)
	}
}

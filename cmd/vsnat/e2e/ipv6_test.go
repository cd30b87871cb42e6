package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"vsnat/bench/lab"
)

// The paper's addresses in IPv6 (see [lab.Paper]).
const (
	clientIP6 = "fd00:28::1"
	vip6      = "fd00:28::167"
	web6      = "[" + vip6 + "]:80"
)

// ip6 is the IPv6 address of the real server with one of serverIPs.
func ip6(ip string) string { return "fd00:100::" + ip[strings.LastIndexByte(ip, '.')+1:] }

// cluster6 sets up a service at a port of the IPv6 VIP with the four servers.
func (s *site) cluster6(proto, port, method string, options ...string) {
	s.t.Helper()
	service := proto + " [" + vip6 + "]:" + port
	s.ipvsadm("-A " + service + " -s rr " + strings.Join(options, " "))
	for _, ip := range serverIPs {
		s.ipvsadm("-a " + service + " -r [" + ip6(ip) + "]:" + port + " " + method)
	}
}

// TestIPv6 has programs of all kinds use services at an IPv6 address.
func TestIPv6(t *testing.T) {
	need(t, "nginx-light", "curl", "dnsmasq-base", "dnsutils", "iperf3", "iputils-ping")
	s := newSite(t, lab.PaperOptions{IPv6: true})
	var dirs []string
	long := strings.Repeat("every server knows this text. ", 8)
	for _, ip := range serverIPs {
		dirs = append(dirs, s.nginxAt(serverName(ip), "["+ip6(ip)+"]"))
		s.background(serverName(ip), "["+ip6(ip)+"]:53", find("dnsmasq"),
			"--keep-in-foreground", "--log-facility=-", "--conf-file=/dev/null", "--pid-file=", "--user=root", "--group=",
			"--no-resolv", "--no-hosts", "--bind-interfaces", "--except-interface=lo", "--listen-address="+ip6(ip), "--edns-packet-max=4096",
			"--address=/who.vsnat.test/"+ip6(ip),
			"--txt-record=text.vsnat.test"+strings.Repeat(","+long, 10))
	}
	s.background("server1", "["+ip6(server1)+"]:5201", find("iperf3"), "-s")
	s.serveAt("director", "["+vip6+"]:8080", "the director")
	d := s.direct()
	s.cluster6("-t", "80", "-m")
	s.cluster6("-t", "53", "-m")
	s.cluster6("-u", "53", "-m")
	for _, proto := range []string{"-t", "-u"} {
		s.ipvsadm("-A " + proto + " [" + vip6 + "]:5201 -s rr")
		s.ipvsadm("-a " + proto + " [" + vip6 + "]:5201 -r [" + ip6(server1) + "]:5201 -m")
		s.ipvsadm("-A " + proto + " [" + vip6 + "]:81 -s rr")
		s.ipvsadm("-a " + proto + " [" + vip6 + "]:81 -r [" + ip6(server1) + "]:81 -m")
	}

	t.Run("curl", func(t *testing.T) {
		curl := []string{find("curl"), "-gsS", "--fail", "--noproxy", "*", "--max-time", "15"}
		for _, ip := range []string{server4, server3, server2, server1, server4} {
			out := s.must("client", append(curl, "-i", "http://"+web6+"/")...)
			if !strings.HasSuffix(out, page) || !strings.Contains(out, "X-Real-Server: ["+ip6(ip)+"]") {
				t.Errorf("curl has not got the page from %s:\n%s", ip6(ip), tail(out, 500))
			}
		}
		want, _, _ := sum(blob(7, bigFile)) // cannot fail
		got := filepath.Join(t.TempDir(), "big.bin")
		s.must("client", append(curl, "-o", got, "http://"+web6+"/big.bin")...)
		if h := sumFile(got); h != want {
			t.Errorf("the big file arrived changed: SHA-256 %s, want %s", h, want)
		}
		s.must("client", append(curl, "-T", got, "http://"+web6+"/up.bin")...)
		if !slices.ContainsFunc(dirs, func(dir string) bool { return sumFile(filepath.Join(dir, "www", "up.bin")) == want }) {
			t.Error("no server has the file as it was sent")
		}
		log, err := os.ReadFile(filepath.Join(dirs[0], "access.log"))
		if err != nil || !strings.HasPrefix(string(log), clientIP6+" ") {
			t.Errorf("nginx's log does not name the client: %v\n%s", err, log)
		}
	})
	t.Run("dig", func(t *testing.T) {
		for _, transport := range []string{"+notcp", "+tcp"} {
			dig := []string{find("dig"), "@" + vip6, "+time=5", "+tries=1", "+bufsize=4096", "+ignore", transport}
			want := []string{ip6(server4), ip6(server3), ip6(server2), ip6(server1), ip6(server4)}
			var got []string
			for range want {
				got = append(got, strings.TrimSpace(s.must("client", append(dig, "+short", "who.vsnat.test", "AAAA")...)))
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: the servers answered in the order\n%v, want\n%v", transport, got, want)
			}
			// Longer than a packet: over UDP it comes in fragments.
			out := s.must("client", append(dig, "text.vsnat.test", "TXT")...)
			if size := regexp.MustCompile(`MSG SIZE +rcvd: (2[0-9]{3})`); strings.Count(out, long) != 10 || !size.MatchString(out) {
				t.Errorf("%s: the long answer is %s", transport, out)
			}
		}
	})
	t.Run("ping", func(t *testing.T) {
		for _, size := range []string{"56", "4000"} {
			out := s.must("client", find("ping"), "-6", "-n", "-c", "2", "-i", "0.2", "-W", "5", "-s", size, vip6)
			if !strings.Contains(out, "2 received") {
				t.Errorf("ping:\n%s", out)
			}
		}
	})
	t.Run("iperf3", func(t *testing.T) {
		for _, args := range [][]string{{"-n", "50M"}, {"-n", "50M", "-R"}, {"-u", "-b", "20M", "-n", "2M"}} {
			s.must("client", append([]string{find("iperf3"), "-6", "-c", vip6, "--connect-timeout", "5000"}, args...)...)
		}
	})
	t.Run("closed ports", func(t *testing.T) {
		for _, port := range []string{"81", "8081"} { // the server's, the director's
			s.refusedAtOnce("[" + vip6 + "]:" + port)
			conn := s.dialUDP("[" + vip6 + "]:" + port)
			_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
			if _, err := conn.Write([]byte("anyone?")); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Read(make([]byte, 10)); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("UDP to the closed port %s: %v; want ECONNREFUSED", port, err)
			}
		}
	})
	t.Run("the host", func(t *testing.T) {
		if a := s.page("client", "["+vip6+"]:8080"); a.server != "the director" {
			t.Errorf("port 8080 of the VIP is served by %s, want the director", a.server)
		}
		// Neighbours find the director, and it finds them.
		for _, host := range []string{"client", "director", "server1", "server2", "server3", "server4"} {
			s.must(host, find("ip"), "-6", "neigh", "flush", "all")
		}
		s.must("client", find("curl"), "-gsS", "--fail", "--noproxy", "*", "--max-time", "15", "-o", "/dev/null", "http://"+web6+"/")
		if out := s.must("director", find("curl"), "-gsS", "--fail", "--max-time", "15", "-i", "http://["+ip6(server2)+"]/"); !strings.Contains(out, ip6(server2)) {
			t.Errorf("the health check of %s is answered so:\n%s", ip6(server2), out)
		}
	})
	t.Run("persistence", func(t *testing.T) {
		s.ipvsadm("-E -t " + web6 + " -s rr -p 300 -M 64")
		var servers []string
		for range 3 {
			out := s.must("client", find("curl"), "-gsS", "--fail", "--noproxy", "*", "--max-time", "15", "-o", "/dev/null", "-w", "%header{x-real-server}", "http://"+web6+"/")
			servers = append(servers, out)
		}
		if servers[0] == "" || len(slices.Compact(servers)) != 1 {
			t.Errorf("answered by %q", servers)
		}
		if out := s.ipvsadm("-Lnc"); !strings.Contains(out, "[fd00:28::]:0") {
			t.Errorf("no template of the client's network:\n%s", out)
		}
		if out := s.ipvsadm("-Sn"); !strings.Contains(out, "-A -t "+web6+" -s rr -p 300 -M 64\n") {
			t.Errorf("ipvsadm -Sn:\n%s", out)
		}
		s.ipvsadm("-A -f 7 -6 -s rr")
		if out := s.ipvsadm("-Ln"); !strings.Contains(out, "FWM  7 IPv6 rr") {
			t.Errorf("ipvsadm -Ln:\n%s", out)
		}
	})
	for _, nic := range []string{"director-0", "director-1"} {
		if l := d.ledger(nic); l.Forwarded == 0 {
			t.Errorf("%s: %+v", nic, l)
		}
	}
}

// TestIPv6NarrowLink has routes on both sides of the director that take less than
// the links. The senders find that out from what the director says: it does not
// fragment IPv6.
func TestIPv6NarrowLink(t *testing.T) {
	topology, err := lab.Paper(lab.PaperOptions{IPv6: true})
	if err != nil {
		t.Fatal(err)
	}
	topology.Routes = append(topology.Routes,
		lab.Route{Host: "director", To: netip.MustParsePrefix(clientIP6 + "/128"), NIC: "director-0", MTU: 1280},
		lab.Route{Host: "director", To: netip.MustParsePrefix("fd00:100::/122"), NIC: "director-1", MTU: 1300})
	s := newSiteOf(t, topology)
	for _, ip := range serverIPs {
		s.serveAt(serverName(ip), "["+ip6(ip)+"]:80", ip6(ip))
	}
	e := new(echoes)
	s.echoUDPAt("udp6", server1, ":7", e)
	d := s.direct()
	s.cluster6("-t", "80", "-m")
	s.ipvsadm("-A -u [" + vip6 + "]:7 -s rr")
	s.ipvsadm("-a -u [" + vip6 + "]:7 -r [" + ip6(server1) + "]:7 -m")

	s.togetherAt(web6, 2, s.download, 5_000_000)
	s.togetherAt(web6, 2, s.upload, 5_000_000)
	for _, nic := range []string{"director-0", "director-1"} {
		if l := d.ledger(nic); l.Replied == 0 {
			t.Errorf("nobody behind %s was told that the link is narrower", nic)
		}
	}
	conn := s.dialUDP("[" + vip6 + "]:7")
	buf := make([]byte, 1<<16)
	for _, size := range []int{1, 1232, 1233, 1252, 1400, 9000, 60_000} {
		sent := bytes.Repeat([]byte{byte(size), 7}, size)[:size]
		if err := s.echoed(conn, sent, buf); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

// TestIPv6DirectRouting has the servers answer IPv6 clients themselves.
func TestIPv6DirectRouting(t *testing.T) {
	topology, err := lab.Direct(lab.PaperOptions{IPv6: true})
	if err != nil {
		t.Fatal(err)
	}
	s := newSiteOf(t, topology)
	for _, ip := range serverIPs {
		s.serveAt(serverName(ip), "[::]:80", ip6(ip))
	}
	s.direct()
	s.cluster6("-t", "80", "-g")
	var got []string
	for range 5 {
		got = append(got, s.page("client", web6).server)
	}
	if want := []string{ip6(server4), ip6(server3), ip6(server2), ip6(server1), ip6(server4)}; !slices.Equal(got, want) {
		t.Errorf("the servers answered in the order\n%v, want\n%v", got, want)
	}
	s.togetherAt(web6, 3, s.download, bigFile)
	s.togetherAt(web6, 3, s.upload, bigFile)
	if out := s.ipvsadm("-Ln"); strings.Count(out, "Route ") != 4 {
		t.Errorf("ipvsadm -Ln:\n%s", out)
	}
}

// echoed sends a datagram and waits for its echo. The first ones may be lost on
// the way of learning how long packets may be.
func (s *site) echoed(conn interface {
	Write([]byte) (int, error)
	Read([]byte) (int, error)
	SetReadDeadline(time.Time) error
}, sent, buf []byte,
) error {
	var err error
	for range 20 {
		if _, err = conn.Write(sent); err != nil {
			continue
		}
		_ = conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		var n int
		if n, err = conn.Read(buf); err == nil {
			if !bytes.Equal(buf[:n], sent) {
				return fmt.Errorf("the echo has %d bytes and is not what was sent", n)
			}
			return nil
		}
	}
	return err
}

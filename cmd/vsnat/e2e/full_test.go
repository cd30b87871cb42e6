package e2e

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"vsnat/bench/lab"
)

// fullSite is a cluster on one switch whose servers have no way to the client, with
// a FullNAT service.
func fullSite(t *testing.T) *site {
	topology, err := lab.Full(lab.PaperOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s := newSiteOf(t, topology)
	s.sees = "10.0.100.1"
	return s
}

// TestFullNAT has a director with one NIC before servers without a route back. The
// client is in another network, or in the servers' own. Pages and files, with
// offloads as the kernel sets them, arrive whole.
func TestFullNAT(t *testing.T) {
	need(t, "curl")
	s := fullSite(t)
	s.serveAll()
	s.direct()
	s.ipvsadm("-A -t " + web + " -s rr")
	for _, ip := range serverIPs {
		s.ipvsadm("-a -t " + web + " -r " + ip + ":80 --full-nat")
	}
	if got, want := s.pages(5), []string{server4, server3, server2, server1, server4}; !slices.Equal(got, want) {
		t.Errorf("the servers answered in the order\n%v, want\n%v", got, want)
	}
	curl := []string{find("curl"), "-sS", "--fail", "--noproxy", "*", "--max-time", "15", "--interface", "10.0.100.99"}
	for range 5 {
		s.must("client", append(curl, "-o", "/dev/null", "http://"+web+"/")...)
	}
	s.together(3, s.download, bigFile)
	s.together(3, s.upload, bigFile)
	if out := s.ipvsadm("-Ln"); strings.Count(out, "FullNat ") != 4 {
		t.Errorf("ipvsadm -Ln:\n%s", out)
	}
	if out := s.ipvsadm("-Sn"); strings.Count(out, " --full-nat -w 1") != 4 {
		t.Errorf("ipvsadm -Sn:\n%s", out)
	}
	// Ports that no connection has are still answered: the guard keeps the host's
	// stack from them.
	if r := s.run("server1", find("curl"), "-sS", "--max-time", "5", "http://10.0.100.1:10001/"); !strings.Contains(r.stderr, "refused") && r.code != 7 {
		t.Errorf("a port of the pool: %d %s", r.code, r.stderr)
	}
	// Neither is any other port of the address: the host's own.
	if r := s.run("server1", find("curl"), "-sS", "--max-time", "5", "http://10.0.100.1:9999/"); r.code != 7 {
		t.Errorf("a port of the host: %d %s", r.code, r.stderr)
	}
}

// TestFullNATPorts has a pool run out of ports, and says so.
func TestFullNATPorts(t *testing.T) {
	need(t, "curl")
	s := fullSite(t)
	s.serveAll()
	d := s.direct()
	s.must("director", bin("vsnat"), "pool", "add", "few", "--address", "10.0.100.1", "--ports", "20000-20002")
	s.ipvsadm("-A -t " + web + " -s rr")
	s.ipvsadm("-a -t " + web + " -r " + server1 + ":80 --full-nat --pool few")
	var conns []net.Conn
	for range 3 {
		conn, err := s.Host("client").Dial(t.Context(), "tcp4", web)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns = append(conns, conn)
	}
	r := s.run("client", find("curl"), "-sS", "--noproxy", "*", "--max-time", "2", "-o", "/dev/null", "http://"+web+"/")
	if r.code != 28 {
		t.Errorf("curl ended with %d, want 28, in vain for two seconds: %s", r.code, r.stderr)
	}
	if l := d.ledger("director-0"); l.Dropped["no-port"] == 0 {
		t.Errorf("%+v", l)
	}
	s.eventually("the log tells of it", func() bool {
		out, err := os.ReadFile(d.log)
		return err == nil && strings.Contains(string(out), "no port of a pool was free")
	})
	// Connections that are over make room, though the server, which closes them first,
	// remembers them in TIME_WAIT: without delay on its side.
	for _, conn := range conns {
		conn.Close()
	}
	for i := range 4 {
		r := s.run("client", find("curl"), "-sS", "--http1.0", "--noproxy", "*", "--max-time", "8", "-o", "/dev/null", "http://"+web+"/")
		if r.code != 0 {
			t.Errorf("request %d: %d %s", i, r.code, r.stderr)
		}
	}
	if out := s.must("server1", find("ss"), "-Htan", "state", "time-wait"); !strings.Contains(out, "10.0.100.1:2000") {
		t.Errorf("the server has no TIME_WAIT of a port of the pool: the test tests nothing:\n%s", out)
	}
	if out := s.must("director", bin("vsnat"), "pool"); !strings.Contains(out, "few") || !strings.Contains(out, "20000-20002") {
		t.Errorf("vsnat pool:\n%s", out)
	}
}

// proxyConfig is nginx for one real server that expects a PROXY header, with TLS at
// another port; %[1]s is its directory, %[2]s its address.
const proxyConfig = nginxHead + `
	log_format who '$proxy_protocol_addr $remote_addr $request $status';
	access_log %[1]s/access.log who;
	server {
		listen %[2]s:80 proxy_protocol;
		listen %[2]s:443 proxy_protocol ssl;
		ssl_certificate %[1]s/cert.pem;
		ssl_certificate_key %[1]s/key.pem;
		root %[1]s/www;
		dav_methods PUT;
	}
}
`

// TestProxyProtocol has nginx told its clients' addresses, by FullNAT and by
// masquerading, with and without TLS, and moves big files both ways beside the
// header.
func TestProxyProtocol(t *testing.T) {
	need(t, "curl", "nginx-light", "openssl")
	s := fullSite(t)
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "www"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "www", "big.bin"), blob(7, bigFile))
	s.must("server1", find("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
		"-subj", "/CN=vsnat", "-keyout", filepath.Join(dir, "key.pem"), "-out", filepath.Join(dir, "cert.pem"))
	conf := filepath.Join(dir, "nginx.conf")
	write(t, conf, strings.NewReader(fmt.Sprintf(proxyConfig, dir, server1)))
	s.background("server1", server1+":80", find("nginx"), "-p", dir, "-e", "stderr", "-c", conf)
	// For masquerading the server needs a way back, which the router is.
	s.must("server1", find("ip"), "route", "add", "192.168.28.0/24", "via", "10.0.100.1")
	s.direct()
	want, _, _ := sum(blob(7, bigFile)) // cannot fail
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, blob(8, bigFile))
	sent := sumFile(file)
	for _, method := range []string{"--full-nat", "-m"} {
		for _, port := range []string{"80", "443"} {
			service := vip + ":" + port
			s.ipvsadm("-A -t " + service + " -s rr")
			s.ipvsadm("-a -t " + service + " -r " + server1 + ":" + port + " " + method)
			s.must("director", bin("vsnat"), "service", "proxy-protocol", "-t", service, "v2")
			s.ipvsadm("-E -t " + service + " -s wlc") // which does not speak of it

			url := map[string]string{"80": "http://", "443": "https://"}[port] + vip
			curl := []string{find("curl"), "-sSk", "--fail", "--noproxy", "*", "--max-time", "15"}
			got := filepath.Join(t.TempDir(), "got")
			s.must("client", append(curl, "-o", got, url+"/big.bin")...)
			if sumFile(got) != want {
				t.Errorf("%s %s: the file arrived changed", method, port)
			}
			s.must("client", append(curl, "-T", file, url+"/put")...)
			if sumFile(filepath.Join(dir, "www", "put")) != sent {
				t.Errorf("%s %s: the stored file is another", method, port)
			}
			if method == "--full-nat" {
				s.must("client", append(curl, "--interface", "10.0.100.99", "-o", got, url+"/big.bin")...)
			}
		}
		s.ipvsadm("-C")
	}
	log, err := os.ReadFile(filepath.Join(dir, "access.log"))
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for line := range strings.Lines(string(log)) {
		f := strings.Fields(line)
		counts[f[0]+" by "+f[1]+" "+f[len(f)-1][:2]]++
	}
	for who, n := range map[string]int{
		clientIP + " by 10.0.100.1 20": 4, "10.0.100.99 by 10.0.100.1 20": 2, clientIP + " by " + clientIP + " 20": 4,
	} {
		if counts[who] != n {
			t.Errorf("%d requests of %s, want %d:\n%s", counts[who], who, n, log)
		}
	}
}

// TestFullNATBothFamilies has UDP, with answers in fragments, refusals, curl and iperf3
// over IPv4 and IPv6, by a director with one NIC.
func TestFullNATBothFamilies(t *testing.T) {
	need(t, "curl", "dnsutils", "dnsmasq-base", "iperf3")
	topology, err := lab.Full(lab.PaperOptions{IPv6: true})
	if err != nil {
		t.Fatal(err)
	}
	s := newSiteOf(t, topology)
	s.direct()
	s6 := ip6(server1)
	dir := t.TempDir()
	conf := filepath.Join(dir, "dnsmasq.conf")
	var text strings.Builder
	fmt.Fprintf(&text, "port=53\nno-resolv\nno-hosts\nuser=root\nedns-packet-max=4096\npid-file=%s/pid\nlisten-address=%s\nlisten-address=%s\nbind-interfaces\n", dir, server1, s6)
	for i := range 12 {
		fmt.Fprintf(&text, "txt-record=big.example,%s\n", strings.Repeat(string(rune('a'+i)), 240))
	}
	write(t, conf, strings.NewReader(text.String()))
	s.background("server1", server1+":53", find("dnsmasq"), "-k", "--conf-file="+conf)
	s.background("server1", server1+":5201", find("iperf3"), "-s")
	for _, to := range []struct{ vip, rip string }{{vip, server1}, {"[" + vip6 + "]", "[" + s6 + "]"}} {
		for _, service := range []string{"-t %s:53", "-u %s:53", "-t %s:5201", "-u %s:5201", "-t %s:81", "-u %s:81"} {
			name := fmt.Sprintf(service, to.vip)
			s.ipvsadm("-A " + name + " -s rr")
			s.ipvsadm("-a " + name + " -r " + to.rip + name[strings.LastIndex(name, ":"):] + " --full-nat")
		}
		s.refusedAtOnce(to.vip + ":81")
		conn := s.dialUDP(to.vip + ":81")
		if _, err := conn.Write([]byte("anyone?")); err != nil {
			t.Fatal(err)
		}
		if n, err := conn.Read(make([]byte, 10)); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("UDP to a closed port of the server: %d bytes, %v; want ECONNREFUSED", n, err)
		}
		bare := strings.Trim(to.vip, "[]")
		for _, transport := range []string{"+notcp", "+tcp"} {
			out := s.must("client", find("dig"), "@"+bare, "+time=5", "+tries=1", "+bufsize=4096", "+ignore", "+short", transport, "big.example", "TXT")
			if n := strings.Count(out, strings.Repeat("c", 240)); n != 1 || len(out) < 2880 {
				t.Errorf("dig %s @%s: %d bytes\n%s", transport, bare, len(out), tail(out, 300))
			}
		}
		s.must("client", find("iperf3"), "-c", bare, "--connect-timeout", "5000", "-n", "20M")
		s.must("client", find("iperf3"), "-c", bare, "--connect-timeout", "5000", "-n", "20M", "-R")
		s.must("client", find("iperf3"), "-c", bare, "--connect-timeout", "5000", "-u", "-b", "50M", "-n", "1M")
	}
	out := s.ipvsadm("-Lnc")
	if !strings.Contains(out, vip+":53") || !strings.Contains(out, "["+vip6+"]:53") {
		t.Errorf("ipvsadm -Lnc:\n%s", out)
	}
	if out := s.must("director", bin("vsnat"), "conns", "--json"); !strings.Contains(out, `"local":"10.0.100.1:`) || !strings.Contains(out, `"method":"full"`) {
		t.Errorf("vsnat conns --json:\n%s", tail(out, 800))
	}
}

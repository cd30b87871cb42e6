package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vsnat/bench/lab"
)

// TestMasquerade has the real servers reach the outside by way of the director, as
// the paper's iptables rule does: curl, dig, ping and traceroute from a server to the
// client, which sees the director and has no way to the servers. It works whether
// the director's kernel forwards or not.
func TestMasquerade(t *testing.T) {
	need(t, "curl", "dnsutils", "dnsmasq-base", "iputils-ping", "nginx-light")
	for _, forward := range []bool{false, true} {
		t.Run(fmt.Sprintf("ip_forward=%t", forward), func(t *testing.T) {
			s := newSite(t, lab.PaperOptions{Forward: forward})
			// Not even if the director's kernel forwards may the client answer the servers.
			s.run("client", find("ip"), "route", "del", "10.0.100.0/24")
			s.run("client", find("ip"), "route", "del", "default")
			s.serveAll()
			guard := map[bool]string{false: "auto", true: "nft"}[forward]
			s.direct("--guard", guard)
			s.cluster("rr")
			dir := s.outside()

			fetch := []string{find("curl"), "-sS", "--fail", "--noproxy", "*", "--max-time", "1", "http://" + clientIP + ":8000/big.bin"}
			if r := s.run("server1", append(fetch, "-o", "/dev/null")...); r.code == 0 {
				t.Fatal("the outside is reached without masquerading")
			}
			s.must("director", bin("vsnat"), "masquerade", "add", "10.0.100.0/24")
			s.must("server1", append(fetch, "-o", filepath.Join(dir, "fetched"), "--max-time", "15")...)
			if want, _, _ := sum(blob(7, bigFile)); sumFile(filepath.Join(dir, "fetched")) != want {
				t.Error("the file arrived changed")
			}
			if log, _ := os.ReadFile(filepath.Join(dir, "access.log")); !strings.HasPrefix(string(log), vip+" ") {
				t.Errorf("the server outside saw\n%s", log)
			}
			for i := range 4 {
				out := s.must(fmt.Sprintf("server%d", i+1), find("dig"), "@"+clientIP, "-p", "5353", "+short", "+tries=1", "+time=5", "www.example")
				if strings.TrimSpace(out) != "203.0.113.80" {
					t.Errorf("dig: %q", out)
				}
			}
			// Of two servers with the same identifier, if chance wants it so.
			for _, size := range []string{"56", "1400", "4000"} {
				for _, host := range []string{"server1", "server2"} {
					out := s.must(host, find("ping"), "-n", "-c", "3", "-i", "0.05", "-W", "5", "-s", size, "-e", "4711", clientIP)
					if !strings.Contains(out, "3 received") || strings.Contains(out, "DUP") {
						t.Errorf("ping:\n%s", out)
					}
				}
			}
			// What the outside refuses is told at once.
			if r := s.run("server1", find("curl"), "-sS", "--max-time", "5", "http://"+clientIP+":9/"); r.code != 7 {
				t.Errorf("a closed port: %d %s", r.code, r.stderr)
			}
			if out := s.run("server1", find("dig"), "@"+clientIP, "-p", "54", "+tries=1", "+time=5", "www.example"); !strings.Contains(out.stdout+out.stderr, "refused") {
				t.Errorf("a closed UDP port: %s%s", out.stdout, out.stderr)
			}
			// The service goes on meanwhile, and the servers may use it themselves.
			s.pages(4)
			if out := s.ipvsadm("-Lnc"); strings.Contains(out, clientIP+":8000") {
				t.Errorf("ipvsadm lists what IPVS has none of:\n%s", out)
			}
			if out := s.must("director", bin("vsnat"), "masquerade"); !strings.Contains(out, "10.0.100.0/24") {
				t.Errorf("vsnat masquerade:\n%s", out)
			}
			s.must("director", bin("vsnat"), "masquerade", "delete", "10.0.100.0/24")
			if r := s.run("server1", append(fetch, "-o", "/dev/null", "--max-time", "1")...); r.code == 0 {
				t.Error("the outside is reached after masquerading was ended")
			}
		})
	}
}

// outside runs a web server and a name server on the client.
func (s *site) outside() (dir string) {
	s.t.Helper()
	dir = s.t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "www"), 0o755); err != nil {
		s.t.Fatal(err)
	}
	write(s.t, filepath.Join(dir, "www", "big.bin"), blob(7, bigFile))
	conf := filepath.Join(dir, "nginx.conf")
	text := strings.ReplaceAll(fmt.Sprintf(nginxConfig, dir, clientIP), clientIP+":80;", clientIP+":8000;")
	write(s.t, conf, strings.NewReader(text))
	s.background("client", clientIP+":8000", find("nginx"), "-p", dir, "-e", "stderr", "-c", conf)
	s.background("client", clientIP+":5353", find("dnsmasq"), "-k", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root",
		"--pid-file="+filepath.Join(dir, "dnsmasq.pid"), "--port=5353", "--listen-address="+clientIP, "--bind-interfaces", "--address=/www.example/203.0.113.80")
	return dir
}

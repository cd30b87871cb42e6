package e2e

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"vsnat/bench/lab"
)

// nginxHead is how the configuration of every nginx begins; %[1]s is its directory.
// One process does, and it need not change its user.
const nginxHead = `
user root;
daemon off;
master_process off;
pid %[1]s/nginx.pid;
error_log %[1]s/error.log;
events { worker_connections 512; }
http {
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	client_max_body_size 100m;
	sendfile on;
`

// nginxConfig is for one real server; %[1]s is its directory, %[2]s its address.
const nginxConfig = nginxHead + `
	log_format who '$remote_addr $request $status';
	access_log %[1]s/access.log who;
	server {
		listen %[2]s:80;
		root %[1]s/www;
		dav_methods PUT;
		add_header X-Real-Server %[2]s;
	}
}
`

// nginx runs nginx on the four real servers and returns their directories.
func (s *site) nginx() (dirs []string) {
	s.t.Helper()
	for _, ip := range serverIPs {
		dirs = append(dirs, s.nginxAt(serverName(ip), ip))
	}
	return dirs
}

// nginxAt runs nginx on a host, at an address, and returns its directory.
func (s *site) nginxAt(host, address string) (dir string) {
	t := s.t
	t.Helper()
	dir = t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "www"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "www", "index.html"), strings.NewReader(page))
	write(t, filepath.Join(dir, "www", "big.bin"), blob(7, bigFile))
	conf := filepath.Join(dir, "nginx.conf")
	write(t, conf, strings.NewReader(fmt.Sprintf(nginxConfig, dir, address)))
	s.background(host, address+":80", find("nginx"), "-p", dir, "-e", "stderr", "-c", conf)
	return dir
}

// write makes a file.
func write(t *testing.T, name string, r io.Reader) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(f, r)
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		t.Fatal(err)
	}
}

// sumFile returns a file's SHA-256, "" if it cannot be read.
func sumFile(name string) string {
	f, err := os.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	hash, _, err := sum(f)
	if err != nil {
		return ""
	}
	return hash
}

// TestNginxAndCurl fetches the page and a big file from nginx with curl, and
// stores one; nginx logs the client's own address.
func TestNginxAndCurl(t *testing.T) {
	need(t, "nginx-light", "curl")
	s := newSite(t, lab.PaperOptions{})
	dirs := s.nginx()
	s.direct()
	s.cluster("rr")
	curl := []string{find("curl"), "-sS", "--fail", "--noproxy", "*", "--max-time", "15"}

	for _, ip := range []string{server4, server3, server2, server1, server4} {
		out := s.must("client", append(curl, "-i", "http://"+web+"/")...)
		if !strings.HasSuffix(out, page) || !strings.Contains(out, "X-Real-Server: "+ip) {
			t.Errorf("curl has not got the page from %s:\n%s", ip, tail(out, 500))
		}
	}

	want, _, _ := sum(blob(7, bigFile)) // cannot fail
	got := filepath.Join(t.TempDir(), "big.bin")
	s.must("client", append(curl, "-o", got, "http://"+web+"/big.bin")...)
	if h := sumFile(got); h != want {
		t.Errorf("the big file arrived changed: SHA-256 %s, want %s", h, want)
	}
	s.must("client", append(curl, "-T", got, "http://"+web+"/up.bin")...)
	var stored []string
	for _, dir := range dirs {
		if h := sumFile(filepath.Join(dir, "www", "up.bin")); h != "" {
			stored = append(stored, h)
		}
	}
	if len(stored) != 1 || stored[0] != want {
		t.Errorf("servers that stored the big file have SHA-256 %v, want one with %s", stored, want)
	}
	s.checkAccessLogs(dirs, 7)
}

// checkAccessLogs checks that nginx saw n requests, all from the client itself.
func (s *site) checkAccessLogs(dirs []string, n int) {
	s.t.Helper()
	lines := 0
	for _, dir := range dirs {
		b, err := os.ReadFile(filepath.Join(dir, "access.log"))
		if err != nil {
			s.t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			lines++
			if !strings.HasPrefix(line, clientIP+" ") || !strings.Contains(line, " 20") {
				s.t.Errorf("nginx logged %q, want a success for %s", line, clientIP)
			}
		}
	}
	if lines != n {
		s.t.Errorf("nginx logged %d requests, want %d", lines, n)
	}
}

// TestApacheBench has ab, the paper's own program, find no failed request, with
// a connection for each request and with connections that are kept.
func TestApacheBench(t *testing.T) {
	need(t, "nginx-light", "apache2-utils")
	for _, tt := range []struct {
		name string
		args []string
		kept int // requests over connections that are kept, at least
	}{
		{"connection each", nil, 0},
		{"kept alive", []string{"-k"}, 1900},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t, lab.PaperOptions{})
			dirs := s.nginx()
			s.direct()
			s.cluster("wrr")
			argv := append([]string{find("ab"), "-q", "-n", "2000", "-c", "20", "-s", "10"}, tt.args...)
			out := s.must("client", append(argv, "http://"+web+"/")...)
			for name, want := range map[string]int{
				"Complete requests": 2000, "Failed requests": 0, "Document Length": len(page),
			} {
				if got := figure(out, name); got != want {
					t.Errorf("ab: %s: %d, want %d\n%s", name, got, want, out)
				}
			}
			if tt.kept > 0 && figure(out, "Keep-Alive requests") < tt.kept {
				t.Errorf("ab: fewer than %d requests over kept connections\n%s", tt.kept, out)
			}
			// ab may send some more than it counts.
			total := 0
			for i, dir := range dirs {
				b, err := os.ReadFile(filepath.Join(dir, "access.log"))
				if err != nil {
					t.Fatal(err)
				}
				n := strings.Count(string(b), clientIP+" GET / HTTP/1.0 200\n")
				if n == 0 {
					t.Errorf("%s was not asked", serverIPs[i])
				}
				total += n
			}
			if total < 2000 {
				t.Errorf("nginx logged %d requests of %s, want 2000", total, clientIP)
			}
		})
	}
}

// figure returns the number after a name in ab's output, -1 if there is none.
func figure(out, name string) int {
	m := regexp.MustCompile(`(?m)^` + name + `: +(\d+)`).FindStringSubmatch(out)
	if m == nil {
		return -1
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		return -1
	}
	return n
}

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vsnat/bench/lab"
	"vsnat/cmd/vsnat/internal/control"
	"vsnat/cmd/vsnat/internal/daemon"
)

// vsftpdConfig is for one real server; %[1]s is its directory.
const vsftpdConfig = `
listen=NO
listen_ipv6=YES
background=NO
run_as_launching_user=YES
seccomp_sandbox=NO
anonymous_enable=YES
no_anon_password=YES
anon_root=%[1]s
allow_writeable_chroot=YES
write_enable=YES
anon_upload_enable=YES
anon_umask=022
connect_from_port_20=YES
vsftpd_log_file=%[1]s.log
xferlog_enable=YES
xferlog_std_format=NO
`

// ftpFile is the size in bytes of the files that are fetched, more than a window.
const ftpFile = 1 << 20

// vsftpd runs vsftpd on the four real servers, and returns their directories.
// Each has a file for all, and in who the server's own number.
func (s *site) vsftpd(more string) (dirs []string) {
	s.t.Helper()
	for i, ip := range serverIPs {
		dir := filepath.Join(s.t.TempDir(), "ftp")
		dirs = append(dirs, dir)
		if err := os.Mkdir(dir, 0o755); err != nil {
			s.t.Fatal(err)
		}
		write(s.t, filepath.Join(dir, "file.bin"), blob(9, ftpFile))
		write(s.t, filepath.Join(dir, "who"), strings.NewReader(fmt.Sprint(i+1)))
		conf := dir + ".conf"
		write(s.t, conf, strings.NewReader(fmt.Sprintf(vsftpdConfig, dir)+more))
		if err := os.Chown(conf, 0, 0); err != nil {
			s.t.Fatal(err)
		}
		s.background(serverName(ip), ip+":21", find("vsftpd"), conf)
	}
	return dirs
}

// ftpService sets up the service for FTP, with options of its own, for both
// families.
func (s *site) ftpService(port, options string) {
	s.t.Helper()
	for i := range serverIPs {
		for _, to := range []struct{ vip, rip string }{{vip, serverIPs[i]}, {"[" + vip6 + "]", "[" + ip6(serverIPs[i]) + "]"}} {
			if i == 0 {
				s.ipvsadm("-A -t " + to.vip + ":" + port + " -s rr " + options)
			}
			s.ipvsadm("-a -t " + to.vip + ":" + port + " -r " + to.rip + ":" + port + " -m")
		}
	}
}

// ftpUsers are programs that fetch file.bin from $VIP to $GOT, list the directory,
// and store the file as up.bin.
var ftpUsers = []struct {
	name   string
	v6     bool
	script string
}{
	{"curl EPSV", false, curlFTP("")},
	{"curl PASV", false, curlFTP("--disable-epsv")},
	{"curl EPRT", false, curlFTP("-P -")},
	{"curl PORT", false, curlFTP("-P - --disable-eprt")},
	{"curl EPSV", true, curlFTP("")},
	{"curl EPRT", true, curlFTP("-P -")},
	{"lftp passive", false, lftpFTP("true")},
	{"lftp active", false, lftpFTP("false")},
	{"lftp passive", true, lftpFTP("true")},
	{"lftp active", true, lftpFTP("false")},
	{"tnftp passive", false, bsdFTP("-p")},
	{"tnftp active", false, bsdFTP("-A")},
	{"tnftp passive", true, bsdFTP("-p")},
	{"tnftp active", true, bsdFTP("-A")},
}

func curlFTP(options string) string {
	c := `curl -sS --noproxy '*' --max-time 15 ` + options + " "
	return `set -e; u="ftp://$VIP"; ` + c + `-o "$GOT" "$u/file.bin" "$u/"; ` + c + `"$u/" | grep -q file.bin; ` + c + `-T "$GOT" "$u/up.bin"`
}

func lftpFTP(passive string) string {
	return `set -e; lftp -e "set net:max-retries 1; set net:timeout 5; set ftp:passive-mode ` + passive +
		`; set ftp:sync-mode off; get file.bin -o $GOT; ls; put $GOT -o up.bin; quit" "$VIP" | grep -q file.bin`
}

func bsdFTP(mode string) string {
	return `set -e; v="${VIP#[}"; printf 'user ftp x\nbinary\nget file.bin %s\nls\nput %s up.bin\nquit\n' "$GOT" "$GOT" | tnftp -n -v -q 10 ` +
		mode + ` "${v%]}" 2>&1`
}

// TestFTP has real programs fetch, list and store files, passive and active, over
// IPv4 and IPv6, with the offloads of the NICs on.
func TestFTP(t *testing.T) {
	need(t, "vsftpd", "curl", "lftp", "tnftp")
	s := newSite(t, lab.PaperOptions{IPv6: true})
	dirs := s.vsftpd("")
	d := s.direct()
	s.ftpService("21", "")
	want, _, _ := sum(blob(9, ftpFile)) // cannot fail
	for _, u := range ftpUsers {
		name, to := u.name, vip
		if u.v6 {
			name, to = name+" IPv6", "["+vip6+"]"
		}
		t.Run(name, func(t *testing.T) {
			got := filepath.Join(t.TempDir(), "got")
			out := s.must("client", "env", "VIP="+to, "GOT="+got, "sh", "-c", u.script)
			if h := sumFile(got); h != want {
				t.Errorf("the file arrived changed: SHA-256 %s, want %s", h, want)
			}
			stored := false
			for _, dir := range dirs {
				up := filepath.Join(dir, "up.bin")
				stored = stored || sumFile(up) == want
				_ = os.Remove(up)
			}
			if !stored {
				t.Errorf("the file was not stored, or has changed:\n%s", out)
			}
		})
	}
	t.Run("20 sessions at once", func(t *testing.T) {
		dir := t.TempDir()
		s.must("client", find("curl"), "-sS", "--noproxy", "*", "--max-time", "15", "-Z", "--parallel-max", "20",
			"ftp://"+vip+"/file.bin?[1-20]", "-o", filepath.Join(dir, "got-#1"))
		for i := range 20 {
			if h := sumFile(filepath.Join(dir, fmt.Sprint("got-", i+1))); h != want {
				t.Errorf("file %d arrived changed: SHA-256 %s", i+1, h)
			}
		}
	})
	t.Run("the host keeps its own", func(t *testing.T) {
		// The ports that clients may open data connections to are the host's, too.
		s.serveAt("director", vip+":8080", "the director")
		s.serveAt("client", clientIP+":8081", "the client")
		if d.guardKind() == "tcx" {
			if a := s.page("client", vip+":8080"); a.server != "the director" {
				t.Errorf("%s answers on the director's own port", a.server)
			}
			out := s.must("director", find("curl"), "-sS", "--noproxy", "*", "--max-time", "5", "--interface", vip, "http://"+clientIP+":8081/")
			if out != page {
				t.Errorf("the director itself fetched %q", tail(out, 100))
			}
		}
		s.refusedAtOnce(vip + ":50000")
	})
	for _, h := range report[[]control.HelperEntry](s, "helper") {
		if h.Name == "ftp" && (h.Expected < 60 || h.Changed == 0 || h.Refused != 0) {
			t.Errorf("vsnat helper: %+v", h)
		}
	}
}

// guardKind returns how the host's stack is kept away.
func (d *director) guardKind() string { return report[daemon.Status](d.s, "status").Guard }

// TestFTPServices has the services that LVS is known for, whose clients' templates
// have data connections go to their server too: to servers that announce the VIP, and
// to those that announce themselves. And it has the guard that is told of no flows.
func TestFTPServices(t *testing.T) {
	need(t, "vsftpd", "curl")
	want, _, _ := sum(blob(9, ftpFile)) // cannot fail
	for _, tt := range []struct {
		name, port, announce, options string
		args                          []string
	}{
		{"port 21", "21", "", "-p 100", nil},
		{"port 21, the VIP announced", "21", "pasv_address=" + vip + "\n", "-p 100", nil},
		{"all ports", "0", "", "-p 100", nil},
		{"all ports, the VIP announced", "0", "pasv_address=" + vip + "\n", "-p 100", nil},
		{"not persistent, the other guard", "21", "", "", []string{"--guard", "nft"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t, lab.PaperOptions{IPv6: true})
			s.vsftpd(tt.announce)
			s.direct(tt.args...)
			s.ftpService(tt.port, tt.options)
			for _, options := range []string{"--disable-epsv", "-P - --disable-eprt"} {
				got := filepath.Join(t.TempDir(), "got")
				s.must("client", append(append([]string{find("curl"), "-sS", "--noproxy", "*", "--max-time", "10", "-o", got},
					strings.Fields(options)...), "ftp://"+vip+"/file.bin")...)
				if h := sumFile(got); h != want {
					t.Errorf("curl %s: the file arrived changed: SHA-256 %s, want %s", options, h, want)
				}
			}
		})
	}
}

// TestTFTP has curl and tftp-hpa fetch and store files by TFTP, whose server
// answers from another port than it was asked at.
func TestTFTP(t *testing.T) {
	need(t, "tftpd-hpa", "tftp-hpa", "curl")
	s := newSite(t, lab.PaperOptions{IPv6: true})
	for _, ip := range serverIPs {
		dir := filepath.Join(t.TempDir(), "tftp")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, "file.bin"), blob(9, 100_000))
		for _, address := range []string{ip + ":69", "[" + ip6(ip) + "]:69"} {
			s.daemon(serverName(ip), find("in.tftpd"), "--foreground", "--address", address, "--user", "root", "--create", "--permissive", "--secure", dir)
		}
	}
	s.direct()
	s.udpService("69")
	want, _, _ := sum(blob(9, 100_000)) // cannot fail
	for _, to := range []string{vip, vip6} {
		for i, argv := range [][]string{
			{find("curl"), "-sS", "--noproxy", "*", "--max-time", "10", "-o", "GOT", "tftp://" + strings.ReplaceAll("["+to+"]", "["+vip+"]", vip) + "/file.bin"},
			{find("tftp"), "-m", "binary", to, "-c", "get", "file.bin", "GOT"},
		} {
			got := filepath.Join(t.TempDir(), "got")
			for k := range argv {
				if argv[k] == "GOT" {
					argv[k] = got
				}
			}
			s.eventually(argv[0]+" fetches a file from "+to, func() bool {
				return s.run("client", argv...).code == 0 && sumFile(got) == want
			})
			up := fmt.Sprint("up", i)
			s.must("client", find("tftp"), "-m", "binary", to, "-c", "put", got, up)
			back := filepath.Join(t.TempDir(), "back")
			// The four servers take turns.
			s.eventually("the file that was stored comes back", func() bool {
				return s.run("client", find("tftp"), "-m", "binary", to, "-c", "get", up, back).code == 0 && sumFile(back) == want
			})
		}
	}
}

// udpService sets up a UDP service at a port, for both families.
func (s *site) udpService(port string) {
	s.t.Helper()
	for i, ip := range serverIPs {
		for _, to := range []struct{ vip, rip string }{{vip, ip}, {"[" + vip6 + "]", "[" + ip6(ip) + "]"}} {
			if i == 0 {
				s.ipvsadm("-A -u " + to.vip + ":" + port + " -s rr")
			}
			s.ipvsadm("-a -u " + to.vip + ":" + port + " -r " + to.rip + ":" + port + " -m")
		}
	}
}

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"vsnat/bench/lab"
)

// debian names the program, or a file by its path, that is wanted from each
// Debian package.
var debian = map[string]string{
	"apache2-utils":   "ab",
	"bsdutils":        "script",
	"bash-completion": "/usr/share/bash-completion/bash_completion",
	"curl":            "curl",
	"dnsmasq-base":    "dnsmasq",
	"dnsutils":        "dig",
	"fish":            "fish",
	"iperf3":          "iperf3",
	"iproute2":        "ip",
	"iputils-ping":    "ping",
	"ldirectord":      "ldirectord",
	"lftp":            "lftp",
	"nginx-light":     "nginx",
	"openssl":         "openssl",
	"tftp-hpa":        "tftp",
	"tftpd-hpa":       "in.tftpd",
	"tnftp":           "tnftp",
	"vsftpd":          "vsftpd",
	"zsh":             "zsh",
}

// need makes sure that the programs of some packages are there. Root has them
// installed if they are not; otherwise the test is skipped with the name of
// what is missing.
func need(t *testing.T, packages ...string) {
	t.Helper()
	missing := func() (names []string) {
		for _, p := range packages {
			if find(debian[p]) == "" {
				names = append(names, p)
			}
		}
		return names
	}
	if len(missing()) == 0 {
		return
	}
	err := install()
	if names := missing(); len(names) > 0 {
		t.Skipf("Debian packages missing: %s%v", strings.Join(names, " "), errOrNothing(err))
	}
}

// install installs all packages that are missing. It tries once.
var install = sync.OnceValue(func() error {
	if os.Geteuid() != 0 || inUserNamespace() {
		return fmt.Errorf("only root can install them")
	}
	var missing []string
	for p, program := range debian {
		if find(program) == "" {
			missing = append(missing, p)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for _, args := range [][]string{
		{"update"},
		append([]string{"install", "-y", "--no-install-recommends"}, missing...),
	} {
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		// In run level 1 the packages' scripts do not start their services.
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1")
		cmd.WaitDelay = time.Second
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s: %w: %s", args[0], err, tail(string(out), 500))
		}
	}
	return nil
})

// find returns the path of a program, or "". Servers are where only root looks.
func find(program string) string {
	if filepath.IsAbs(program) {
		if _, err := os.Stat(program); err != nil {
			return ""
		}
		return program
	}
	for _, name := range []string{program, "/usr/sbin/" + program, "/sbin/" + program} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// background runs a server program in a host until the test ends, and waits
// until it accepts TCP connections at an address.
func (s *site) background(host, address string, argv ...string) {
	t := s.t
	t.Helper()
	cmd, done := s.daemon(host, argv...)
	s.eventually(host+": "+argv[0]+" serves "+address, func() bool {
		select {
		case <-done:
			t.Fatalf("%s: %s has ended: %v", host, strings.Join(argv, " "), cmd.ProcessState)
		default:
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		conn, err := s.Host(host).Dial(ctx, "tcp", address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// daemon runs a server program in a host until the test ends; done is closed when
// it has ended.
func (s *site) daemon(host string, argv ...string) (cmd *lab.Cmd, done <-chan struct{}) {
	t := s.t
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), filepath.Base(argv[0])+".log"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd = s.Host(host).Command(context.Background(), argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // it is killed
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		if t.Failed() {
			b, err := os.ReadFile(out.Name())
			t.Logf("%s: %s:\n%s%s", host, argv[0], tail(string(b), 2000), errOrNothing(err))
		}
	})
	return cmd, ended
}

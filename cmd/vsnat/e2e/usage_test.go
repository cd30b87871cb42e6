package e2e

import (
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// TestNotRoot checks that a user without capabilities hears in one line which are
// missing, and of nothing that is only missing because of them.
func TestNotRoot(t *testing.T) {
	if os.Geteuid() != 0 || inUserNamespace() {
		t.Skip("only root can become another user")
	}
	// The other user cannot look into the directory of the program.
	program, err := os.CreateTemp("", "vsnat-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(program.Name())
	src, err := os.Open(bin("vsnat"))
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if _, err := io.Copy(program, src); err != nil {
		t.Fatal(err)
	}
	if err := program.Chmod(0o755); err != nil {
		t.Fatal(err)
	}
	if err := program.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program.Name(), "run")
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")} // with the usual socket
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 1 {
		t.Fatalf("%v\n%s", err, out)
	}
	text := string(out)
	if strings.Count(text, "\n") != 1 || !strings.Contains(text, "CAP_NET_RAW") || !strings.Contains(text, "CAP_NET_ADMIN") {
		t.Errorf("%q: want one line with CAP_NET_RAW and CAP_NET_ADMIN", text)
	}
}

// TestPaperUsage checks that what is wrong with the command is said before the
// experiment and not in the midst of it.
func TestPaperUsage(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--scheduler bogus", `"bogus" for --scheduler: choose one of `},
		{"--requests 0", "--requests"},
		{"--concurrency -1", "--concurrency"},
	} {
		cmd := exec.Command(bin("vsnat"), append([]string{"bench", "paper"}, strings.Fields(c.args)...)...)
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 2 {
			t.Errorf("bench paper %s: %v, want exit status 2", c.args, err)
		}
		if text := string(out); !strings.Contains(text, c.want) || strings.Contains(text, "raising") {
			t.Errorf("bench paper %s: %q, want %q", c.args, text, c.want)
		}
	}
}

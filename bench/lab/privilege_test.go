package lab

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func itoa(n int) string { return strconv.Itoa(n) }

// nobody is a user with no capability at all, on every Linux.
const nobody = 65534

// asNobody returns this test binary, called again without privileges for some
// of the tests. Main must get it a user namespace.
func asNobody(t *testing.T, run string) *exec.Cmd {
	t.Helper()
	if os.Geteuid() != 0 || os.Getenv(again) != "" {
		t.Skip("needs root, to become another user; without root all tests run in a user namespace anyway")
	}
	cmd := exec.Command("/proc/self/exe", "-test.v", "-test.run", run)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "TMPDIR=/tmp")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	return cmd
}

func TestClusterWithoutRoot(t *testing.T) {
	cmd := asNobody(t, "^(TestClientReachesServersThroughDirector|TestStartServesThePageOnEveryServer|TestCloseKillsEvenGrandchildren)$")
	out, err := cmd.CombinedOutput()
	if strings.Contains(string(out), "kernel refuses") {
		t.Skipf("needs user namespaces:\n%s", out)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if n := strings.Count(string(out), "--- PASS"); n < 3 || strings.Contains(string(out), "--- SKIP") {
		t.Errorf("%d tests passed, want at least 3 and none skipped:\n%s", n, out)
	}
}

// TestRefusalIsOneClearLine takes user namespaces away by the limit of a user
// namespace of its own, so that the machine's stays as it is.
func TestRefusalIsOneClearLine(t *testing.T) {
	needNamespaces(t)
	if os.Getenv(again) != "" {
		t.Skip("needs root, to become another user")
	}
	cmd := exec.Command("/proc/self/exe", "lab-test-refused")
	cmd.Dir = "/"
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 2}}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true,
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"--- SKIP", "CAP_NET_ADMIN", "user.max_user_namespaces=0"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the test does not say %q:\n%s", want, out)
		}
	}
}

// runRefused runs a test as user 1 of a user namespace that allows no other.
func runRefused() int {
	if err := os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0); err != nil {
		fmt.Println(err)
		return 1
	}
	cmd := exec.Command("/proc/self/exe", "-test.v", "-test.run", "^TestCommandRunsInsideHost$")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1, Gid: 1}}
	out, err := cmd.CombinedOutput()
	fmt.Printf("%s\n", out)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

package lab

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// refused is why [Main] could not get the capabilities; it is written before
// any test runs.
var refused error

// Missing says in one line what this process lacks to build a cluster; it is
// empty if it lacks nothing. Tests skip with it.
func Missing() string {
	switch {
	case privileged():
		return ""
	case refused != nil:
		return refused.Error()
	}
	return "a cluster needs CAP_SYS_ADMIN and CAP_NET_ADMIN, which this process has not"
}

// privileged tells whether the process may make namespaces and links.
func privileged() bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return false
	}
	const need = 1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_NET_ADMIN
	return data[0].Effective&need == need
}

// StartIsolated starts a command in new namespaces: those in flags (CLONE_NEWNET
// and so on) and, if this process lacks the capabilities to make them, a user
// namespace in which its user is root. The error is one line that says what is
// missing.
func StartIsolated(cmd *exec.Cmd, flags uintptr) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	attr := cmd.SysProcAttr
	attr.Cloneflags |= flags
	if privileged() {
		return cmd.Start()
	}
	attr.Cloneflags |= unix.CLONE_NEWUSER
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("a cluster needs CAP_SYS_ADMIN and CAP_NET_ADMIN or a user namespace, and the kernel refuses both%s: %w", userNamespaceHint(), err)
	}
	return nil
}

// userNamespaceHint names the setting that forbids user namespaces, if it is
// one of those known.
func userNamespaceHint() string {
	for _, s := range []struct{ path, bad, hint string }{
		{"/proc/sys/user/max_user_namespaces", "0", "user.max_user_namespaces=0"},
		{"/proc/sys/kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=0"},
		{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "kernel.apparmor_restrict_unprivileged_userns=1"},
	} {
		if b, err := os.ReadFile(s.path); err == nil && strings.TrimSpace(string(b)) == s.bad {
			return " (sysctl " + s.hint + ")"
		}
	}
	return ""
}

// again marks a test process that Main has started a second time.
const again = "VSNAT_LAB_TEST_ISOLATED"

// Main is for TestMain of packages whose tests build clusters:
//
//	func TestMain(m *testing.M) { lab.Main(m) }
//
// It never returns. Without the capabilities it runs the whole test binary
// again in a user namespace and a network namespace; if the kernel forbids
// that, the tests run where they are, and [Missing] says why they must skip.
// It also makes the test binary answer as the page server that [Start] starts.
func Main(m interface{ Run() int }) {
	if len(os.Args) > 2 && os.Args[1] == "lab" && os.Args[2] == "page" {
		os.Exit(PageMain(os.Args[3:]))
	}
	if len(os.Args) > 2 && os.Args[1] == "lab" && os.Args[2] == "decap" {
		os.Exit(DecapMain(os.Args[3:]))
	}
	if !privileged() && os.Getenv(again) == "" {
		code, err := runAgain()
		if err == nil {
			os.Exit(code)
		}
		refused = err
	}
	os.Exit(m.Run())
}

// runAgain runs this process's command line in new namespaces and returns its
// exit code.
func runAgain() (int, error) {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), again+"=1")
	err := RunIsolated(cmd)
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		return 0, err
	}
	return ExitCode(cmd.ProcessState), nil
}

// RunIsolated runs a command as root of new namespaces, on this process's standard
// files, until it ends. It gets the signals that are to end this process, so that it
// can clean up, and dies with it.
func RunIsolated(cmd *exec.Cmd) error {
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	defer signal.Stop(signals)
	done := make(chan struct{})
	defer close(done)
	if err := StartIsolated(cmd, unix.CLONE_NEWNET|unix.CLONE_NEWNS); err != nil {
		return err
	}
	go func() {
		for {
			select {
			case s := <-signals:
				_ = cmd.Process.Signal(s) // fails only if it has ended
			case <-done:
				return
			}
		}
	}()
	err := cmd.Wait()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		return fmt.Errorf("lab: %w", err)
	}
	return err
}

// ExitCode returns what a shell would say of an ended process: its exit code,
// or 128 and the number of the signal that killed it.
func ExitCode(s *os.ProcessState) int {
	if ws, ok := s.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return s.ExitCode()
}

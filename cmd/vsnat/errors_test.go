package main

import (
	"errors"
	"fmt"
	"os/exec"
	"syscall"
	"testing"

	"github.com/spf13/cobra"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/cmd/vsnat/internal/ipvsadm"
)

// Only a command that was run for the user has said all there is to say. One
// that was run for a purpose of ours has not: its failure is told.
func TestExitStatusOfCommands(t *testing.T) {
	child := exec.Command("sh", "-c", "exit 3").Run()
	killed := exec.Command("sh", "-c", "kill -9 $$").Run()
	for _, c := range []struct {
		name string
		err  error
		code int
		ok   bool
	}{
		{"an applet's status", ipvsadm.Status(255), 255, true},
		{"wrapped", fmt.Errorf("x: %w", ipvsadm.Status(2)), 2, true},
		{"ourselves once more, in a namespace", child, 3, true},
		{"that was killed", killed, 128 + 9, true},
		{"a process of ours failed", fmt.Errorf("bench: ipvsadm -A: %w: no such service", child), 0, false},
		{"joined with another error", errors.Join(child, errors.New("cannot clean up")), 0, false},
		{"any other", errors.New("x"), 0, false},
	} {
		code, ok := exitStatus(c.err)
		if code != c.code || ok != c.ok {
			t.Errorf("%s: %d, %v; want %d, %v", c.name, code, ok, c.code, c.ok)
		}
	}
}

func TestUsageErrors(t *testing.T) {
	leaf := &cobra.Command{Use: "leaf", Run: func(*cobra.Command, []string) {}}
	for text, want := range map[string]bool{
		`unknown flag: --x`:                              true,
		`unknown command "x" for "vsnat"`:                true,
		`invalid argument "x" for --guard: choose auto`:  true,
		`accepts 1 arg(s), received 0`:                   true,
		`if any flags in the group [a b] are set`:        true,
		`control: /run/vsnat.sock: no such file`:         false,
		`daemon: missing CAP_NET_RAW (packet sockets)`:   false,
		`nat: add-service tcp 192.0.2.1:80: file exists`: false,
	} {
		if got := isUsage(errors.New(text), leaf); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
	root := &cobra.Command{Use: "root"}
	root.AddCommand(leaf)
	if !isUsage(errors.New("anything"), root) {
		t.Error("a command that needs a subcommand is not told so")
	}
}

// An error is told without where in the program it arose.
func TestTold(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{errors.New("x: y"), "x: y"},
		{
			errors.New("if any flags in the group [full requests] are set none of the others can be; [full requests] were all set"),
			"--full and --requests exclude each other",
		},
		{fmt.Errorf("x: %w", &control.Error{Op: control.Set, Message: "nat: set drop_packet: 9 is not in 0..3"}), "set drop_packet: 9 is not in 0..3"},
		{&control.Error{Message: "daemon: nat: there"}, "there"},
		{errors.New("daemon: missing CAP_NET_RAW (packet sockets)"), "missing CAP_NET_RAW (packet sockets)"},
		{
			fmt.Errorf("control: nobody answers at /x: %w", control.ErrNotRunning),
			"nobody answers at /x: vsnat is not running; start it with `vsnat run', or set VSNAT_SOCKET to the socket that it has",
		},
		{fmt.Errorf("control: status: %w", syscall.EACCES), "the socket " + control.SocketPath() + " belongs to the user that runs vsnat, and its group if `vsnat run --socket-group' has named one: be one of them"},
		{fmt.Errorf("open x: %w", syscall.EACCES), "open x: permission denied"},
	} {
		if got := told(c.err); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

// What cobra says of options that exclude each other is still what is put into
// plain words.
func TestOptionsThatExclude(t *testing.T) {
	cmd := &cobra.Command{Use: "x", RunE: func(*cobra.Command, []string) error { return nil }, SilenceErrors: true, SilenceUsage: true}
	cmd.Flags().Bool("a", false, "")
	cmd.Flags().Bool("b", false, "")
	cmd.MarkFlagsMutuallyExclusive("a", "b")
	cmd.SetArgs([]string{"--a", "--b"})
	err := cmd.Execute()
	if err == nil || told(err) != "--a and --b exclude each other" || !isUsage(err, cmd) {
		t.Errorf("%v", err)
	}
}

package main

import (
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"vsnat/bench/lab"
	"vsnat/cmd/vsnat/internal/control"
)

// exitStatus returns the exit status of a command that was run for the user, if
// that is what the error tells: its output is all there is to say. A process
// that was run for a purpose of ours has failed us instead, which the error
// around its own one explains.
func exitStatus(err error) (code int, ok bool) {
	if child, bare := err.(*exec.ExitError); bare {
		return lab.ExitCode(child.ProcessState), true
	}
	var exit interface {
		error
		ExitCode() int
	}
	if !errors.As(err, &exit) {
		return 0, false
	}
	if _, ours := exit.(*exec.ExitError); ours {
		return 0, false
	}
	return exit.ExitCode(), true
}

// isUsage reports whether the command line itself was wrong: cobra has no type
// for that, but fixed beginnings.
func isUsage(err error, cmd *cobra.Command) bool {
	for _, begin := range []string{
		"unknown ", "invalid argument", "flag needs an argument", "accepts ", "requires at least", "bad flag syntax", "required flag", "if any flags in the group",
	} {
		if strings.HasPrefix(err.Error(), begin) {
			return true
		}
	}
	return cmd.HasSubCommands() && !cmd.Runnable()
}

// told returns an error in words for whoever typed the command: they gave no list
// of commands and know of no packages of ours.
func told(err error) string {
	refused := (*control.Error)(nil)
	switch {
	case errors.As(err, &refused):
		return bare(refused.Message)
	case errors.Is(err, control.ErrNotRunning):
		return bare(err.Error()) + "; start it with `vsnat run', or set VSNAT_SOCKET to the socket that it has"
	case errors.Is(err, syscall.EACCES) && strings.HasPrefix(err.Error(), "control: "):
		return fmt.Sprintf("the socket %s belongs to the user that runs vsnat, and its group if `vsnat run --socket-group' has named one: be one of them", control.SocketPath())
	}
	if text, ok := exclusive(err.Error()); ok {
		return text
	}
	return bare(err.Error())
}

// exclusive puts into plain words what cobra says of options that exclude each
// other: "if any flags in the group [a b] are set none of the others can be; [a b]
// were all set".
func exclusive(text string) (string, bool) {
	_, set, ok := strings.Cut(text, "none of the others can be; [")
	names, _, closed := strings.Cut(set, "] were all set")
	if !ok || !closed {
		return "", false
	}
	return "--" + strings.ReplaceAll(names, " ", " and --") + " exclude each other", true
}

// bare cuts off the names of packages that an error begins with.
func bare(text string) string {
	for {
		who, rest, ok := strings.Cut(text, ": ")
		if !ok || !slices.Contains(packages, who) {
			return text
		}
		text = rest
	}
}

// packages are those whose errors reach the user.
var packages = []string{"control", "daemon", "nat", "guard", "life", "config", "neigh", "afpacket"}

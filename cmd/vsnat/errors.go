package main

import (
	"errors"
	"os/exec"
	"strings"

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

// plain returns a director's refusal in the words of whoever refused: the verb's
// user gave no list of commands and knows of no packages.
func plain(err error) error {
	refused := (*control.Error)(nil)
	if !errors.As(err, &refused) {
		return err
	}
	words := refused.Message
	for _, who := range []string{"daemon: ", "nat: ", "guard: "} {
		words = strings.TrimPrefix(words, who)
	}
	return errors.New(words)
}

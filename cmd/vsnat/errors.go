package main

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"
)

// asExit finds an error that carries the exit status of a command that was run
// for the user. Its output is all there is to say.
func asExit(err error, exit *interface{ ExitCode() int }) bool {
	return errors.As(err, exit)
}

// isUsage reports whether the command line itself was wrong: cobra has no type
// for that, but fixed beginnings.
func isUsage(err error, cmd *cobra.Command) bool {
	for _, begin := range []string{
		"unknown ", "invalid argument", "flag needs an argument", "accepts ", "requires at least", "bad flag syntax", "required flag",
	} {
		if strings.HasPrefix(err.Error(), begin) {
			return true
		}
	}
	return cmd.HasSubCommands() && !cmd.Runnable()
}

package ipvsadm

import (
	"fmt"

	"github.com/spf13/cobra"
)

// Status is a non-zero exit code, as an error for callers between here and
// os.Exit. What was wrong has been printed.
type Status int

func (s Status) Error() string { return fmt.Sprintf("ipvsadm: exit status %d", int(s)) }

// ExitCode returns the code.
func (s Status) ExitCode() int { return int(s) }

// Command returns the verb `vsnat ipvsadm`, which passes all that follows to
// [Run]. It fails with a [Status].
func Command() *cobra.Command {
	return &cobra.Command{
		Use:                "ipvsadm ARGS...",
		Short:              "Change and list services as ipvsadm does",
		Example:            "  vsnat ipvsadm -A -t 192.168.28.167:80 -s rr\n  vsnat ipvsadm -L -n",
		DisableFlagParsing: true,
		ValidArgsFunction:  completeArgs,
		SilenceErrors:      true,
		SilenceUsage:       true,
		RunE: func(c *cobra.Command, args []string) error {
			if code := Run(c.CommandPath(), args); code != codeOK {
				return Status(code)
			}
			return nil
		},
	}
}

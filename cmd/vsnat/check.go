package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"vsnat/cmd/vsnat/internal/complete"
	"vsnat/cmd/vsnat/internal/config"
)

// silentError is a refusal that was told already, where it happened.
type silentError struct{}

func (silentError) Error() string { return "refused" }
func (silentError) ExitCode() int { return 1 }

func checkCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "Find everything that is wrong with a configuration file",
		Long: `Find everything that is wrong with a configuration file, without a director
and without being root. FILE may be a directory: then its files *.toml are read
as if they were one. docs/vsnat.toml has every key.

Each problem is printed with its file, line and column, the line itself and what
to do. The exit status is 0 if there are none, or only warnings, and 1 else.`,
		Example: `  vsnat check /etc/vsnat.toml
  vsnat check --json conf.d`,
		Args: cobra.ExactArgs(1),

		ValidArgsFunction: complete.TOML,
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, problems, err := config.Load(args[0])
			if err != nil && problems == nil {
				return err
			}
			if asJSON {
				if problems == nil {
					problems = config.Problems{}
				}
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				if err := enc.Encode(problems); err != nil {
					return err
				}
			} else {
				problems.Print(cmd.ErrOrStderr())
				summarize(cmd.OutOrStdout(), args[0], cfg, problems)
			}
			if err != nil {
				return silentError{}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// summarize says in one line what was found.
func summarize(w io.Writer, name string, cfg *config.Config, problems config.Problems) {
	if errs := len(problems.Errors()); errs > 0 {
		fmt.Fprintf(w, "%s: %s\n", name, count(errs, "error"))
		return
	}
	virtuals := cfg.Virtuals()
	servers := 0
	for i := range virtuals {
		servers += len(virtuals[i].Servers)
	}
	fmt.Fprintf(w, "%s: good: %s, %s", name, count(len(virtuals), "virtual service"), count(servers, "real server"))
	if n := len(cfg.Marks); n > 0 {
		fmt.Fprintf(w, ", %s", count(n, "mark rule"))
	}
	if n := len(cfg.Addresses); n > 0 {
		fmt.Fprintf(w, ", %s", plural(n, "address", "addresses"))
	}
	if n := len(problems); n > 0 {
		fmt.Fprintf(w, "; %s", count(n, "warning"))
	}
	fmt.Fprintln(w)
}

// count returns "1 service", "2 services".
func count(n int, what string) string { return plural(n, what, what+"s") }

func plural(n int, one, many string) string {
	if n == 1 {
		return fmt.Sprintf("1 %s", one)
	}
	return fmt.Sprintf("%d %s", n, many)
}

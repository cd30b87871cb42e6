package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"vsnat/cmd/vsnat/internal/complete"
	"vsnat/cmd/vsnat/internal/config"
	"vsnat/cmd/vsnat/internal/control"
	"vsnat/cmd/vsnat/internal/plan"
)

func planCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "plan [FILE]",
		Short: "Show what it would take to be as a configuration file says",
		Long: `Show what would have to change for the running director to be as a configuration
file says, and how many live connections that is about. Nothing is changed.
Without FILE it is the director's own; FILE may be a directory of *.toml files.

  +  is added            ~  is changed          !  is drained (weight 0)
  -  is removed

What others have changed since the file was applied, with ipvsadm for example,
is told apart: a reload keeps it where the file has not changed in the same
place. With drift = "undo" in the file a reload makes all as the file says.`,
		Example: `  vsnat plan
  vsnat plan /etc/vsnat.toml
  vsnat plan --json new.toml`,
		Args: cobra.MaximumNArgs(1),

		ValidArgsFunction: complete.TOML,
		RunE: func(cmd *cobra.Command, args []string) error {
			var files []control.File
			if len(args) > 0 {
				texts, err := config.ReadFiles(args[0])
				if err != nil {
					return err
				}
				_, problems := config.Parse(texts...)
				problems.Print(cmd.ErrOrStderr())
				if n := len(problems.Errors()); n > 0 {
					return fmt.Errorf("%s: %s", args[0], count(n, "error"))
				}
				for _, f := range texts {
					files = append(files, control.File{Name: f.Name, Text: string(f.Text)})
				}
			}
			c := control.NewClient(control.SocketPath())
			defer c.Close()
			var p plan.Plan
			if err := c.Plan(cmd.Context(), files, &p); err != nil {
				return err
			}
			return printPlan(cmd, &p, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printPlan(cmd *cobra.Command, p *plan.Plan, asJSON bool) error {
	if !asJSON {
		return p.Print(cmd.OutOrStdout())
	}
	enc := json.NewEncoder(cmd.OutOrStdout())
	enc.SetIndent("", "  ")
	return enc.Encode(p)
}

func reloadCommand() *cobra.Command {
	var asJSON bool
	var confirm time.Duration
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Have the director read its configuration file again",
		Long: `Have the director read its configuration file again and be as it says: all of it
or, if the file is wrong or anything in it is refused, nothing. SIGHUP does the
same, and logs what became of it. vsnat plan shows beforehand what will change.

With --confirm the director goes back to what there was after that time, unless
vsnat confirm tells that all is well: for changes that may cut off the one who
makes them.`,
		Example: `  vsnat plan && vsnat reload
  vsnat reload --confirm 60s && curl -s http://192.0.2.1/ && vsnat confirm`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if confirm != 0 && confirm < time.Second {
				return fmt.Errorf("invalid argument %s for --confirm: at least 1s", confirm)
			}
			c := control.NewClient(control.SocketPath())
			defer c.Close()
			var p plan.Plan
			if err := c.Reload(cmd.Context(), confirm, &p); err != nil {
				return err
			}
			if err := printPlan(cmd, &p, asJSON); err != nil {
				return err
			}
			if confirm > 0 {
				fmt.Fprintf(cmd.ErrOrStderr(), "This is undone in %s unless `vsnat confirm' is run before.\n", confirm)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().DurationVar(&confirm, "confirm", 0, "go back after this time, 1s to 24h, unless there is a vsnat confirm")
	return cmd
}

func confirmCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "confirm",
		Short:   "Keep what vsnat reload --confirm did",
		Example: "  vsnat reload --confirm 60s\n  vsnat confirm",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c := control.NewClient(control.SocketPath())
			defer c.Close()
			return c.Confirm(cmd.Context())
		},
	}
}

package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/cmd/vsnat/internal/top"
)

func topCommand() *cobra.Command {
	var every time.Duration
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Show what the director does now, on a full screen",
		Long: `Show what the director does now, on a full screen: connections, rates, latency
against the budget, drops, and services with their servers, the busiest first.

The latency, what became of frames, and drops are those since the last look; the
bar is as full as the 99th percentile of latency fills the budget. The slowest
packet is that of the last minute, with where its time went: vsnat latency tells
which it was, and of others. Rates are the kernel's two-second estimates.

  q, Esc, ^C  ends             s  sorts by traffic, connections or name
  arrows, j, k, Page Up, Page Down, Home  move through the services

NO_COLOR is respected. The same for programs: vsnat status, drops, latency and
server, with --json and --watch.`,
		Example: "  vsnat top\n  vsnat top --every 1s\n  ssh -t director vsnat top",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if every < leastWatch {
				return fmt.Errorf("invalid argument %s for --every: at least %s", every, leastWatch)
			}
			if !term.IsTerminal(int(os.Stdout.Fd())) || !term.IsTerminal(int(os.Stdin.Fd())) {
				return errors.New("top needs a terminal; `vsnat status --watch' and its like need none")
			}
			c := control.NewClient(control.SocketPath())
			defer c.Close()
			return top.Run(cmd.Context(), os.Stdin, os.Stdout, c, every)
		},
	}
	cmd.Flags().DurationVar(&every, "every", top.Every, "how often to look")
	return cmd
}

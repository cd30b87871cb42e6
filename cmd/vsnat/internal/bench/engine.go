package bench

import (
	"errors"
	"fmt"
	"os/signal"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"vsnat/bench"
)

// engineSizes are the numbers of connections, without and with --quick.
var (
	engineSizes = []int{1_000, 100_000, 1_000_000, 10_000_000}
	quickSizes  = []int{1_000, 100_000}
)

// maxSize is the largest number of connections that can be asked for: the
// clients' addresses end there.
const maxSize = 100_000_000

func engineCommand() *cobra.Command {
	var (
		quick bool
		file  string
	)
	cfg := bench.EngineConfig{Packets: 1_000_000, New: 1 << 19, Pair: 100_000, Window: 300 * time.Millisecond}
	cmd := &cobra.Command{
		Use:   "engine",
		Short: "Measure the engine in memory: cost of a packet, of a connection, two workers",
		Long: `Measure the engine in memory, without any NIC: what a packet costs with a
thousand to ten million connections, new connections a second, memory, and two
workers at once. It needs no privileges; ten million connections take 2 GB of
memory and are left out where that is not free. Exit status 0 whatever the
figures are.`,
		Example: `  vsnat bench engine
  vsnat bench engine --quick
  vsnat bench engine --sizes 1000,5000000 --rounds 9 --out engine.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if quick && !cmd.Flags().Changed("sizes") {
				cfg.Sizes = quickSizes
			}
			if quick && !cmd.Flags().Changed("rounds") {
				cfg.Rounds = quickRounds
			}
			if cfg.Rounds < 1 || cfg.Rounds > 1000 {
				return errors.New("invalid argument: --rounds is from 1 to 1000")
			}
			for _, n := range cfg.Sizes {
				if n < 1 || n > maxSize {
					return fmt.Errorf("invalid argument %d for --sizes: from 1 to %d connections", n, maxSize)
				}
			}
			if err := writable(file); err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGINT, unix.SIGTERM)
			defer stop()
			progress := newProgress(cmd.ErrOrStderr())
			cfg.Step = progress.step
			res, err := bench.Engine(ctx, cfg)
			progress.finish()
			if err != nil {
				return progress.interrupted(ctx, err)
			}
			res.WriteReport(cmd.OutOrStdout())
			if file != "" {
				return writeJSON(file, res)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.BoolVar(&quick, "quick", false, "three rounds, up to 100,000 connections")
	f.IntVar(&cfg.Rounds, "rounds", pathRounds, "times that everything is measured")
	f.IntSliceVar(&cfg.Sizes, "sizes", engineSizes, "numbers of connections")
	f.StringVar(&file, "out", "", "also write everything, raw figures included, to this file as JSON")
	return cmd
}

package bench

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"vsnat/bench"
)

// What grows in `vsnat bench scale', without and with --quick.
var (
	scaleConnections = []int{1_000, 10_000, 100_000, 1_000_000, 10_000_000}
	scaleServices    = []int{1, 10, 100, 1_000, 5_000}
	scaleServers     = []int{1, 10, 100, 1_000}
)

const (
	maxScaleServices = 10_000
	maxScaleServers  = 10_000
)

func scaleCommand() *cobra.Command {
	var (
		quick            bool
		file, docs, path string
	)
	cfg := bench.ScaleConfig{Base: 100_000, Packets: 500_000, New: 1 << 16}
	cmd := &cobra.Command{
		Use:   "scale",
		Short: "Measure how the cost of packets and connections grows, and compute what links take",
		Long: `Measure, in memory and without any NIC, what a packet and what a new connection
cost as connections, services and servers become more, and compute from that what
directors for links of 10, 25 and 100 Gbit/s take. It needs no privileges; ten
million connections take 2 GB of memory and are left out where that is not free.
With --docs DIR the figures go into DIR/scale.md, and pictures beside it.`,
		Example: `  vsnat bench scale
  vsnat bench scale --quick
  vsnat bench path --out path.json && vsnat bench scale --path path.json --docs docs
  vsnat bench scale --connections 1000,5000000 --rounds 9 --out scale.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if quick {
				cfg.Base, cfg.Packets = 10_000, 100_000
				for _, o := range []struct {
					option string
					list   *[]int
					most   int
				}{{"connections", &cfg.Connections, 100_000}, {"services", &cfg.Services, 1_000}, {"servers", &cfg.Servers, 1_000}} {
					if !cmd.Flags().Changed(o.option) {
						*o.list = upTo(*o.list, o.most)
					}
				}
				if !cmd.Flags().Changed("rounds") {
					cfg.Rounds = quickRounds
				}
			}
			if cfg.Rounds < 1 || cfg.Rounds > bench.MaxScaleRounds {
				return fmt.Errorf("invalid argument %d for --rounds: from 1 to %d", cfg.Rounds, bench.MaxScaleRounds)
			}
			for _, o := range []struct {
				option string
				list   []int
				least  int
				most   int
			}{
				{"connections", cfg.Connections, 1, maxSize},
				{"services", cfg.Services, 1, maxScaleServices},
				{"servers", cfg.Servers, 1, maxScaleServers},
			} {
				for _, n := range o.list {
					if n < o.least || n > o.most {
						return fmt.Errorf("invalid argument %d for --%s: from %d to %d", n, o.option, o.least, o.most)
					}
				}
			}
			if err := writable(file); err != nil {
				return err
			}
			if docs != "" {
				if _, err := os.Stat(filepath.Join(docs, "scale.md")); err != nil {
					return fmt.Errorf("invalid argument %q for --docs: the directory has no scale.md to put figures into: %w", docs, err)
				}
			}
			director := 0.0
			if path != "" { // before the time is spent
				var err error
				if director, err = bench.DirectorCost(path); err != nil {
					return err
				}
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGINT, unix.SIGTERM)
			defer stop()
			progress := newProgress(cmd.ErrOrStderr())
			cfg.Step = progress.step
			res, err := bench.Scale(ctx, cfg)
			progress.finish()
			if err != nil {
				return progress.interrupted(ctx, err)
			}
			res.Compute(director)
			res.WriteReport(cmd.OutOrStdout())
			if docs != "" {
				if err := res.WriteDocs(docs); err != nil {
					return err
				}
			}
			if file != "" {
				return writeJSON(file, res)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.BoolVar(&quick, "quick", false, "three rounds, up to 100,000 connections and 1,000 services")
	f.IntVar(&cfg.Rounds, "rounds", pathRounds, "times that everything is measured")
	f.IntSliceVar(&cfg.Connections, "connections", scaleConnections, "numbers of connections")
	f.IntSliceVar(&cfg.Services, "services", scaleServices, "numbers of services")
	f.IntSliceVar(&cfg.Servers, "servers", scaleServers, "numbers of servers of one service")
	f.StringVar(&path, "path", "", "take what the director's NICs cost from what `vsnat bench path' wrote to this `FILE`")
	f.StringVar(&docs, "docs", "", "also put figures and pictures into `DIR`, which has a scale.md")
	f.StringVar(&file, "out", "", "also write everything, raw figures included, to this file as JSON")
	return cmd
}

// upTo returns those numbers that are at most that large.
func upTo(list []int, most int) (all []int) {
	for _, n := range list {
		if n <= most {
			all = append(all, n)
		}
	}
	return all
}

package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"vsnat/bench/conformance"
)

// recordVerb is what the program is run with in a guest.
const recordVerb = "conformance-kernel"

func conformanceCommand() *cobra.Command {
	var (
		c          conformance.Config
		seeds      int
		schedulers []string
		guest      string
		save, load string
		asJSON     bool
	)
	cmd := &cobra.Command{
		Use:   "conformance",
		Short: "Compare with the kernel's own IPVS: the same random commands and packets to both",
		Long: `Compare vsnat's engine with the kernel's own IPVS: the same random commands and
packets to both, and after each step the packets that left, to the byte, the
refusals, and the servers' listings; now and then the connection tables and, as
the kernel counts them every two seconds, the counters. The first difference of
each run is printed with what led to it.

It needs root (of the host: IPVS obeys no other) and a kernel with IPVS and TUN
devices; all happens in network namespaces of its own. Where this machine's
kernel has no IPVS, --guest names a shell command that boots one that has: its
last argument will be a script that it must run in the guest as root, with this
machine's files at their places, and whose standard output must become its own.

Exit status 1 if anything is different.`,
		Example: `  vsnat bench conformance
  vsnat bench conformance --scheduler wrr --scheduler mh --seed 7 --seeds 20
  vsnat bench conformance --guest 'boot-ipvs-guest --memory 1G'
  vsnat bench conformance --save kernel.rec    # later: --load kernel.rec, without a kernel`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if c.Steps < 1 || seeds < 1 {
				return errors.New("invalid argument: --steps and --seeds are at least 1")
			}
			for _, s := range schedulers {
				if s != conformance.FTP && !slices.Contains(conformance.Schedulers(), s) {
					return fmt.Errorf("invalid argument %q for --scheduler: one of %s", s, strings.Join(conformance.Schedulers(), ", "))
				}
			}
			var rec conformance.Recording
			var err error
			if load != "" {
				rec, err = conformance.Load(load)
			} else {
				rec, err = record(cmd, plan(c, schedulers, seeds), guest)
			}
			if err == nil && save != "" {
				err = rec.Save(save)
			}
			if err != nil {
				return err
			}
			rep, err := conformance.CompareAll(&rec)
			if err != nil {
				return err
			}
			if asJSON {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				if err := enc.Encode(rep); err != nil {
					return err
				}
			} else {
				rep.Write(cmd.OutOrStdout())
			}
			if n := rep.Differences(); n > 0 {
				return fmt.Errorf("bench: %d of %d runs differ from the kernel", n, len(rep.Results))
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.Uint64Var(&c.Seed, "seed", 1, "the first run's seed")
	f.IntVar(&seeds, "seeds", 3, "runs for each scheduler, each with a seed of its own")
	f.IntVar(&c.Steps, "steps", 2000, "steps of each run")
	f.StringArrayVar(&schedulers, "scheduler", conformance.Schedulers(), "only this scheduler (may be repeated); mixed is all of them in one run, ftp is FTP sessions, for kernels with ip_vs_ftp loaded")
	f.BoolVar(&c.NoThresholds, "no-thresholds", false, "no thresholds: kernels before 6.1.183 treat them otherwise")
	f.BoolVar(&c.IPv6, "ipv6", false, "the same over IPv6")
	f.BoolVar(&c.Wide, "wide", false, "also SCTP, and settings that few have on: schedule_icmp, nat_icmp_send, cache_bypass, sloppy_sctp")
	f.StringVar(&guest, "guest", "", "shell command that boots a guest with IPVS and runs a script in it")
	f.StringVar(&save, "save", "", "also write what the kernel did to this file")
	f.StringVar(&load, "load", "", "compare with what --save wrote, and ask no kernel")
	f.BoolVar(&asJSON, "json", false, "print the result as JSON")
	for _, other := range []string{"guest", "save", "seed", "seeds", "steps", "scheduler", "no-thresholds", "ipv6", "wide"} {
		cmd.MarkFlagsMutuallyExclusive("load", other)
	}
	return cmd
}

// plan makes runs like c, for each of the schedulers and with seeds from c's on.
func plan(c conformance.Config, schedulers []string, seeds int) (runs []conformance.Run) {
	for _, c.Scheduler = range schedulers {
		for i := range seeds {
			next := c
			next.Seed += uint64(i)
			runs = append(runs, conformance.Generate(next))
		}
	}
	return runs
}

// record has this machine's kernel do the runs, or a guest's.
func record(cmd *cobra.Command, runs []conformance.Run, guest string) (rec conformance.Recording, err error) {
	ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	if guest == "" {
		if rec, err = conformance.RecordKernel(ctx, runs, ended(cmd)); err != nil && ctx.Err() == nil {
			err = fmt.Errorf("%w (with --guest, the kernel of a guest is asked instead)", err)
		}
	} else {
		var program string
		if program, err = os.Executable(); err == nil {
			rec, err = conformance.Guest(ctx, guest, program, []string{"bench", recordVerb}, runs, cmd.ErrOrStderr())
		}
	}
	rec.Runs = runs
	return rec, err
}

// ended tells the user of each run that is through.
func ended(cmd *cobra.Command) func(conformance.Config) {
	return func(c conformance.Config) { fmt.Fprintf(cmd.ErrOrStderr(), "recorded: %s\n", c) }
}

// recordCommand is what runs in a guest.
func recordCommand() *cobra.Command {
	return &cobra.Command{
		Use:     recordVerb + " FILE",
		Short:   "Have this machine's kernel do the runs in FILE, and write what it did",
		Example: "  vsnat bench " + recordVerb + " runs.json",
		Args:    cobra.ExactArgs(1),
		Hidden:  true,
		RunE: func(cmd *cobra.Command, args []string) error {
			runs, err := conformance.ReadRuns(args[0])
			if err != nil {
				return err
			}
			rec, err := conformance.RecordKernel(context.Background(), runs, ended(cmd))
			if err != nil {
				return err
			}
			return rec.Write(cmd.OutOrStdout())
		},
	}
}

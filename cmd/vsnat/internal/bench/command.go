// Package bench is the verb `vsnat bench`: measuring, on one machine.
package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync/atomic"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"vsnat/bench"
	"vsnat/bench/lab"
	"vsnat/sched"
)

// Command returns the verb.
func Command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure, and compare with the kernel",
		Example: `  vsnat bench paper
  vsnat bench path --quick
  vsnat bench engine
  vsnat bench conformance`,
	}
	cmd.AddCommand(paperCommand(), pathCommand(), engineCommand(), scaleCommand(), conformanceCommand(), loadCommand(), partCommand(), recordCommand())
	return cmd
}

func paperCommand() *cobra.Command {
	var (
		full, noLimit         bool
		requests, concurrency int
		scheduler, file       string
	)
	cmd := &cobra.Command{
		Use:   "paper",
		Short: "Do the paper's experiment in network namespaces of this machine",
		Long: `Do the paper's experiment in network namespaces of this machine: requests to one
real server directly, then to the virtual address of four, and print what came
of it beside the paper's tables. Needs root, or a kernel that allows user
namespaces. Exit status 1 if a request failed, or a server ended in its midst.`,
		Example: `  vsnat bench paper
  vsnat bench paper --full            # the paper's 10,000 and 100,000 requests
  vsnat bench paper --no-limit        # servers as fast as they can
  vsnat bench paper --json paper.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if requests < 1 || concurrency < 1 {
				return errors.New("invalid argument: --requests and --concurrency are at least 1")
			}
			if _, err := sched.New(scheduler); err != nil {
				return fmt.Errorf("invalid argument %q for --scheduler: choose one of %s", scheduler, strings.Join(sched.Names(), ", "))
			}
			if err := writable(file); err != nil {
				return err
			}
			if lab.Missing() != "" {
				return isolated()
			}
			cfg := bench.PaperConfig{
				Sizes: []int{requests}, Requests: requests, Concurrency: concurrency,
				Rate: bench.PaperRate, Scheduler: scheduler,
			}
			if full {
				cfg.Sizes, cfg.Requests = []int{bench.TableI.Requests, bench.TableII.Requests}, bench.TableIII.Requests
			}
			if noLimit {
				cfg.Rate = 0
			}
			return paper(cmd, cfg, file)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&full, "full", false, "the paper's numbers of requests: 10,000 and 100,000")
	f.BoolVar(&noLimit, "no-limit", false, "do not hold the real servers to a rate")
	f.IntVar(&requests, "requests", bench.TableI.Requests, "requests of each run")
	f.IntVar(&concurrency, "concurrency", 16, "clients at a time")
	f.StringVar(&scheduler, "scheduler", "rr", "the director's scheduler")
	f.StringVar(&file, "json", "", "also write the result to this file")
	cmd.MarkFlagsMutuallyExclusive("full", "requests")
	return cmd
}

func paper(cmd *cobra.Command, cfg bench.PaperConfig, file string) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	cfg.Program = program
	progress := newProgress(cmd.ErrOrStderr())
	cfg.Step = progress.step
	res, err := bench.Paper(ctx, cfg)
	progress.finish()
	if err != nil {
		return progress.interrupted(ctx, err)
	}
	res.WriteReport(cmd.OutOrStdout())
	if file != "" {
		if err := writeJSON(file, res); err != nil {
			return err
		}
	}
	if lost := res.Lost(); len(lost) > 0 {
		return fmt.Errorf("bench: %w; %d requests failed", errors.Join(lost...), res.Failed())
	}
	if n := res.Failed(); n > 0 {
		return fmt.Errorf("bench: %d requests failed", n)
	}
	return nil
}

// writable returns why a result could not be written to the file, "" is none: before
// the time is spent.
func writable(file string) error {
	if file == "" {
		return nil
	}
	_, missing := os.Stat(file)
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE, 0o644)
	if err == nil {
		err = f.Close()
	}
	if err == nil && missing != nil {
		err = os.Remove(file)
	}
	if err != nil {
		return fmt.Errorf("bench: the result cannot be written: %w", err)
	}
	return nil
}

func writeJSON(file string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err == nil {
		err = os.WriteFile(file, append(b, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("bench: write the result: %w", err)
	}
	return nil
}

// isolated runs this same command line again as root of a user namespace.
func isolated() error {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	return lab.RunIsolated(cmd)
}

// loadCommand is the process that [bench.Paper] starts on the client.
func loadCommand() *cobra.Command {
	var l bench.Load
	cmd := &cobra.Command{
		Use:     "load HOST:PORT",
		Short:   "Send requests as ab does, and print the result as JSON",
		Example: "  vsnat bench load --requests 1000 --concurrency 4 192.0.2.1:80",
		Args:    cobra.ExactArgs(1),
		Hidden:  true,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGINT, unix.SIGTERM)
			defer stop()
			l.Address, l.Progress = args[0], new(atomic.Int64)
			return report(ctx, cmd.OutOrStdout(), &l)
		},
	}
	cmd.Flags().IntVar(&l.Requests, "requests", 1000, "requests in all")
	cmd.Flags().IntVar(&l.Concurrency, "concurrency", 1, "clients at a time")
	cmd.Flags().IntVar(&l.Length, "length", 0, "length of the page in bytes; 0 takes any")
	return cmd
}

func report(ctx context.Context, w io.Writer, l *bench.Load) error {
	if l.Requests < 1 || l.Concurrency < 1 {
		return errors.New("invalid argument: --requests and --concurrency are at least 1")
	}
	return l.Report(ctx, w)
}

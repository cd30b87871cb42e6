package bench

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"vsnat/bench"
	"vsnat/bench/lab"
)

// Rounds and times of `bench path`, and with --quick.
const (
	pathRounds, quickRounds = 5, 3
	pathWindow, quickWindow = time.Second, 200 * time.Millisecond
	pathWarm, quickWarm     = 300 * time.Millisecond, 100 * time.Millisecond
)

// quickLoads leaves out the load that needs seconds to warm up.
var quickLoads = []string{"udp-1k", "udp-pace", "tcp-1", "tcp-16", "rr", "http"}

func pathCommand() *cobra.Command {
	var (
		cfg   bench.PathConfig
		quick bool
		file  string
		args  string
	)
	var names []string
	for _, l := range bench.PathLoads() {
		names = append(names, l.Name)
	}
	cmd := &cobra.Command{
		Use:   "path",
		Short: "Measure vsnat beside the kernel's forwarding, nftables and IPVS",
		Long: `Measure vsnat beside the kernel's forwarding, nftables and, where the kernel has
it, IPVS: the same services on the same network namespaces, peer after peer, in
another order each round. It makes its own namespaces and leaves nothing, however
it ends. Needs root, or a kernel that allows user namespaces; takes some minutes,
with --quick about half a one. Exit status 0 whatever the figures are.`,
		Example: `  vsnat bench path
  vsnat bench path --quick
  vsnat bench path --loads udp-1k,rr --rounds 9 --out path.json
  vsnat bench path --check              # our generators beside iperf3, ab and wrk
  vsnat bench path --director "--spin 50us"
  vsnat bench path --loads tcp-1,tcp-16 --no-offload --director "--merge"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if quick {
				for flag, set := range map[string]func(){
					"rounds": func() { cfg.Rounds = quickRounds },
					"window": func() { cfg.Window = quickWindow },
					"warm":   func() { cfg.Warm = quickWarm },
					"loads":  func() { cfg.Loads = quickLoads },
				} {
					if !cmd.Flags().Changed(flag) {
						set()
					}
				}
			}
			if err := checkPath(&cfg, names); err != nil {
				return err
			}
			if err := writable(file); err != nil {
				return err
			}
			if lab.Missing() != "" {
				return isolated()
			}
			cfg.Args = strings.Fields(args)
			return path(cmd, cfg, file)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&quick, "quick", false, "three short rounds, without udp-1m")
	f.IntVar(&cfg.Rounds, "rounds", pathRounds, "times that every peer does every load")
	f.DurationVar(&cfg.Window, "window", pathWindow, "how long each load is measured")
	f.DurationVar(&cfg.Warm, "warm", pathWarm, "how long each load runs before that")
	f.StringSliceVar(&cfg.Loads, "loads", nil, "only these: "+strings.Join(names, ", "))
	f.BoolVar(&cfg.Check, "check", false, "compare our generators with iperf3, ab and wrk, those that are installed")
	f.BoolVar(&cfg.Segments, "no-offload", false, "client and server send TCP segments one by one, which arrive as from a wire without GRO")
	f.StringVar(&args, "director", "", "more arguments for `vsnat run`")
	f.StringVar(&file, "out", "", "also write everything, raw figures included, to this file as JSON")
	return cmd
}

func checkPath(cfg *bench.PathConfig, names []string) error {
	if cfg.Rounds < 1 || cfg.Rounds > 1000 {
		return errors.New("invalid argument: --rounds is from 1 to 1000")
	}
	for flag, d := range map[string]time.Duration{"window": cfg.Window, "warm": cfg.Warm} {
		if d < 10*time.Millisecond || d > time.Minute {
			return fmt.Errorf("invalid argument: --%s is from 10ms to 1m", flag)
		}
	}
	for _, l := range cfg.Loads {
		if !strings.Contains(","+strings.Join(names, ",")+",", ","+l+",") {
			return fmt.Errorf("invalid argument %q for --loads: choose from %s", l, strings.Join(names, ", "))
		}
	}
	return nil
}

func path(cmd *cobra.Command, cfg bench.PathConfig, file string) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	cfg.Program = program
	progress := newProgress(cmd.ErrOrStderr())
	cfg.Step = progress.step
	res, err := bench.Path(ctx, cfg)
	progress.finish()
	if err != nil {
		return progress.interrupted(ctx, err)
	}
	res.WriteReport(cmd.OutOrStdout())
	if file != "" {
		return writeJSON(file, res)
	}
	return nil
}

// partCommand is a process that [bench.Path] starts.
func partCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "part",
		Short:   "Be a part of a measurement, by JSON on standard input",
		Example: `  echo '{"kind":"http","target":"192.0.2.1:80","source":"192.0.2.9","connections":4}' | vsnat bench part`,
		Args:    cobra.NoArgs,
		Hidden:  true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return bench.Part(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
}

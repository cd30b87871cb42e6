package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"vsnat/cmd/vsnat/internal/complete"
	"vsnat/cmd/vsnat/internal/config"
	"vsnat/cmd/vsnat/internal/control"
	"vsnat/cmd/vsnat/internal/daemon"
	"vsnat/nic/guard"
)

func runCommand() *cobra.Command {
	cfg := daemon.Config{Socket: control.SocketPath()}
	var debug bool
	var group, file string
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the director in the foreground",
		Long: `Run the director in the foreground. It takes packets from all Ethernet
interfaces of its network namespace but loopback and ports of a bridge or
bond, unless -i names some. Services are what the configuration file says, if
there is one, and what is added with ipvsadm, or vsnat ipvsadm. Options go before
what the file says. SIGHUP, like vsnat reload, has the file read again. SIGTERM or
SIGINT ends the director; nothing of it is left on the host.`,
		Example: `  vsnat run -c /etc/vsnat.toml
  vsnat run
  vsnat run -i eth0 -i eth1
  ipvsadm -A -t 192.0.2.1:80 -s wlc && ipvsadm -a -t 192.0.2.1:80 -r 10.0.0.11 -m`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file != "" {
				if err := useFile(cmd, &cfg, &group, file); err != nil {
					return err
				}
			}
			switch cfg.Guard {
			case "auto":
				cfg.Guard = ""
			case guard.TCX, guard.NFT, daemon.GuardOff:
			default:
				return fmt.Errorf("invalid argument %q for --guard: choose auto, tcx, nft or off", cfg.Guard)
			}
			if cfg.MaxConns < 1 {
				return fmt.Errorf("invalid argument %d for --max-conns: at least 1", cfg.MaxConns)
			}
			if cfg.Threads < 0 || cfg.Threads > config.MaxThreads {
				return fmt.Errorf("invalid argument %d for --threads: 1 to %d, or 0 for half as many as CPUs, at least 2 if there are", cfg.Threads, config.MaxThreads)
			}
			if cfg.Queues < 0 || cfg.Queues > config.MaxThreads {
				return fmt.Errorf("invalid argument %d for --queues: 1 to %d, or 0 for as many as threads", cfg.Queues, config.MaxThreads)
			}
			if cfg.Spin < 0 {
				return fmt.Errorf("invalid argument %v for --spin: 0 or more", cfg.Spin)
			}
			if cfg.Budget <= 0 {
				return fmt.Errorf("invalid argument %v for --budget: more than 0", cfg.Budget)
			}
			var err error
			if cfg.Group, err = groupNumber(group); err != nil {
				return err
			}
			log := logger(debug)
			defer func() { _ = log.Sync() }()
			ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGTERM, unix.SIGINT)
			defer stop()
			if cfg.File != "" {
				cfg.Reload = hangups(ctx)
			}
			return daemon.Run(ctx, cfg, log, func() { notify("READY=1") })
		},
	}
	f := cmd.Flags()
	f.StringVarP(&file, "config", "c", "", "configuration file, or a directory of files *.toml")
	f.StringSliceVarP(&cfg.NICs, "interface", "i", nil, "take packets from this NIC only; may be given several times")
	f.StringVar(&cfg.Socket, "socket", cfg.Socket, "path of the control socket (VSNAT_SOCKET)")
	f.StringVar(&group, "socket-group", "", "group, by name or number, whose members may use the control socket too")
	f.StringVar(&cfg.Guard, "guard", "auto", "what keeps the host's stack away from our packets: auto, tcx, nft or off")
	f.IntVar(&cfg.MaxConns, "max-conns", 1<<20, "bound on connections, 127 bytes each")
	f.IntVar(&cfg.Threads, "threads", 0, "threads that serve the NICs (default half as many as CPUs, at least 2 if there are)")
	f.IntVar(&cfg.Queues, "queues", 0, "receive queues of each NIC, over which its flows are spread (default as many as threads, at most 4)")
	f.DurationVar(&cfg.Spin, "spin", 50*time.Microsecond, "how long a thread looks for more packets before it sleeps, at most: less where that finds none")
	f.BoolVar(&cfg.Merge, "merge", false, "send consecutive segments of a flow as one frame; for NICs that receive them one by one (generic-receive-offload: off)")
	f.DurationVar(&cfg.Budget, "budget", 100*time.Microsecond, "what a packet may take, for the latency report")
	f.StringVar(&cfg.Pprof, "pprof", "", "let go tool pprof ask for profiles at this `ADDRESS:PORT`, or socket if there is a slash in it; whoever reaches it may")
	f.BoolVar(&debug, "debug", false, "log more")
	complete.Flags(cmd, map[string]complete.Func{
		"config": complete.TOML, "interface": complete.NICs, "guard": complete.Words("auto", guard.TCX, guard.NFT, daemon.GuardOff),
		"max-conns": complete.Nothing, "threads": complete.Nothing, "queues": complete.Nothing, "spin": complete.Nothing, "budget": complete.Nothing,
	})
	return cmd
}

// useFile reads the configuration file, and takes from it what no option says.
func useFile(cmd *cobra.Command, cfg *daemon.Config, group *string, path string) error {
	// A reload reads it from wherever the director is then.
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	said, problems, err := config.Load(path)
	problems.Print(cmd.ErrOrStderr())
	if problems != nil && err != nil {
		return fmt.Errorf("%s: %s", path, count(len(problems.Errors()), "error"))
	}
	if err != nil {
		return err
	}
	cfg.File, cfg.Declared = path, said
	d := &said.Director
	for _, o := range []struct {
		option string
		said   bool
		take   func()
	}{
		{"interface", d.NICs != nil, func() { cfg.NICs = d.NICs }},
		{"guard", d.Guard != "", func() { cfg.Guard = d.Guard }},
		{"max-conns", d.MaxConns != 0, func() { cfg.MaxConns = d.MaxConns }},
		{"threads", d.Threads != 0, func() { cfg.Threads = d.Threads }},
		{"queues", d.Queues != 0, func() { cfg.Queues = d.Queues }},
		{"spin", d.Spin != nil, func() { cfg.Spin = *d.Spin }},
		{"merge", d.Merge, func() { cfg.Merge = true }},
		{"budget", d.Budget != 0, func() { cfg.Budget = d.Budget }},
		{"socket", d.Socket != "" && os.Getenv("VSNAT_SOCKET") == "", func() { cfg.Socket = d.Socket }},
		{"socket-group", d.SocketGroup != "", func() { *group = d.SocketGroup }},
	} {
		if o.said && !cmd.Flags().Changed(o.option) {
			o.take()
		}
	}
	return nil
}

// hangups tells of SIGHUP until ctx ends.
func hangups(ctx context.Context) <-chan struct{} {
	signals, told := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, unix.SIGHUP)
	go func() {
		defer signal.Stop(signals)
		for {
			select {
			case <-ctx.Done():
				return
			case <-signals:
			}
			select {
			case <-ctx.Done():
				return
			case told <- struct{}{}:
			}
		}
	}()
	return told
}

// groupNumber returns the number of a group, which may be given as such.
func groupNumber(name string) (int, error) {
	if name == "" {
		return control.NoGroup, nil
	}
	if n, err := strconv.ParseUint(name, 10, 31); err == nil {
		return int(n), nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, fmt.Errorf("invalid argument %q for --socket-group: there is no such group", name)
	}
	return strconv.Atoi(g.Gid)
}

// logger writes for people on a terminal and JSON otherwise.
func logger(debug bool) *zap.Logger {
	level := zapcore.InfoLevel
	if debug {
		level = zapcore.DebugLevel
	}
	encoder := zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig())
	if term.IsTerminal(int(os.Stderr.Fd())) {
		c := zap.NewDevelopmentEncoderConfig()
		c.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
		if os.Getenv("NO_COLOR") == "" {
			c.EncodeLevel = zapcore.CapitalColorLevelEncoder
		}
		encoder = zapcore.NewConsoleEncoder(c)
	}
	return zap.New(zapcore.NewCore(encoder, zapcore.Lock(os.Stderr), level))
}

// notify tells the service manager, if there is one (sd_notify(3)).
func notify(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	// A leading @ means the abstract namespace, in Go too.
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return // a missing manager is not our failure
	}
	defer conn.Close()
	_, _ = conn.Write([]byte(state))
}

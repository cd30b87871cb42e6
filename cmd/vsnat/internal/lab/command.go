package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"vsnat/bench/lab"
	"vsnat/cmd/vsnat/internal/table"
)

// Command returns the verb `lab`.
func Command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "Whole clusters in network namespaces on this machine",
		Long: `Whole clusters in network namespaces on this machine: a client, a director
that runs vsnat, and real servers that serve a page, as in the paper. Nothing
of a lab is seen outside of it, and nothing remains of it. Root is not needed
where the kernel grants user namespaces.`,
		Example: `  vsnat lab up
  vsnat lab exec client curl -i http://192.168.28.167/
  vsnat lab exec director vsnat ipvsadm -Ln --stats
  vsnat lab status
  vsnat lab down
  vsnat lab run -- ab -n 10000 -c 10 http://192.168.28.167/`,
		Args:              cobra.NoArgs,
		PersistentPreRunE: func(*cobra.Command, []string) error { return addOwnDir() },
	}
	cmd.AddCommand(upCommand(), runCommand(), execCommand(), statusCommand(), listCommand(), downCommand(),
		hidden("supervise", func([]string) error { return supervise() }),
		hidden("page", func(args []string) error { return exitWith(lab.PageMain(args)) }),
		hidden("decap", func(args []string) error { return exitWith(lab.DecapMain(args)) }))
	return completed(cmd)
}

// addOwnDir puts the directory of this program in PATH, so that commands in a lab
// find vsnat even where it is not installed: last, as it may hold other things
// too, but first if ipvsadm is there as another name of vsnat. The one of the
// system, if there is one, speaks to a kernel's IPVS and not to the lab's
// director.
func addOwnDir() error {
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	dir, path := filepath.Dir(exe), os.Getenv("PATH")
	if sameFile(exe, filepath.Join(dir, "ipvsadm")) {
		path = dir + ":" + path
	} else {
		path += ":" + dir
	}
	return os.Setenv("PATH", path)
}

func sameFile(a, b string) bool {
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}

// hidden is a verb that only vsnat itself calls.
func hidden(name string, run func(args []string) error) *cobra.Command {
	return &cobra.Command{
		Use: name, Hidden: true, DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error { return run(args) },
	}
}

// exitWith turns an exit status into the error that stands for it.
func exitWith(code int) error {
	if code == 0 {
		return nil
	}
	return exitStatus(code)
}

// recipe is what the flags of `up` and `run` say.
type recipe struct {
	paper      lab.PaperOptions
	subnet     string
	rate       float64
	noPage     bool
	noDirector bool
	director   []string // further arguments of vsnat run
	scheduler  string
	method     string // how the director forwards: a key of methods
	tunnel     string // which tunnel, if by that: a key of tunnels
	setup      []string
}

// flags adds the flags of a recipe to a verb.
func (r *recipe) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.IntVar(&r.paper.Servers, "servers", 4, "number of real servers")
	f.StringVar(&r.subnet, "subnet", "10.0.100.0/24", "network of the real servers, IPv4")
	f.IntVar(&r.paper.MTU, "mtu", 1500, "MTU of all links, in bytes")
	f.BoolVar(&r.paper.Forward, "forward", false, "the director's kernel forwards (ip_forward=1), so that the client reaches the servers directly too")
	f.BoolVar(&r.paper.IPv6, "ipv6", false, "give every host an IPv6 address too, and the director a service at the VIP fd00:28::167")
	f.Float64Var(&r.rate, "rate", 0, "hold each server to this many requests/s; 0 is as fast as it can")
	f.BoolVar(&r.noPage, "no-page", false, "no page servers")
	f.BoolVar(&r.noDirector, "no-director", false, "nothing runs in the director, and it has no service")
	f.StringArrayVar(&r.director, "director-arg", nil, "a further argument for vsnat run; may be given several times")
	f.StringVar(&r.method, "method", "masq", "how the director forwards: masq, direct or tunnel (the servers answer the client themselves), or full (they see the director for their client)")
	f.StringVar(&r.tunnel, "tunnel", "ipip", "with --method tunnel: ipip, gue or gre")
	f.StringVar(&r.scheduler, "scheduler", "rr", "scheduler of the service; empty for no service")
	f.StringArrayVar(&r.setup, "setup", nil, "a shell command to run in the director when all is up; may be given several times")
}

// options makes of the flags what the lab package wants.
func (r *recipe) options(name string) (lab.Options, error) {
	if err := checkName(name); err != nil {
		return lab.Options{}, err
	}
	r.paper.Name = name
	var err error
	if r.paper.Subnet, err = netip.ParsePrefix(r.subnet); err != nil {
		return lab.Options{}, fmt.Errorf("invalid argument %q for --subnet: %w", r.subnet, err)
	}
	if r.paper.Servers < 1 {
		return lab.Options{}, fmt.Errorf("invalid argument %d for --servers: at least 1", r.paper.Servers)
	}
	if r.rate != 0 && !(r.rate >= lab.MinRate && r.rate <= lab.MaxRate) { // also refuses NaN
		return lab.Options{}, fmt.Errorf("invalid argument %g for --rate: from %g to %g requests/s, or 0", r.rate, lab.MinRate, lab.MaxRate)
	}
	m, ok := methods[r.method]
	if !ok {
		return lab.Options{}, fmt.Errorf("invalid argument %q for --method: masq, direct, tunnel or full", r.method)
	}
	o := lab.Options{}
	if o.Topology, err = m.topology(r.paper); err == nil {
		err = o.Topology.Validate()
	}
	if err != nil {
		return lab.Options{}, fmt.Errorf("invalid argument: %w", err)
	}
	if !r.noPage {
		o.Page = &lab.PageOptions{Rate: r.rate}
	}
	if r.method == "tunnel" {
		o.Decap = lab.GUEPort
		if m.flag, ok = tunnels[r.tunnel]; !ok {
			return lab.Options{}, fmt.Errorf("invalid argument %q for --tunnel: ipip, gue or gre", r.tunnel)
		}
	}
	if !r.noDirector {
		o.Director = append([]string{lab.Self, "run"}, r.director...)
		if r.scheduler != "" {
			o.Setup = serviceCommands(&o.Topology, r.scheduler, m.flag)
		}
	}
	for _, s := range r.setup {
		o.Setup = append(o.Setup, []string{"sh", "-c", s})
	}
	return o, nil
}

// methods are the forwarding methods that there is a cluster for, each with
// ipvsadm's flag.
var methods = map[string]struct {
	topology func(lab.PaperOptions) (lab.Topology, error)
	flag     string
}{
	"masq":   {lab.Paper, "-m"},
	"direct": {lab.Direct, "-g"},
	"full":   {lab.Full, "--full-nat"},
	"tunnel": {lab.Direct, ""},
}

// tunnels are the kinds of tunnels that the servers of such a cluster take, each
// with ipvsadm's options.
var tunnels = map[string]string{
	"ipip": "-i --tun-type ipip",
	"gue":  "-i --tun-type gue --tun-port " + strconv.Itoa(lab.GUEPort) + " --tun-nocsum",
	"gre":  "-i --tun-type gre --tun-nocsum",
}

// serviceCommands returns the ipvsadm commands of the paper: port 80 of every
// VIP, all real servers behind it at their addresses of its family, with those options
// for the forwarding method and weight 1.
func serviceCommands(t *lab.Topology, scheduler, method string) [][]string {
	var commands [][]string
	add := func(args ...string) {
		commands = append(commands, append([]string{lab.Self, "ipvsadm"}, args...))
	}
	servers := t.Names(lab.Server)
	for _, vip := range t.Addresses {
		if !vip.VIP {
			continue
		}
		service := netip.AddrPortFrom(vip.Prefix.Addr(), 80).String()
		add("-A", "-t", service, "-s", scheduler)
		for _, name := range servers {
			for _, a := range t.Addresses {
				if a.Host == name && a.NIC != "lo" && a.Prefix.Addr().Is4() == vip.Prefix.Addr().Is4() {
					add(slices.Concat([]string{"-a", "-t", service, "-r", netip.AddrPortFrom(a.Prefix.Addr(), 80).String()}, strings.Fields(method), []string{"-w", "1"})...)
				}
			}
		}
	}
	return commands
}

// defaultName is the name of a lab that was given none.
const defaultName = "paper"

func upCommand() *cobra.Command {
	var r recipe
	cmd := &cobra.Command{
		Use:   "up [NAME]",
		Short: "Start a lab that stays",
		Long: `Start a lab that stays until "vsnat lab down". It is the paper's cluster: a
client, a director with the VIP 192.168.28.167, and real servers that serve a
page of 4100 bytes, behind one service made with ipvsadm.`,
		Example: `  vsnat lab up
  vsnat lab up slow --servers 2 --rate 712
  vsnat lab up --method direct --ipv6
  vsnat lab up --forward --scheduler wlc --setup 'vsnat ipvsadm --set 60 10 30'`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := defaultName
			if len(args) > 0 {
				name = args[0]
			}
			o, err := r.options(name)
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			started, err := start(ctx, o, false)
			if err != nil {
				return err
			}
			s, err := status(started.dir)
			if err != nil {
				return err
			}
			return writeStatus(cmd.OutOrStdout(), s, time.Now())
		},
	}
	r.flags(cmd)
	return cmd
}

func runCommand() *cobra.Command {
	var r recipe
	var host string
	cmd := &cobra.Command{
		Use:   "run [flags] [--] COMMAND [ARG...]",
		Short: "Start a lab, run a command in it, end it",
		Long: `Start a lab, run a command in its client (or in another host), and end the
lab, whatever happens. The exit status is that of the command.`,
		Example: `  vsnat lab run -- curl -s -o /dev/null -D - http://192.168.28.167/
  vsnat lab run --rate 712 -- ab -n 10000 -c 10 http://192.168.28.167/
  vsnat lab run --host director -- sh`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			// Runs at the same time do not meet.
			o, err := r.options("run-" + strconv.Itoa(os.Getpid()))
			if err != nil {
				return err
			}
			if !hasHost(&o.Topology, host) {
				return fmt.Errorf("invalid argument %q for --host: there are %s", host, hostNames(&o.Topology))
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
			defer stop()
			s, err := start(ctx, o, true)
			if err != nil {
				return err
			}
			err = execIn(s.dir, host, args) // signals go to the command while it runs
			return errors.Join(err, s.end())
		},
	}
	cmd.Flags().SetInterspersed(false) // what follows the command is the command's
	cmd.Flags().StringVar(&host, "host", "client", "where to run the command")
	r.flags(cmd)
	return cmd
}

func execCommand() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "exec [--name NAME] HOST COMMAND [ARG...]",
		Short: "Run a command in a host of a lab",
		Long: `Run a command in a host of a lab, with this terminal, directory and
environment; VSNAT_SOCKET names the lab's director. The exit status is that of
the command, 128 and the signal's number if one killed it, 126 or 127 if it
cannot be started.`,
		Example: `  vsnat lab exec client curl -i http://192.168.28.167/
  vsnat lab exec director vsnat status
  vsnat lab exec director tcpdump -ni director-1 port 80
  vsnat lab exec --name slow server1 bash`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			name, err := pick(name)
			if err != nil {
				return err
			}
			dir, s, err := load(name)
			if err != nil {
				return err
			}
			if !hasHost(&s.Topology, args[0]) {
				return fmt.Errorf("lab: %s has no host %q: there are %s", name, args[0], hostNames(&s.Topology))
			}
			return execIn(dir, args[0], args[1:])
		},
	}
	cmd.Flags().SetInterspersed(false)
	cmd.Flags().StringVarP(&name, "name", "n", "", "name of the lab (default: the only one that is up)")
	return cmd
}

func statusCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status [NAME]",
		Short: "Show a lab: its hosts and links, and what runs in them",
		Example: `  vsnat lab status
  vsnat lab status slow --json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := pick(strings.Join(args, ""))
			if err != nil {
				return err
			}
			dir, _, err := load(name)
			if err != nil {
				return err
			}
			s, err := status(dir)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), s)
			}
			return writeStatus(cmd.OutOrStdout(), s, time.Now())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func listCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the labs that are up",
		Example: `  vsnat lab list
  vsnat lab list --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			names, err := sweep()
			if err != nil {
				return err
			}
			labs := []*State{} // not null, as JSON
			for _, name := range names {
				if _, s, err := load(name); err == nil { // else it is just starting or ending
					labs = append(labs, s)
				}
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), labs)
			}
			t := table.New("NAME", "UP", ">SUPERVISOR", "HOSTS")
			for _, s := range labs {
				t.Row(s.Name, age(time.Since(s.Since)), strconv.Itoa(s.Supervisor), hostNames(&s.Topology))
			}
			return t.Write(cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func downCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "down [NAME]",
		Short: "End a lab",
		Long: `End a lab: its director in good order, everything else at once. When down
returns, no process and no file of it is left, and nothing holds its
namespaces and links any more: the kernel takes them away.`,
		Example: `  vsnat lab down
  vsnat lab down slow
  vsnat lab down --all`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if all {
				names, err := sweep()
				for _, name := range names {
					err = errors.Join(err, down(name))
				}
				return err
			}
			name, err := pick(strings.Join(args, ""))
			if err != nil {
				return err
			}
			return down(name)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "end all labs")
	return cmd
}

// hasHost tells whether a command can be run in a host of that name.
func hasHost(t *lab.Topology, name string) bool {
	for _, h := range t.Hosts {
		if h.Name == name {
			return true
		}
	}
	return false
}

// hostNames lists the hosts for a person.
func hostNames(t *lab.Topology) string {
	var names []string
	for _, h := range t.Hosts {
		names = append(names, h.Name)
	}
	return strings.Join(names, " ")
}

// writeJSON writes a value for programs, indented for people.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

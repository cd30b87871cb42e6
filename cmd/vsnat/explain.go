package main

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"vsnat/cmd/vsnat/internal/complete"
	"vsnat/cmd/vsnat/internal/config"
	"vsnat/cmd/vsnat/internal/control"
	"vsnat/cmd/vsnat/internal/daemon"
	"vsnat/cmd/vsnat/internal/explain"
)

func explainCommand() *cobra.Command {
	var q control.Question
	var file string
	var mark uint32
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "explain CIP:PORT VIP:PORT [tcp|udp|sctp]",
		Short: "Tell what would become of a packet, and why",
		Long: `Tell what would become of a packet that came now, step by step, and why: which
service it is for, whether it belongs to a connection, what the scheduler thinks
of every server, how its headers change, where it goes, and what becomes of the
server's answer. Nothing is sent and nothing changes; no scheduler notices that
it was asked.

The running director is asked, unless -c names a configuration file: then it is
told what a director would do that just began with it, without being root. The
packet is one that begins a connection, unless --flags says otherwise. It may
also be a server's: the first address is where it comes from.`,
		Example: `  vsnat explain 192.0.2.7:40000 192.0.2.1:80
  vsnat explain 192.0.2.7:40000 192.0.2.1:80 --if-down 10.0.0.11
  vsnat explain 192.0.2.7:40000 192.0.2.1:80 --flags ack
  vsnat explain 192.0.2.7:5000 192.0.2.1:53 udp --json
  vsnat explain 192.0.2.7:40000 192.0.2.1:80 -c /etc/vsnat.toml`,
		Args: cobra.RangeArgs(2, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			for i, to := range []*netip.AddrPort{&q.From, &q.To} {
				var err error
				if *to, err = netip.ParseAddrPort(args[i]); err != nil {
					return fmt.Errorf("invalid argument %q: ADDRESS:PORT or [ADDRESS]:PORT is wanted", args[i])
				}
			}
			if len(args) > 2 {
				q.Protocol = control.Protocol(args[2])
			}
			if cmd.Flags().Changed("mark") {
				q.FWMark = &mark
			}
			if err := q.Check(); err != nil {
				return fmt.Errorf("invalid argument: %s", strings.TrimSuffix(err.Error(), ": "+errors.Unwrap(err).Error()))
			}
			d, err := explained(cmd, q, file)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), d)
			}
			return explain.Write(cmd.OutOrStdout(), d)
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&q.IfDown, "if-down", nil, "as if this real `SERVER`, ADDRESS or ADDRESS:PORT, were down")
	f.StringSliceVar(&q.Flags, "flags", nil, "the TCP segment's flags: syn, ack, fin, rst, psh, urg (default syn)")
	f.Uint32Var(&mark, "mark", 0, "as if the packet had this firewall mark")
	f.StringVar(&q.NIC, "in", "", "the `NIC` that receives it (default the one that leads to where it comes from)")
	f.StringVarP(&file, "config", "c", "", "ask a configuration file, or a directory of files *.toml, not the director")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	complete.Flags(cmd, map[string]complete.Func{
		"if-down": complete.AllServers, "flags": complete.Words(control.FlagNames...), "mark": complete.Nothing, "in": complete.NICs,
	})
	return cmd
}

// explained asks the director, or the file if one is named.
func explained(cmd *cobra.Command, q control.Question, file string) (*control.Decision, error) {
	if file == "" {
		c := control.NewClient(control.SocketPath())
		defer c.Close()
		d, err := c.Explain(cmd.Context(), q)
		return d, err
	}
	cfg, problems, err := config.Load(file)
	if err != nil {
		problems.Print(cmd.ErrOrStderr())
		if problems != nil {
			return nil, fmt.Errorf("%s: %s", file, count(len(problems.Errors()), "error"))
		}
		return nil, err
	}
	d, err := daemon.ExplainFile(cfg, q)
	return d, err
}

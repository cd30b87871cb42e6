package main

import (
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"vsnat/cmd/vsnat/internal/complete"
	"vsnat/cmd/vsnat/internal/control"
	"vsnat/cmd/vsnat/internal/table"
)

func markCommand() *cobra.Command {
	var v view
	cmd := &cobra.Command{
		Use:   "mark",
		Short: "Show and change the rules that give packets firewall marks",
		Long: `Show and change the rules that give packets firewall marks, for the services
that ipvsadm -f names. They stand in for the host's packet filter, which does
not see vsnat's packets. The first rule that takes a packet counts.`,
		Example: `  vsnat mark
  vsnat mark add 7 --dst 192.0.2.0/24 --dport 80-443 --proto tcp
  vsnat mark delete 1
  ipvsadm -A -f 7 -s rr -p 300`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withMarks(cmd, func(_ *control.Client, rules []control.MarkRule) error {
				return v.print(cmd.OutOrStdout(), rules, func(w io.Writer) error { return printMarks(w, rules) })
			})
		},
	}
	v.register(cmd)
	cmd.AddCommand(markAddCommand(), markReplaceCommand(), markDeleteCommand(), markClearCommand())
	return cmd
}

// withMarks calls f with a client and the rules as they stand.
func withMarks(cmd *cobra.Command, f func(*control.Client, []control.MarkRule) error) error {
	c := control.NewClient(control.SocketPath())
	defer c.Close()
	rules, err := c.Marks(cmd.Context())
	if err != nil {
		return err
	}
	return f(c, rules)
}

// markFlags are the options that make a rule.
type markFlags struct{ src, dst, ports, proto, nic string }

func (m *markFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&m.src, "src", "", "client's address or prefix")
	f.StringVar(&m.dst, "dst", "", "destination's address or prefix")
	f.StringVar(&m.ports, "dport", "", "destination port, or FIRST-LAST")
	f.StringVar(&m.proto, "proto", "", "tcp, udp or sctp")
	f.StringVar(&m.nic, "nic", "", "NIC that receives the packet")
	complete.Flags(cmd, map[string]complete.Func{
		"src": complete.Nothing, "dst": complete.Virtuals, "dport": complete.Nothing, "nic": complete.NICs, "proto": complete.Words("tcp", "udp", "sctp"),
	})
}

// rule returns the rule for a mark, which is given as text.
func (m *markFlags) rule(mark string) (control.MarkRule, error) {
	r := control.MarkRule{Protocol: control.Protocol(m.proto), NIC: m.nic}
	n, err := strconv.ParseUint(mark, 0, 32)
	if err != nil {
		return r, fmt.Errorf("invalid argument %q: a mark is 0..4294967295", mark)
	}
	r.Mark = uint32(n)
	if r.Src, err = parsePrefix("--src", m.src); err != nil {
		return r, err
	}
	if r.Dst, err = parsePrefix("--dst", m.dst); err != nil {
		return r, err
	}
	if r.FirstPort, r.LastPort, err = parsePorts("--dport", m.ports); err != nil {
		return r, err
	}
	if m.proto != "" && r.Protocol.Number() == 0 {
		return r, fmt.Errorf("invalid argument %q for --proto: tcp, udp or sctp", m.proto)
	}
	return r, nil
}

// parsePrefix reads an address or prefix; empty is any.
func parsePrefix(option, s string) (netip.Prefix, error) {
	if s == "" {
		return netip.Prefix{}, nil
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("invalid argument %q for %s: an address, or ADDRESS/LENGTH", s, option)
	}
	return p.Masked(), nil
}

// parsePorts reads a port or FIRST-LAST; empty is all, which is 0 and 0.
func parsePorts(option, s string) (first, last uint16, err error) {
	if s == "" {
		return 0, 0, nil
	}
	from, to, isRange := strings.Cut(s, "-")
	if !isRange {
		to = from
	}
	a, errFrom := strconv.ParseUint(from, 10, 16)
	b, errTo := strconv.ParseUint(to, 10, 16)
	if errFrom != nil || errTo != nil || a > b || b == 0 {
		return 0, 0, fmt.Errorf("invalid argument %q for %s: a port, or FIRST-LAST", s, option)
	}
	return uint16(a), uint16(b), nil
}

func markAddCommand() *cobra.Command {
	var flags markFlags
	var at int
	cmd := &cobra.Command{
		Use:   "add MARK",
		Short: "Add a rule, after all others unless --at says where",
		Long: `Add a rule, after all others unless --at says where. MARK 0 leaves packets
without a mark, so that no later rule takes them.`,
		Example: `  vsnat mark add 7 --dst 192.0.2.0/24 --dport 80-443 --proto tcp
  vsnat mark add 0 --dst 192.0.2.9 --at 1`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("at") && at < 1 {
				return fmt.Errorf("invalid argument %d for --at: the first place is 1", at)
			}
			rule, err := flags.rule(args[0])
			if err != nil {
				return err
			}
			c := control.NewClient(control.SocketPath())
			defer c.Close()
			return c.Apply(cmd.Context(), control.Command{Op: control.AddMark, Marks: []control.MarkRule{rule}, At: at})
		},
	}
	flags.register(cmd)
	cmd.Flags().IntVar(&at, "at", 0, "place in the list, counted from 1")
	return cmd
}

// place returns the rule that has a place, given as text.
func place(rules []control.MarkRule, text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("invalid argument %q: a rule's place in the list is wanted, counted from 1", text)
	}
	if n > len(rules) {
		return 0, fmt.Errorf("there is no rule %d: `vsnat mark' lists %d", n, len(rules))
	}
	return n, nil
}

func markReplaceCommand() *cobra.Command {
	var flags markFlags
	cmd := &cobra.Command{
		Use:     "replace PLACE MARK",
		Short:   "Put a rule in place of another",
		Example: "  vsnat mark replace 1 7 --dst 192.0.2.0/24 --dport 443 --proto tcp",
		Args:    cobra.ExactArgs(2),

		ValidArgsFunction: complete.Marks,
		RunE: func(cmd *cobra.Command, args []string) error {
			rule, err := flags.rule(args[1])
			if err != nil {
				return err
			}
			return withMarks(cmd, func(c *control.Client, rules []control.MarkRule) error {
				n, err := place(rules, args[0])
				if err != nil {
					return err
				}
				return c.Transact(cmd.Context(),
					control.Command{Op: control.DeleteMark, Marks: rules[n-1 : n]},
					control.Command{Op: control.AddMark, Marks: []control.MarkRule{rule}, At: n})
			})
		},
	}
	flags.register(cmd)
	return cmd
}

func markDeleteCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "delete PLACE",
		Short:   "Delete a rule",
		Example: "  vsnat mark delete 1",
		Args:    cobra.ExactArgs(1),

		ValidArgsFunction: complete.Marks,
		RunE: func(cmd *cobra.Command, args []string) error {
			return withMarks(cmd, func(c *control.Client, rules []control.MarkRule) error {
				n, err := place(rules, args[0])
				if err != nil {
					return err
				}
				return c.Apply(cmd.Context(), control.Command{Op: control.DeleteMark, Marks: rules[n-1 : n]})
			})
		},
	}
}

func markClearCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "clear",
		Short:   "Delete all rules",
		Example: "  vsnat mark clear",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c := control.NewClient(control.SocketPath())
			defer c.Close()
			return c.Apply(cmd.Context(), control.Command{Op: control.SetMarks})
		},
	}
}

func printMarks(w io.Writer, rules []control.MarkRule) error {
	any := func(s string) string {
		if s == "" {
			return "any"
		}
		return s
	}
	prefix := func(p netip.Prefix) string {
		if !p.IsValid() {
			return "any"
		}
		return p.String()
	}
	t := table.New(">PLACE", ">MARK", "PROTO", "SRC", "DST", "DPORT", "NIC")
	for i, r := range rules {
		t.Row(strconv.Itoa(i+1), strconv.FormatUint(uint64(r.Mark), 10), any(string(r.Protocol)), prefix(r.Src), prefix(r.Dst), any(r.Ports()), any(r.NIC))
	}
	return t.Write(w)
}

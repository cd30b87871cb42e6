package main

import (
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/cmd/vsnat/internal/table"
	"vsnat/nat"
)

func poolCommand() *cobra.Command {
	var v view
	cmd := &cobra.Command{
		Use:   "pool",
		Short: "Show and change the pools of the director's own ports",
		Long: `Show and change the pools of the director's own addresses and ports, from which
FullNAT servers (ipvsadm -a ... --full-nat) and masqueraded networks get packets.
The pool "default" is there unless it is said otherwise: the address is the one
that the host would use itself. A port may be in use towards several destinations
at once, and by one connection towards each.`,
		Example: `  vsnat pool
  vsnat pool add edge --address 10.0.0.1 --address 10.0.0.2 --ports 20000-29999
  ipvsadm -a -t 192.0.2.1:80 -r 10.0.0.11:80 --full-nat --pool edge
  vsnat pool delete edge`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c := control.NewClient(control.SocketPath())
			defer c.Close()
			pools, err := c.Pools(cmd.Context())
			if err != nil {
				return err
			}
			return v.print(cmd.OutOrStdout(), pools, func(w io.Writer) error {
				t := table.New("POOL", "PORTS", "ADDRESSES")
				for _, p := range pools {
					addrs := make([]string, len(p.Addresses))
					for i, a := range p.Addresses {
						addrs[i] = a.String()
					}
					where := strings.Join(addrs, " ")
					if where == "" {
						where = "by route"
					}
					t.Row(p.Name, fmt.Sprintf("%d-%d", p.FirstPort, p.LastPort), where)
				}
				return t.Write(w)
			})
		},
	}
	v.register(cmd)
	cmd.AddCommand(poolAddCommand(), poolDeleteCommand())
	return cmd
}

func poolAddCommand() *cobra.Command {
	var addresses []string
	var ports string
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Add a pool, or change the one of that name",
		Example: `  vsnat pool add edge --address 10.0.0.1 --address 10.0.0.2 --ports 20000-29999
  vsnat pool add default --ports 1024-32767`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p := control.Pool{Name: args[0], FirstPort: nat.DefaultFirstPort, LastPort: nat.DefaultLastPort}
			for _, s := range addresses {
				a, err := netip.ParseAddr(s)
				if err != nil {
					return fmt.Errorf("invalid argument %q for --address: an address of the director", s)
				}
				p.Addresses = append(p.Addresses, a)
			}
			if ports != "" {
				var err error
				if p.FirstPort, p.LastPort, err = parsePorts("--ports", ports); err != nil {
					return err
				}
			}
			return applyPlain(cmd, control.Command{Op: control.AddPool, Pools: []control.Pool{p}})
		},
	}
	cmd.Flags().StringSliceVar(&addresses, "address", nil, "an address of the director; by default by route")
	cmd.Flags().StringVar(&ports, "ports", "", fmt.Sprintf("a port, or FIRST-LAST (default %d-%d)", nat.DefaultFirstPort, nat.DefaultLastPort))
	return cmd
}

func poolDeleteCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "delete NAME",
		Short:   "Delete a pool that nothing has",
		Example: "  vsnat pool delete edge",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return applyPlain(cmd, control.Command{Op: control.DeletePool, Pools: []control.Pool{{Name: args[0]}}})
		},
	}
}

// applyPlain has the director carry out one command.
func applyPlain(cmd *cobra.Command, c control.Command) error {
	client := control.NewClient(control.SocketPath())
	defer client.Close()
	return client.Apply(cmd.Context(), c)
}

func masqueradeCommand() *cobra.Command {
	var v view
	cmd := &cobra.Command{
		Use:   "masquerade",
		Short: "Show and change the networks whose own connections are masqueraded",
		Long: `Show and change the networks behind the director whose own connections to the
outside, TCP, UDP and ping, have an address of the director's as source: what
iptables -t nat -A POSTROUTING -s NETWORK -j MASQUERADE does for packets that the
host forwards. The host need not forward for it.`,
		Example: `  vsnat masquerade
  vsnat masquerade add 10.0.100.0/24
  vsnat masquerade add 10.0.101.0/24 --nic eth0 --pool edge
  vsnat masquerade delete 10.0.100.0/24`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c := control.NewClient(control.SocketPath())
			defer c.Close()
			list, err := c.Masquerades(cmd.Context())
			if err != nil {
				return err
			}
			return v.print(cmd.OutOrStdout(), list, func(w io.Writer) error {
				t := table.New("NETWORK", "NIC", "POOL")
				for _, m := range list {
					nic, pool := m.NIC, m.Pool
					if nic == "" {
						nic = "any"
					}
					if pool == "" {
						pool = nat.DefaultPool
					}
					t.Row(m.Network.String(), nic, pool)
				}
				return t.Write(w)
			})
		},
	}
	v.register(cmd)
	cmd.AddCommand(masqueradeAddCommand(), masqueradeDeleteCommand())
	return cmd
}

func masqueradeAddCommand() *cobra.Command {
	var m control.Masquerade
	cmd := &cobra.Command{
		Use:     "add NETWORK",
		Short:   "Have a network's connections masqueraded",
		Example: "  vsnat masquerade add 10.0.100.0/24 --nic eth0",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if m.Network, err = parsePrefix("NETWORK", args[0]); err != nil {
				return err
			}
			return applyPlain(cmd, control.Command{Op: control.AddMasquerade, Masquerades: []control.Masquerade{m}})
		},
	}
	cmd.Flags().StringVar(&m.NIC, "nic", "", "only what leaves by this NIC")
	cmd.Flags().StringVar(&m.Pool, "pool", "", "the pool of addresses and ports")
	return cmd
}

func masqueradeDeleteCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "delete NETWORK",
		Short:   "Leave a network's connections as they are",
		Example: "  vsnat masquerade delete 10.0.100.0/24",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			network, err := parsePrefix("NETWORK", args[0])
			if err != nil {
				return err
			}
			c := control.NewClient(control.SocketPath())
			defer c.Close()
			list, err := c.Masquerades(cmd.Context())
			if err != nil {
				return err
			}
			for _, m := range list {
				if m.Network == network {
					return c.Apply(cmd.Context(), control.Command{Op: control.DeleteMasquerade, Masquerades: []control.Masquerade{m}})
				}
			}
			return fmt.Errorf("%s is not masqueraded: `vsnat masquerade' lists what is", network)
		},
	}
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"vsnat/cmd/vsnat/internal/complete"
	"vsnat/cmd/vsnat/internal/control"
	"vsnat/cmd/vsnat/internal/human"
)

func connsCommand() *cobra.Command {
	var f connFilter
	var v view
	limit := 0
	cmd := &cobra.Command{
		Use:   "conns",
		Short: "List connections and persistence templates",
		Long: `List the connections of the running director, and its persistence templates, in
no particular order. Each line has the age, the time until it ends if nothing
comes, the bytes from the client and from the server, and why it has its server:
scheduled, template, helper, moved (by policy), bypass or synced (told by another
director). JSON has more. Filters given together must all agree; an ENDPOINT is
an address, an address with a port, or a network.`,
		Example: `  vsnat conns --server 10.0.0.11
  vsnat conns --client 192.0.2.0/24 --state established,fin_wait
  vsnat conns --vip 192.0.2.1:53 --proto udp --limit 20
  vsnat conns --server 10.0.0.12 --why moved
  vsnat conns --templates --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 0 {
				return fmt.Errorf("invalid argument %d for --limit: at least 0", limit)
			}
			if err := f.complete(); err != nil {
				return err
			}
			if cmd.Flags().Changed("watch") {
				return watchConns(cmd, &v, &f, limit)
			}
			c := control.NewClient(control.SocketPath())
			defer c.Close()
			out := cmd.OutOrStdout()
			format := connFormat(out)
			print := func(w io.Writer, c *control.Connection) error { return printConn(w, format, c) }
			if v.asJSON {
				enc := json.NewEncoder(out)
				print = func(_ io.Writer, c *control.Connection) error { return enc.Encode(c) }
			} else {
				fmt.Fprintf(out, format, connTitles...)
			}
			shown := 0
			for conn, err := range c.FindConnections(cmd.Context(), f.ConnectionFilter) {
				if err != nil {
					return err
				}
				if err := print(out, &conn); err != nil {
					return err
				}
				if shown++; shown == limit {
					break
				}
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.Var(&f.client, "client", "only of clients at this `ENDPOINT`")
	flags.Var(&f.virtual, "vip", "only to this virtual `ENDPOINT`")
	flags.Var(&f.server, "server", "only of servers at this `ENDPOINT`")
	flags.StringSliceVar(&f.States, "state", nil, "only in these states, such as established")
	flags.StringVar(&f.Protocol, "proto", "", "only of this protocol: "+strings.Join(control.ConnectionProtocols, ", "))
	flags.StringSliceVar(&f.Why, "why", nil, "only those that have their server for this, such as moved")
	flags.BoolVar(&f.Templates, "templates", false, "only persistence templates")
	flags.IntVar(&limit, "limit", 0, "at most so many; 0 is all")
	v.registerWatched(cmd)
	complete.Flags(cmd, map[string]complete.Func{
		"client": complete.Nothing, "vip": complete.Virtuals, "server": complete.AllServers, "limit": complete.Nothing,
		"proto": complete.Words(control.ConnectionProtocols...), "state": complete.Words(control.ConnectionStates()...),
		"why": complete.Words(control.ConnectionReasons...),
	})
	flags.Lookup("json").Usage = "print JSON, one object a line"
	return cmd
}

// wordsOf returns an error if one of the words that a flag was given is none of
// those it may be: a slip must not look like a table without such entries.
func wordsOf(flag string, given, all []string) error {
	for _, w := range given {
		if !control.OneOf(all, w) {
			return fmt.Errorf("invalid argument %q for --%s: choose of %s", w, flag, strings.Join(all, ", "))
		}
	}
	return nil
}

// watchedConns is how many connections are looked at again and again unless
// --limit says another number: more than a terminal has lines.
const watchedConns = 200

// watchConns shows the connections again and again.
func watchConns(cmd *cobra.Command, v *view, f *connFilter, limit int) error {
	if limit == 0 {
		limit = watchedConns
	}
	ask := func(ctx context.Context, c *control.Client) ([]control.Connection, error) {
		all := []control.Connection{}
		for conn, err := range c.FindConnections(ctx, f.ConnectionFilter) {
			if err != nil {
				return nil, err
			}
			if all = append(all, conn); len(all) == limit {
				break
			}
		}
		return all, nil
	}
	return show(cmd, v, ask, func(w io.Writer, all []control.Connection) error {
		format := connFormat(cmd.OutOrStdout())
		fmt.Fprintf(w, format, connTitles...)
		for i := range all {
			if err := printConn(w, format, &all[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

// connFilter is a [control.ConnectionFilter] as flags give it.
type connFilter struct {
	control.ConnectionFilter
	client, virtual, server endpointFilter
}

// complete takes over what the flags say, and returns what is wrong with it.
func (f *connFilter) complete() error {
	f.Client, f.Virtual, f.Server = f.client.EndpointSet, f.virtual.EndpointSet, f.server.EndpointSet
	if f.Protocol != "" {
		if err := wordsOf("proto", []string{f.Protocol}, control.ConnectionProtocols); err != nil {
			return err
		}
	}
	if err := wordsOf("state", f.States, control.ConnectionStates()); err != nil {
		return err
	}
	return wordsOf("why", f.Why, control.ConnectionReasons)
}

// endpointFilter is a [control.EndpointSet] as a flag's value.
type endpointFilter struct{ control.EndpointSet }

func (e *endpointFilter) Type() string { return "ENDPOINT" }

// Set reads the flag.
func (e *endpointFilter) Set(s string) (err error) {
	e.EndpointSet, err = control.ParseEndpoints(s)
	return err
}

// Lines come as the director sends them, so that their columns have fixed widths.
// On a terminal that is narrower than connWidth a connection has two lines.
const (
	connColumns = "%-4s %-11s %6s %6s %6s %6s %-9s %-21s"
	connWide    = connColumns + " %-21s %s\n"
	connNarrow  = connColumns + "\n     %-21s %s\n"
	connWidth   = 119
)

// connFormat returns the format of a connection for what is written to.
func connFormat(out io.Writer) string {
	if f, ok := out.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width < connWidth {
			return connNarrow
		}
	}
	return connWide
}

var connTitles = []any{"PRO", "STATE", "AGE", "ENDS", "IN", "OUT", "WHY", "CLIENT", "VIRTUAL", "SERVER"}

func printConn(w io.Writer, format string, c *control.Connection) error {
	_, err := fmt.Fprintf(w, format, strings.ToLower(string(c.Protocol)), c.State, human.Seconds(c.Age), human.Seconds(c.Expires),
		human.Count(c.InBytes), human.Count(c.OutBytes), c.Why, c.Client, c.Virtual, c.Destination)
	return err
}

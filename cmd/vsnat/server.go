package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"strconv"

	"github.com/spf13/cobra"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/cmd/vsnat/internal/human"
	"vsnat/cmd/vsnat/internal/table"
)

func serverCommand() *cobra.Command {
	var name nameFlags
	var v view
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Show the real servers; mark them up or down, drain them",
		Example: `  vsnat server
  vsnat server -t 192.0.2.1:80 --watch
  vsnat server down -t 192.0.2.1:80 -r 10.0.0.11:80
  vsnat server drain -t 192.0.2.1:80 -r 10.0.0.11:80`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return show(cmd, &v, func(ctx context.Context, c *control.Client) ([]control.ServiceEntry, error) {
				return listed(ctx, c, &name)
			}, printServers)
		},
	}
	name.register(cmd)
	v.registerWatched(cmd)
	cmd.AddCommand(
		serverStateCommand("down", "Mark a real server down: it gets no new connections",
			`Mark a real server down: it gets no new connections, whatever its weight. What
becomes of those it has is the service's policy (vsnat service life).`, setServer(control.ServerDown)),
		serverStateCommand("up", "Mark a real server up again", `Mark a real server up again. Its weight is what it was.`, setServer(control.ServerUp)),
		serverStateCommand("drain", "Give a real server weight 0: it gets no new connections",
			`Give a real server weight 0: it gets no new connections. What becomes of those
it has is the service's policy (vsnat service life). It is taken up again with
a weight: ipvsadm -e -t VIP:PORT -r SERVER -m -w WEIGHT.`, drainServer),
	)
	return cmd
}

// listed returns the service that is named, or all.
func listed(ctx context.Context, c *control.Client, name *nameFlags) ([]control.ServiceEntry, error) {
	if !name.given() {
		return c.Services(ctx)
	}
	id, err := name.service()
	if err != nil {
		return nil, err
	}
	e, err := c.Service(ctx, id)
	return []control.ServiceEntry{e}, err
}

type serverChange func(cmd *cobra.Command, c *control.Client, id control.ServiceID, s control.RealServer) error

func serverStateCommand(verb, short, long string, change serverChange) *cobra.Command {
	var name nameFlags
	cmd := &cobra.Command{
		Use:     verb + " {-t VIP:PORT | -u VIP:PORT | -f MARK} -r SERVER[:PORT]",
		Short:   short,
		Long:    long,
		Example: "  vsnat server " + verb + " -t 192.0.2.1:80 -r 10.0.0.11:80",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			id, server, err := name.realServer()
			if err != nil {
				return err
			}
			c := control.NewClient(control.SocketPath())
			defer c.Close()
			return change(cmd, c, id, server)
		},
	}
	name.registerServer(cmd)
	return cmd
}

func setServer(op control.Op) serverChange {
	return func(cmd *cobra.Command, c *control.Client, id control.ServiceID, s control.RealServer) error {
		return c.Apply(cmd.Context(), control.Command{Op: op, Service: &control.Service{ServiceID: id}, Server: &s})
	}
}

func drainServer(cmd *cobra.Command, c *control.Client, id control.ServiceID, s control.RealServer) error {
	e, err := c.Service(cmd.Context(), id)
	if err != nil {
		return err
	}
	for i := range e.Servers {
		if is := e.Servers[i].RealServer; is.Address == s.Address && is.Port == s.Port {
			s = is // all else stays as it is
		}
	}
	if s.Method == "" {
		s.Method = control.Masq // the director says that there is no such server
	}
	s.Weight = 0
	return c.Apply(cmd.Context(), control.Command{Op: control.EditServer, Service: &control.Service{ServiceID: id}, Server: &s})
}

func printServers(w io.Writer, services []control.ServiceEntry) error {
	t := table.New("SERVICE, SERVER", "STATE", ">WEIGHT", ">ACTIVE", ">INACTIVE", ">TEMPLATES", "DEADLINE")
	for _, e := range services {
		t.Line(fmt.Sprintf("%s %s", e.ServiceID, e.Scheduler))
		for _, s := range append(e.Servers[:len(e.Servers):len(e.Servers)], e.Removed...) {
			deadline := "-"
			switch {
			case s.Deadline != nil && *s.Deadline == 0:
				deadline = "passed"
			case s.Deadline != nil:
				deadline = "in " + human.Seconds(*s.Deadline)
			}
			t.Row("  "+netip.AddrPortFrom(s.Address, s.Port).String(), string(s.State), strconv.Itoa(int(s.Weight)),
				human.Count(uint64(s.Active)), human.Count(uint64(s.Inactive)), human.Count(uint64(s.Persistent)), deadline)
			if n := s.LifeCounts; n != (control.LifeCounts{}) {
				t.Line(fmt.Sprintf("    moved %s, reset %s, unreachable %s", human.Count(n.Moved), human.Count(n.Reset), human.Count(n.Unreachable)))
			}
		}
	}
	return t.Write(w)
}

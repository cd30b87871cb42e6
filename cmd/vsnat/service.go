package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/cmd/vsnat/internal/table"
	"vsnat/nat"
)

func serviceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "service",
		Short: "Show and change what ipvsadm knows nothing of",
		Example: `  vsnat service life -t 192.0.2.1:80
  vsnat service life -u 192.0.2.1:53 dns`,
	}
	cmd.AddCommand(serviceLifeCommand(), serviceProxyCommand())
	return cmd
}

func serviceProxyCommand() *cobra.Command {
	var name nameFlags
	cmd := &cobra.Command{
		Use:   "proxy-protocol {-t VIP:PORT | -f MARK} {v2 | off}",
		Short: "Have servers told their client in a PROXY header",
		Long: `Have the servers of a service told their client's address in a header of the PROXY
protocol, version 2, before each TCP stream; or not any more. It concerns new
connections to servers of the methods masq and full. The servers must expect it.`,
		Example: `  vsnat service proxy-protocol -t 192.0.2.1:80 v2
  vsnat service proxy-protocol -t 192.0.2.1:80 off`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := name.service()
			if err != nil {
				return err
			}
			version := control.ProxyProtocol(args[0])
			if version != control.ProxyV2 && version != control.ProxyOff {
				return fmt.Errorf("invalid argument %q: v2 or off", args[0])
			}
			return applyPlain(cmd, control.Command{Op: control.SetProxyProtocol, Service: &control.Service{ServiceID: id, ProxyProtocol: version}})
		},
	}
	name.register(cmd)
	return cmd
}

func serviceLifeCommand() *cobra.Command {
	var name nameFlags
	var v view
	cmd := &cobra.Command{
		Use:   "life {-t VIP:PORT | -u VIP:PORT | -f MARK} [PRESET] [EVENT.CLASS=ACTION[,ACTION]] [EVENT.deadline=TIME]",
		Short: "Show and change what becomes of clients whose server leaves",
		Long: `Show and change what becomes of a service's clients when their server drains
(has weight 0), is down (vsnat server down) or is removed.

PRESET is kernel (as IPVS does, the default), stateful, dns or fail-fast. What
follows it changes the preset; without one, what there is.
EVENT is drain, down or removed. CLASS is
  established  packets of TCP connections
  new          SYNs on a connection's addresses and ports
  udp          UDP flows
  persistent   new connections of clients that a template keeps at the server
ACTION is kernel, keep, move, reset-client, reset-server, reset-both or
unreachable; a second one follows at the event's deadline: a time such as 90s
or 10m after the event began. docs/life.md tells what each puts on the wire.`,
		Example: `  vsnat service life -t 192.0.2.1:80
  vsnat service life -u 192.0.2.1:53 dns
  vsnat service life -t 192.0.2.1:80 stateful drain.deadline=30m
  vsnat service life -t 192.0.2.1:80 drain.established=keep,reset-client drain.deadline=10m`,
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := name.service()
			if err != nil {
				return err
			}
			preset, changes := "", args
			if len(args) > 0 && !strings.Contains(args[0], "=") {
				preset, changes = args[0], args[1:]
			}
			if preset != "" && !slices.Contains(nat.LifePresets(), preset) {
				return fmt.Errorf("invalid argument %q: PRESET is one of %s", preset, strings.Join(nat.LifePresets(), ", "))
			}
			if err := changeLife(kernelLife(), changes); err != nil {
				return err // before anyone is asked
			}
			c := control.NewClient(control.SocketPath())
			defer c.Close()
			life := &control.Life{Preset: preset}
			if preset == "" {
				entry, err := c.Service(cmd.Context(), id)
				if err != nil {
					return err
				}
				if entry.Life != nil {
					life = entry.Life
				} else {
					life = kernelLife()
				}
			}
			if len(args) == 0 {
				return v.print(cmd.OutOrStdout(), life, func(w io.Writer) error { return printLife(w, id, life) })
			}
			if err := changeLife(life, changes); err != nil {
				return err
			}
			return c.Apply(cmd.Context(), control.Command{Op: control.SetLife, Service: &control.Service{ServiceID: id, Life: life}})
		},
	}
	name.register(cmd)
	v.register(cmd)
	cmd.ValidArgsFunction = completeLife
	return cmd
}

// completeLife finds presets, and what changes them.
func completeLife(_ *cobra.Command, args []string, typed string) (words []string, _ cobra.ShellCompDirective) {
	if left, _, ok := strings.Cut(typed, "="); ok {
		for _, action := range nat.LifeActions() {
			words = append(words, left+"="+action)
		}
		return words, cobra.ShellCompDirectiveNoFileComp
	}
	if len(args) == 0 {
		words = nat.LifePresets()
	}
	for _, event := range control.LifeEvents {
		for _, what := range append([]string{"deadline"}, control.LifeTraffic...) {
			words = append(words, event+"."+what+"=")
		}
	}
	return words, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

// kernelLife is the policy of a service that has none, with all its cells.
func kernelLife() *control.Life {
	l := &control.Life{Preset: "kernel"}
	for _, e := range control.LifeEvents {
		for _, t := range control.LifeTraffic {
			*l.Event(e).Cell(t) = "kernel"
		}
	}
	return l
}

// changeLife makes the changes that the command line asks for. The deadline of
// an event goes with the last action that waited for it.
func changeLife(l *control.Life, changes []string) error {
	timed := map[string]bool{}
	for _, arg := range changes {
		left, value, ok := strings.Cut(arg, "=")
		event, what, dotted := strings.Cut(left, ".")
		e := l.Event(event)
		if !ok || !dotted || e == nil {
			return fmt.Errorf("invalid argument %q: EVENT.CLASS=ACTION or EVENT.deadline=TIME is wanted, and EVENT is one of %s", arg, strings.Join(control.LifeEvents, ", "))
		}
		if what == "deadline" {
			seconds, err := parseSeconds(value)
			if err != nil {
				return fmt.Errorf("invalid argument %q: %w", arg, err)
			}
			e.Deadline, timed[event] = &seconds, true
			continue
		}
		c := e.Cell(what)
		if c == nil || value == "" {
			return fmt.Errorf("invalid argument %q: EVENT.CLASS=ACTION is wanted, and CLASS is one of %s", arg, strings.Join(control.LifeTraffic, ", "))
		}
		for _, action := range strings.Split(value, ",") {
			if !slices.Contains(nat.LifeActions(), action) {
				return fmt.Errorf("invalid argument %q: ACTION is one of %s", arg, strings.Join(nat.LifeActions(), ", "))
			}
		}
		*c = control.LifeCell(value)
	}
	for _, event := range control.LifeEvents {
		e, waits := l.Event(event), false
		for _, t := range control.LifeTraffic {
			waits = waits || strings.Contains(string(*e.Cell(t)), ",")
		}
		if !waits && !timed[event] {
			e.Deadline = nil
		}
	}
	return nil
}

// parseSeconds reads whole seconds: a number, or a time such as 10m.
func parseSeconds(s string) (uint32, error) {
	if n, err := strconv.ParseUint(s, 10, 32); err == nil {
		return uint32(n), nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 || d%time.Second != 0 || d/time.Second > 1<<32-1 {
		return 0, fmt.Errorf("%q is no time in whole seconds, such as 90s or 10m", s)
	}
	return uint32(d / time.Second), nil
}

func printLife(w io.Writer, id control.ServiceID, l *control.Life) error {
	name := l.Preset
	if name == "" {
		name = "its own"
	}
	fmt.Fprintf(w, "%s: %s\n", id, name)
	t := table.New("EVENT", "ESTABLISHED", "NEW", "UDP", "PERSISTENT", "DEADLINE")
	for _, event := range control.LifeEvents {
		e := l.Event(event)
		deadline := "-"
		if e.Deadline != nil {
			deadline = (time.Duration(*e.Deadline) * time.Second).String()
		}
		t.Row(event, string(e.Established), string(e.New), string(e.UDP), string(e.Persistent), deadline)
	}
	return t.Write(w)
}

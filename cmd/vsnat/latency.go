package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/cmd/vsnat/internal/daemon"
	"vsnat/cmd/vsnat/internal/explain"
	"vsnat/cmd/vsnat/internal/human"
	"vsnat/cmd/vsnat/internal/latency"
	"vsnat/cmd/vsnat/internal/table"
)

func latencyCommand() *cobra.Command {
	var (
		v                     view
		name                  nameFlags
		reset, record, forget bool
		decisions             bool
		slowest               int
	)
	cmd := &cobra.Command{
		Use:   "latency [{-t VIP:PORT | -u VIP:PORT | -f MARK} [--record | --forget]] [--reset]",
		Short: "Show how long packets took, against the budget, and what delayed the slowest",
		Long: `Show how long packets took that left the director, against the budget (vsnat run
--budget), and what delayed the slowest of the last minute: the wake-up of the
worker, other packets before it in the receive ring, its verdict, its sending.
Beside that stands what the machine did meanwhile: scheduling gaps, in which a
thread that should run did not, and pauses for garbage collection.

With each of the slowest stands what was decided about it, as vsnat trace tells
it; with --decisions step by step, as vsnat explain does. That was noted when it
was decided, and is not what would be decided now.

Pickup is when a packet's batch is taken out of the receive ring. The verdict is
there when all of the batch is judged, and sent it is when all of it is.

A service is measured by itself once it is asked for: with --record, or with
latency = true in the configuration file.`,
		Example: `  vsnat latency
  vsnat latency --watch
  vsnat latency --slowest 1 --decisions
  vsnat latency --reset
  vsnat latency -t 192.0.2.1:80 --record
  vsnat latency -t 192.0.2.1:80 --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			m := control.Measuring{Reset: reset}
			var id control.ServiceID
			if name.given() {
				var err error
				if id, err = name.service(); err != nil {
					return err
				}
			}
			switch {
			case slowest < 0 || slowest > daemon.MostSlowest:
				return fmt.Errorf("invalid argument %d for --slowest: from 0 to %d", slowest, daemon.MostSlowest)
			case (record || forget) && !name.given():
				return errors.New("required flag: one of -t VIP:PORT, -u VIP:PORT and -f MARK names the service")
			case record:
				m.Record = []control.ServiceID{id}
			case forget:
				m.Forget = []control.ServiceID{id}
			}
			if reset || record || forget {
				c := control.NewClient(control.SocketPath())
				defer c.Close()
				return c.Measure(cmd.Context(), m)
			}
			return show(cmd, &v, func(ctx context.Context, c *control.Client) (*daemon.Latency, error) {
				r := new(daemon.Latency)
				if err := c.Report(ctx, control.LatencyReport, r); err != nil {
					return nil, err
				}
				if name.given() {
					if err := onlyService(r, id); err != nil {
						return nil, err
					}
				}
				r.Slowest = r.Slowest[:min(len(r.Slowest), slowest)]
				return r, nil
			}, func(w io.Writer, l *daemon.Latency) error { return printLatency(w, l, decisions) })
		},
	}
	name.register(cmd)
	v.registerWatched(cmd)
	f := cmd.Flags()
	f.BoolVar(&reset, "reset", false, "begin anew; nothing is shown")
	f.BoolVar(&record, "record", false, "measure this service by itself from now on")
	f.BoolVar(&forget, "forget", false, "do not measure this service by itself any more")
	f.BoolVar(&decisions, "decisions", false, "tell what was decided about the slowest packets step by step; with --json it is always there")
	f.IntVar(&slowest, "slowest", 5, fmt.Sprintf("how many of the slowest packets to show, at most %d", daemon.MostSlowest))
	cmd.MarkFlagsMutuallyExclusive("record", "forget")
	return cmd
}

// onlyService leaves of a report what is of one service.
func onlyService(r *daemon.Latency, id control.ServiceID) error {
	i := slices.IndexFunc(r.Services, func(s daemon.ServiceLatency) bool { return s.Service == id })
	if i < 0 {
		return fmt.Errorf("%s is not measured by itself: `vsnat latency' with --record has it measured from then on", id)
	}
	r.Services = r.Services[i : i+1]
	r.NICs = nil
	r.Slowest = slices.DeleteFunc(r.Slowest, func(p daemon.SlowPacket) bool { return p.Service == nil || *p.Service != id })
	r.Since = r.Services[0].Since
	r.Times = daemon.Times{Verdict: r.Services[0].Verdict, Receive: r.Services[0].Receive}
	return nil
}

// printLatency prints the report, with what was decided about the slowest packets step
// by step if steps.
func printLatency(w io.Writer, l *daemon.Latency, steps bool) error {
	since := "in " + human.Seconds(uint32(l.Since))
	if l.NICs == nil {
		fmt.Fprintf(w, "Packets of %s that left %s, against a budget of %s\n\n", l.Services[0].Service, since, time.Duration(l.Budget))
	} else {
		fmt.Fprintf(w, "Packets that left %s, against a budget of %s\n\n", since, time.Duration(l.Budget))
	}
	t := table.New("", ">PACKETS", ">P50", ">P90", ">P99", ">P99.9", ">LONGEST", ">OVER")
	row := func(name string, s *latency.Summary) {
		ns := human.Nanoseconds
		t.Row(name, human.Count(s.Count), ns(s.P50), ns(s.P90), ns(s.P99), ns(s.P999), ns(s.Max), fmt.Sprintf("%.2f%%", 100*s.Over))
	}
	row("pickup to verdict", &l.Verdict)
	if l.NICs != nil {
		row("pickup to sent", &l.Pickup)
	}
	row("receive to sent", &l.Receive)
	if len(l.NICs) > 1 {
		t.Line("receive to sent, by the NIC that packets came in by:")
		for i := range l.NICs {
			row(l.NICs[i].Name, &l.NICs[i].Receive)
		}
	}
	if l.NICs != nil {
		for i := range l.Services {
			s := &l.Services[i]
			t.Line(fmt.Sprintf("%s, in %s:", s.Service, human.Seconds(uint32(s.Since))))
			row("pickup to verdict", &l.Services[i].Verdict)
			row("receive to sent", &l.Services[i].Receive)
		}
	}
	if err := t.Write(w); err != nil {
		return err
	}
	if l.Receive.Count > 0 {
		fmt.Fprintln(w, "\nReceive to sent")
		printHistogram(w, &l.Receive)
	}
	if len(l.Slowest) > 0 {
		fmt.Fprintln(w, "\nSlowest packets of the last minute")
		if err := printSlowest(w, l.Slowest, steps); err != nil {
			return err
		}
	}
	return printMachine(w, &l.Machine)
}

// printSlowest prints the packets, with what was decided in a line or in steps.
func printSlowest(w io.Writer, all []daemon.SlowPacket, steps bool) error {
	t := table.New(">TOOK", "PACKET, WHAT WAS DECIDED, AND WHERE ITS TIME WENT")
	for i := range all {
		p := &all[i]
		row := slowRow(p)
		t.Row(human.Nanoseconds(p.Total), row[0])
		for _, line := range row[1:] {
			t.Row("", line)
		}
	}
	if err := t.Write(w); err != nil || !steps {
		return err
	}
	for i := range all {
		p := &all[i]
		fmt.Fprintf(w, "\nThe packet that took %s\n", human.Nanoseconds(p.Total))
		if err := explain.Write(w, p.Decision); err != nil {
			return err
		}
	}
	return nil
}

// slowRow tells of a packet in lines: what it was, what was decided, where its time
// went.
func slowRow(p *daemon.SlowPacket) []string {
	what := fmt.Sprintf("%s %s to %s", p.Protocol, p.Source, p.Dest)
	if len(p.TCPFlags) > 0 {
		what += ", " + strings.ToUpper(strings.Join(p.TCPFlags, "+"))
	}
	decided := "by " + p.NIC + ", "
	if s := p.Service; s != nil && s.String() != p.Protocol+":"+p.Dest {
		decided += fmt.Sprintf("service %s, ", s)
	}
	return []string{
		fmt.Sprintf("%s, %d bytes, %s ago", what, p.Length, human.Seconds(uint32(p.Ago))),
		decided + explain.Line(p.Decision),
		p.Where(),
	}
}

func printMachine(w io.Writer, m *daemon.Machine) error {
	fmt.Fprintln(w, "\nThe machine in the last minute")
	t := table.New("", ">TIMES", ">IN ALL", ">LONGEST")
	for _, row := range []struct {
		name string
		w    *daemon.Waits
	}{{"scheduling gaps over 0.1ms", &m.Gaps}, {"pauses for garbage collection", &m.GC}} {
		t.Row(row.name, human.Count(uint64(row.w.Count)), human.Nanoseconds(row.w.Sum), human.Nanoseconds(row.w.Longest))
	}
	if err := t.Write(w); err != nil {
		return err
	}
	if m.RunQueue >= 0 {
		fmt.Fprintf(w, "workers waited %s for a CPU that ran something else\n", human.Nanoseconds(m.RunQueue))
	}
	fmt.Fprintf(w, "the hypervisor took %.2f %% of the CPUs' time\n", 100*m.Stolen)
	return nil
}

// printHistogram draws one bar for each power of two of microseconds.
func printHistogram(w io.Writer, s *latency.Summary) {
	var counts [16]uint64
	for _, b := range s.Buckets {
		i := 0
		for i < len(counts)-1 && b.Upper > 1000<<i {
			i++
		}
		counts[i] += b.Count
	}
	for i, c := range counts {
		if c == 0 {
			continue
		}
		label := fmt.Sprintf("<= %s", human.Nanoseconds(1000<<i))
		if i == len(counts)-1 {
			label = fmt.Sprintf("> %s", human.Nanoseconds(1000<<(i-1)))
		}
		share := float64(c) / float64(s.Count)
		fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("  %12s %6.2f %% %s", label, 100*share, strings.Repeat("#", int(50*share+0.5))), " "))
	}
}

package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/cmd/vsnat/internal/daemon"
	"vsnat/cmd/vsnat/internal/human"
	"vsnat/cmd/vsnat/internal/table"
)

// reportCommands are the verbs that show what the running director does.
func reportCommands() []*cobra.Command {
	return []*cobra.Command{
		reportCommand("status", "Show what the director does now", control.StatusReport, printStatus),
		reportCommand("drops", "Show what became of every frame, by NIC and reason", control.DropsReport, printDrops),
		latencyCommand(),
	}
}

func reportCommand[T any](name, short string, report control.Report, print func(io.Writer, *T) error) *cobra.Command {
	var v view
	cmd := &cobra.Command{
		Use: name, Short: short, Args: cobra.NoArgs,
		Example: "  vsnat " + name + "\n  vsnat " + name + " --json\n  vsnat " + name + " --watch",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return show(cmd, &v, func(ctx context.Context, c *control.Client) (*T, error) {
				r := new(T)
				return r, c.Report(ctx, report, r)
			}, print)
		},
	}
	v.registerWatched(cmd)
	return cmd
}

func printStatus(w io.Writer, s *daemon.Status) error {
	fmt.Fprintf(w, "vsnat %s, up %s, guard %s\n", s.Version, human.Seconds(uint32(s.Uptime)), s.Guard)
	fmt.Fprintf(w, "%s, connections %d of at most %d (%.1f MB)\n\n",
		count(s.Services, "service"), s.Connections.Now, s.Connections.Max, float64(s.Connections.Bytes)/1e6)
	t := table.New("", ">CONNECTIONS", ">PACKETS IN", ">BYTES IN", ">PACKETS OUT", ">BYTES OUT")
	for _, r := range []struct {
		name                      string
		conns, in, inB, out, outB uint64
	}{
		{"total", s.Total.Conns, s.Total.InPkts, s.Total.InBytes, s.Total.OutPkts, s.Total.OutBytes},
		{"a second", s.Total.CPS, s.Total.InPPS, s.Total.InBPS, s.Total.OutPPS, s.Total.OutBPS},
	} {
		t.Row(r.name, human.Count(r.conns), human.Count(r.in), human.Count(r.inB), human.Count(r.out), human.Count(r.outB))
	}
	if err := t.Write(w); err != nil {
		return err
	}
	fmt.Fprintln(w)
	t = table.New("NIC", ">FRAMES IN", ">BYTES IN", ">RING FULL", ">FRAMES OUT", ">BYTES OUT", ">NOT SENT")
	for _, n := range s.NICs {
		t.Row(n.Name, human.Count(n.Stats.RxFrames), human.Count(n.Stats.RxBytes), human.Count(n.Stats.RxDropped),
			human.Count(n.Stats.TxFrames), human.Count(n.Stats.TxBytes), human.Count(n.Stats.TxErrors))
	}
	if err := t.Write(w); err != nil {
		return err
	}
	for _, n := range s.NICs {
		if n.Stats.TxMerged > 0 {
			fmt.Fprintf(w, "%s: %s more left as parts of those\n", n.Name, human.Count(n.Stats.TxMerged))
		}
	}
	return nil
}

func printDrops(w io.Writer, d *daemon.Drops) error {
	t := table.New("NIC", ">RECEIVED", ">FORWARDED", ">REPLIED", ">PASSED", ">HELD", ">DROPPED", "BALANCE")
	why := table.New("NIC", ">FRAMES", "REASON", "MEANING")
	reasons := 0
	for _, n := range d.NICs {
		var dropped uint64
		for _, reason := range slices.Sorted(maps.Keys(n.Dropped)) {
			dropped += n.Dropped[reason]
			reasons++
			why.Row(n.Name, human.Count(n.Dropped[reason]), reason, d.Reasons[reason])
		}
		if n.RingFull > 0 {
			reasons++
			why.Row(n.Name, human.Count(n.RingFull), "-", "lost before they were received: the ring was full")
		}
		balance := "ok"
		if !n.Balanced {
			balance = "WRONG"
		}
		t.Row(n.Name, human.Count(n.Received), human.Count(n.Forwarded), human.Count(n.Replied), human.Count(n.Passed),
			human.Count(n.Held), human.Count(dropped), balance)
	}
	if err := t.Write(w); err != nil || reasons == 0 {
		return err
	}
	fmt.Fprintln(w)
	return why.Write(w)
}

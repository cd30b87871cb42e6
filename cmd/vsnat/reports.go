package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/cmd/vsnat/internal/daemon"
	"vsnat/cmd/vsnat/internal/latency"
)

// reportCommands are the verbs that show what the running director does.
func reportCommands() []*cobra.Command {
	return []*cobra.Command{
		reportCommand("status", "Show what the director does now", control.StatusReport, printStatus),
		reportCommand("drops", "Show what became of every frame, by NIC and reason", control.DropsReport, printDrops),
		reportCommand("latency", "Show how long packets took, against the budget", control.LatencyReport, printLatency),
	}
}

func reportCommand[T any](name, short string, report control.Report, print func(io.Writer, *T)) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: name, Short: short, Args: cobra.NoArgs,
		Example: "  vsnat " + name + "\n  vsnat " + name + " --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c := control.NewClient(control.SocketPath())
			defer c.Close()
			var r T
			if err := c.Report(cmd.Context(), report, &r); err != nil {
				return err
			}
			if asJSON {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				return enc.Encode(&r)
			}
			print(cmd.OutOrStdout(), &r)
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printStatus(w io.Writer, s *daemon.Status) {
	fmt.Fprintf(w, "vsnat %s, up %s, guard %s\n", s.Version, time.Duration(s.Uptime*1e9).Round(time.Second), s.Guard)
	fmt.Fprintf(w, "services %d, connections %d of at most %d (%.1f MB)\n",
		s.Services, s.Connections.Now, s.Connections.Max, float64(s.Connections.Bytes)/1e6)
	fmt.Fprintf(w, "scheduled %d, in %d packets %d bytes, out %d packets %d bytes\n",
		s.Total.Conns, s.Total.InPkts, s.Total.InBytes, s.Total.OutPkts, s.Total.OutBytes)
	fmt.Fprintf(w, "a second: scheduled %d, in %d packets %d bytes, out %d packets %d bytes\n\n",
		s.Total.CPS, s.Total.InPPS, s.Total.InBPS, s.Total.OutPPS, s.Total.OutBPS)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "NIC\tframes in\tbytes in\tring full\tframes out\tbytes out\tnot sent\t")
	for _, n := range s.NICs {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t\n", n.Name, n.Stats.RxFrames, n.Stats.RxBytes,
			n.Stats.RxDropped, n.Stats.TxFrames, n.Stats.TxBytes, n.Stats.TxErrors)
	}
	t.Flush()
}

func printDrops(w io.Writer, d *daemon.Drops) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "NIC\treceived\tforwarded\treplied\tpassed\theld\tdropped\tbalance\t")
	for _, n := range d.NICs {
		var dropped uint64
		for _, c := range n.Dropped {
			dropped += c
		}
		balance := "ok"
		if !n.Balanced {
			balance = "WRONG"
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t\n",
			n.Name, n.Received, n.Forwarded, n.Replied, n.Passed, n.Held, dropped, balance)
	}
	t.Flush()
	for _, n := range d.NICs {
		for _, reason := range slices.Sorted(maps.Keys(n.Dropped)) {
			fmt.Fprintf(w, "%s: %d %s: %s\n", n.Name, n.Dropped[reason], reason, d.Reasons[reason])
		}
		if n.RingFull > 0 {
			fmt.Fprintf(w, "%s: %d lost before they were received: the ring was full\n", n.Name, n.RingFull)
		}
	}
}

func printLatency(w io.Writer, l *daemon.Latency) {
	budget := time.Duration(l.Budget)
	for _, part := range []struct {
		name string
		s    *latency.Summary
	}{
		{"pickup to sent", &l.Pickup},
		{"kernel receive to sent", &l.Receive},
	} {
		fmt.Fprintf(w, "%s: %d packets, p50 %s, p90 %s, p99 %s, p99.9 %s, max %s, %.2f %% over %s\n", part.name, part.s.Count,
			ns(part.s.P50), ns(part.s.P90), ns(part.s.P99), ns(part.s.P999), ns(part.s.Max), 100*part.s.Over, budget)
		printHistogram(w, part.s)
	}
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
		label := fmt.Sprintf("<= %s", ns(1000<<i))
		if i == len(counts)-1 {
			label = fmt.Sprintf("> %s", ns(1000<<(i-1)))
		}
		share := float64(c) / float64(s.Count)
		fmt.Fprintf(w, "  %12s %6.2f %% %s\n", label, 100*share, strings.Repeat("#", int(50*share+0.5)))
	}
}

func ns(n int64) string {
	d := time.Duration(n)
	if d >= 10*time.Microsecond {
		d = d.Round(100 * time.Nanosecond)
	}
	return d.String()
}

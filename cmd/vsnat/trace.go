package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"vsnat/cmd/vsnat/internal/complete"
	"vsnat/cmd/vsnat/internal/control"
	"vsnat/cmd/vsnat/internal/explain"
)

func traceCommand() *cobra.Command {
	var f control.TraceFilter
	var client, virtual endpointFilter
	var proto string
	var asJSON, steps bool
	limit := 0
	cmd := &cobra.Command{
		Use:   "trace",
		Short: "Show decisions as the director makes them",
		Long: `Show what becomes of packets as the director decides it, one line each, until
interrupted. Packets do not wait for it: of too many at a time some are left out,
and counted. Filters given together must all agree; an ENDPOINT is an address, an
address with a port, or a network. Answers are shown with the packets that they
answer.`,
		Example: `  vsnat trace --client 192.0.2.7
  vsnat trace --new --vip 192.0.2.1:80
  vsnat trace --verdict drop,reply --limit 20
  vsnat trace --sample 100 --json
  vsnat trace --client 192.0.2.7 --steps`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.Client, f.Virtual, f.Protocol = client.EndpointSet, virtual.EndpointSet, control.Protocol(strings.ToLower(proto))
			if limit < 0 {
				return fmt.Errorf("invalid argument %d for --limit: at least 0", limit)
			}
			if cmd.Flags().Changed("sample") && f.Sample == 0 {
				return errors.New("invalid argument 0 for --sample: at least 1, which is all packets")
			}
			if err := wordsOf("verdict", f.Verdicts, control.Verdicts); err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGTERM, unix.SIGINT)
			defer stop()
			c := control.NewClient(control.SocketPath())
			defer c.Close()
			out := cmd.OutOrStdout()
			print := explain.WriteLine
			if asJSON {
				enc := json.NewEncoder(out)
				print = func(_ io.Writer, t *control.Traced) error { return enc.Encode(t) }
			} else if steps {
				print = writeSteps
			}
			shown, lost := 0, uint64(0)
			defer func() {
				if lost > 0 {
					fmt.Fprintf(cmd.ErrOrStderr(), "%d packets were not looked at or not shown, as there were too many at a time: narrower filters or --sample leave fewer\n", lost)
				}
			}()
			for t, err := range c.Trace(ctx, f) {
				if ctx.Err() != nil {
					return nil
				}
				if err != nil {
					return err
				}
				lost += t.Lost
				if t.Decision == nil && !asJSON {
					continue
				}
				if err := print(out, &t); err != nil {
					return err
				}
				if t.Decision == nil {
					continue
				}
				if shown++; shown == limit {
					break
				}
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.Var(&client, "client", "only of clients at this `ENDPOINT`")
	flags.Var(&virtual, "vip", "only to this virtual `ENDPOINT`, and of its answers")
	flags.StringVar(&proto, "proto", "", "only of this protocol: tcp, udp or sctp")
	flags.StringSliceVar(&f.Verdicts, "verdict", nil, "only what becomes this: "+strings.Join(control.Verdicts, ", "))
	flags.BoolVar(&f.New, "new", false, "only packets that begin a connection, or are refused one")
	flags.Uint32Var(&f.Sample, "sample", 0, "only one of so many packets")
	flags.IntVar(&limit, "limit", 0, "at most so many; 0 is all")
	flags.BoolVar(&steps, "steps", false, "print each as vsnat explain does")
	flags.BoolVar(&asJSON, "json", false, "print JSON, one object a line")
	complete.Flags(cmd, map[string]complete.Func{
		"client": complete.Nothing, "vip": complete.Virtuals, "sample": complete.Nothing, "limit": complete.Nothing,
		"proto": complete.Words("tcp", "udp", "sctp"), "verdict": complete.Words(control.Verdicts...),
	})
	return cmd
}

// writeSteps prints a decision as vsnat explain does, with a line that says when.
func writeSteps(w io.Writer, t *control.Traced) error {
	if _, err := fmt.Fprintf(w, "%s\n", t.Time); err != nil {
		return err
	}
	if err := explain.Write(w, t.Decision); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w)
	return err
}

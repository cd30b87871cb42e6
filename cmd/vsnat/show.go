package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/cmd/vsnat/internal/watch"
)

// view is how a verb shows what it has to show.
type view struct {
	asJSON bool
	every  time.Duration // 0 is once
}

func (v *view) register(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&v.asJSON, "json", false, "print JSON")
}

// registerWatched does so for a verb that can be watched too.
func (v *view) registerWatched(cmd *cobra.Command) {
	v.register(cmd)
	f := cmd.Flags()
	f.DurationVar(&v.every, "watch", 0, "show it again and again, after this `TIME`; q ends (--watch alone: 2s)")
	f.Lookup("watch").NoOptDefVal = "2s"
}

// leastWatch is the shortest time between two looks.
const leastWatch = 100 * time.Millisecond

// print prints an answer once: as JSON, or for people.
func (v *view) print(w io.Writer, answer any, people func(io.Writer) error) error {
	if v.asJSON {
		return printJSON(w, answer)
	}
	return people(w)
}

// show asks the director and prints what it answers, as often as is wanted.
func show[T any](cmd *cobra.Command, v *view, ask func(context.Context, *control.Client) (T, error), people func(io.Writer, T) error) error {
	c := control.NewClient(control.SocketPath())
	defer c.Close()
	out := cmd.OutOrStdout()
	once := func(ctx context.Context, w io.Writer) error {
		answer, err := ask(ctx, c)
		if err != nil {
			return err
		}
		if v.asJSON && v.every > 0 {
			return json.NewEncoder(w).Encode(answer) // one a line
		}
		return v.print(w, answer, func(w io.Writer) error { return people(w, answer) })
	}
	if v.every == 0 && !cmd.Flags().Changed("watch") {
		return once(cmd.Context(), out)
	}
	if v.every < leastWatch {
		return fmt.Errorf("invalid argument %s for --watch: at least %s", v.every, leastWatch)
	}
	if f, ok := out.(*os.File); ok && !v.asJSON && term.IsTerminal(int(f.Fd())) && term.IsTerminal(int(os.Stdin.Fd())) {
		return watch.Run(cmd.Context(), os.Stdin, f, cmd.CommandPath(), v.every, func(ctx context.Context) (string, error) {
			var b bytes.Buffer
			err := once(ctx, &b)
			return b.String(), err
		})
	}
	return repeat(cmd.Context(), out, v.every, v.asJSON, once)
}

// repeat prints again and again where there is no terminal.
func repeat(ctx context.Context, out io.Writer, every time.Duration, asJSON bool, once func(context.Context, io.Writer) error) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if err := once(ctx, out); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if !asJSON {
			fmt.Fprintln(out)
		}
	}
}

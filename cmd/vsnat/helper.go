package main

import (
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"vsnat/cmd/vsnat/internal/complete"
	"vsnat/cmd/vsnat/internal/control"
	"vsnat/cmd/vsnat/internal/human"
	"vsnat/cmd/vsnat/internal/table"
)

func helperCommand() *cobra.Command {
	var v view
	cmd := &cobra.Command{
		Use:   "helper",
		Short: "Show and change the helpers for FTP and TFTP",
		Long: `Show and change the helpers, which read what the masquerading connections to
their ports say, and let the connections through that these announce: FTP's data
connections, and the answers of TFTP servers. REFUSED counts announcements of an
address that is not the sender's own, and those there was no room for.`,
		Example: `  vsnat helper
  vsnat helper set ftp 21 2121
  vsnat helper set tftp off`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c := control.NewClient(control.SocketPath())
			defer c.Close()
			all, err := c.Helpers(cmd.Context())
			if err != nil {
				return err
			}
			return v.print(cmd.OutOrStdout(), all, func(w io.Writer) error { return printHelpers(w, all) })
		},
	}
	v.register(cmd)
	cmd.AddCommand(helperSetCommand())
	return cmd
}

func printHelpers(w io.Writer, all []control.HelperEntry) error {
	t := table.New("HELPER", "PROTOCOL", "PORTS", ">EXPECTED", ">CHANGED", ">REFUSED")
	for _, h := range all {
		t.Row(h.Name, string(h.Protocol), h.Where(), human.Count(h.Expected), human.Count(h.Changed), human.Count(h.Refused))
	}
	return t.Write(w)
}

func helperSetCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "set HELPER PORT... | set HELPER off",
		Short: "Attach a helper to other virtual ports, at most 8, or to none",
		Long: `Attach a helper to other virtual ports, at most 8, or to none. Connections keep the
helper that they began with.`,
		Example: `  vsnat helper set ftp 21 2121
  vsnat helper set tftp off`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			h := control.Helper{Name: args[0], Ports: []uint16{}}
			if len(args) != 2 || args[1] != "off" {
				for _, arg := range args[1:] {
					port, err := strconv.ParseUint(arg, 10, 16)
					if err != nil {
						return fmt.Errorf("invalid argument %q: a port, or `off' alone", arg)
					}
					h.Ports = append(h.Ports, uint16(port))
				}
			}
			return applyPlain(cmd, control.Command{Op: control.SetHelpers, Helpers: []control.Helper{h}})
		},
	}
	cmd.ValidArgsFunction = complete.Words("ftp", "tftp")
	return cmd
}

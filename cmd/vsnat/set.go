package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"vsnat/cmd/vsnat/internal/complete"
	"vsnat/cmd/vsnat/internal/control"
	"vsnat/cmd/vsnat/internal/table"
	"vsnat/nat"
)

func setCommand() *cobra.Command {
	var v view
	cmd := &cobra.Command{
		Use:   "set [NAME | NAME=VALUE...]",
		Short: "Show and change the settings that the kernel has at net.ipv4.vs",
		Long: `Show and change the settings of the running director, by the names that the
kernel's IPVS has for them at net.ipv4.vs. Several are changed together or not
at all. They last until the director ends.`,
		Example: `  vsnat set
  vsnat set expire_nodest_conn
  vsnat set expire_nodest_conn=1 conn_reuse_mode=0`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c := control.NewClient(control.SocketPath())
			defer c.Close()
			values, err := parseSettings(args)
			if err != nil {
				return err
			}
			if len(values) > 0 {
				return c.Apply(cmd.Context(), control.Command{Op: control.Set, Settings: values})
			}
			all, err := c.Settings(cmd.Context())
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if len(args) == 1 {
				name := strings.TrimPrefix(args[0], "net.ipv4.vs.")
				at := slices.IndexFunc(all, func(s control.Setting) bool { return s.Name == name })
				if at < 0 {
					// The director knows best what is wrong with the name.
					return c.Apply(cmd.Context(), control.Command{Op: control.Set, Settings: map[string]nat.Value{name: 0}})
				}
				if !v.asJSON {
					fmt.Fprintln(out, all[at].Value)
					return nil
				}
				all = all[at : at+1]
			}
			return v.print(out, all, func(w io.Writer) error { return printSettings(w, all) })
		},
	}
	v.register(cmd)
	cmd.ValidArgsFunction = complete.Settings
	return cmd
}

// parseSettings returns the values to set: none when one name, or nothing, asks
// for what is set.
func parseSettings(args []string) (map[string]nat.Value, error) {
	values := make(map[string]nat.Value)
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if !ok {
			if len(args) == 1 {
				return nil, nil
			}
			return nil, fmt.Errorf("invalid argument %q: NAME=VALUE is wanted", arg)
		}
		n, err := nat.ParseValue(value)
		if err != nil {
			return nil, fmt.Errorf("invalid argument %q: %w", arg, err)
		}
		if _, twice := values[name]; twice {
			return nil, fmt.Errorf("invalid argument %q: %s is given twice", arg, name)
		}
		values[name] = n
	}
	return values, nil
}

func printSettings(w io.Writer, all []control.Setting) error {
	t := table.New("SETTING", ">VALUE", ">DEFAULT", "MEANING")
	for _, s := range all {
		t.Row(s.Name, s.Value.String(), s.Default.String(), s.Help)
	}
	return t.Write(w)
}

package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"vsnat/cmd/vsnat/internal/complete"
	"vsnat/cmd/vsnat/internal/importer"
	"vsnat/cmd/vsnat/internal/ipvsadm"
)

// maxImport bounds what is read, in bytes.
const maxImport = 64 << 20

func importCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Make a configuration file of another program's",
		Long: `Make a configuration file of what another program of the Linux Virtual Server is
told by: ipvsadm -S text, the virtual_server blocks of keepalived.conf, or
ldirectord.cf. FILE may be - for the standard input.

The configuration file goes to the standard output, and what could not be carried
over, line by line, to the standard error, and into the file as comments. Health
checks, VRRP, mail and scripts are none of vsnat's affairs.`,
		Example: `  vsnat import /etc/keepalived/keepalived.conf > vsnat.toml
  ipvsadm-save -n | vsnat import - > vsnat.toml
  vsnat import --format ldirectord /etc/ha.d/ldirectord.cf > vsnat.toml && vsnat check vsnat.toml`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, in := args[0], cmd.InOrStdin()
			if name == "-" {
				name = "the standard input"
			} else {
				f, err := os.Open(name)
				if err != nil {
					return err
				}
				defer f.Close()
				in = f
			}
			text, err := io.ReadAll(io.LimitReader(in, maxImport+1))
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if len(text) > maxImport {
				return fmt.Errorf("%s is larger than %d bytes", name, maxImport)
			}
			r, err := importer.Import(name, string(text), importer.Format(format), &ipvsadm.SystemNames{})
			if err != nil {
				return err
			}
			for _, l := range r.Lost {
				fmt.Fprintf(cmd.ErrOrStderr(), "%s:%s\n", name, l)
			}
			if r.Services == 0 {
				return fmt.Errorf("%s: there is no service that can be carried over", name)
			}
			if _, err := io.WriteString(cmd.OutOrStdout(), r.Text); err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s and %s carried over; %s not\n", name,
				count(r.Services, "virtual service"), count(r.Servers, "real server"), count(len(r.Lost), "line"))
			return nil
		},
	}
	cmd.Flags().StringVar(&format, "format", "", "ipvsadm, keepalived or ldirectord (default: found out)")
	complete.Flags(cmd, map[string]complete.Func{"format": complete.Words("ipvsadm", "keepalived", "ldirectord")})
	return cmd
}

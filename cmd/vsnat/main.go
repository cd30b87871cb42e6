// Command vsnat is a layer-4 load balancer in userspace: a director that does
// on raw packets what Linux Virtual Server does in the kernel. Called by the
// name ipvsadm, it answers as ipvsadm does.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"vsnat/cmd/vsnat/internal/bench"
	"vsnat/cmd/vsnat/internal/daemon"
	"vsnat/cmd/vsnat/internal/ipvsadm"
	"vsnat/cmd/vsnat/internal/lab"
)

func main() {
	switch name := filepath.Base(os.Args[0]); name {
	case "ipvsadm", "ipvsadm-save", "ipvsadm-restore":
		os.Exit(ipvsadm.Run(name, os.Args[1:]))
	}
	os.Exit(run())
}

// rootCommand returns the program's verbs.
func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:     "vsnat",
		Short:   "A layer-4 load balancer: Linux Virtual Server in userspace",
		Version: daemon.Version,
		Example: `  vsnat run -c /etc/vsnat.toml
  vsnat ipvsadm -A -t 192.0.2.1:80 -s wlc
  vsnat ipvsadm -a -t 192.0.2.1:80 -r 10.0.0.11 -m
  vsnat top
  source <(vsnat completion bash)`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddCommand(runCommand(), checkCommand(), importCommand(), planCommand(), reloadCommand(), confirmCommand(), topCommand(), setCommand(), markCommand(), poolCommand(), masqueradeCommand(), helperCommand(), connsCommand(), explainCommand(), traceCommand(), serviceCommand(), serverCommand(), ipvsadm.Command(), lab.Command(), bench.Command())
	root.AddCommand(reportCommands()...)
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), "Flags.FlagUsages ", "Flags.FlagUsagesWrapped 80 "))
	root.InitDefaultCompletionCmd()
	if c, _, err := root.Find([]string{"completion", "powershell"}); err == nil {
		c.Parent().RemoveCommand(c) // there is no vsnat where it is used
	}
	return root
}

func run() int {
	cmd, err := rootCommand().ExecuteC()
	if err == nil {
		return 0
	}
	if code, ok := exitStatus(err); ok {
		return code
	}
	text := told(err)
	if strings.HasPrefix(text, "accepts ") {
		// cobra counts arguments, and does not say which they are.
		text = fmt.Sprintf("arguments are missing or too many; it is `%s'", cmd.UseLine())
	}
	fmt.Fprintln(os.Stderr, "vsnat:", text)
	if isUsage(err, cmd) {
		fmt.Fprintf(os.Stderr, "Try '%s --help'.\n", cmd.CommandPath())
		return 2
	}
	return 1
}

package lab

import (
	"strings"

	"github.com/spf13/cobra"

	"vsnat/cmd/vsnat/internal/complete"
)

// completed has the verbs' words found.
func completed(cmd *cobra.Command) *cobra.Command {
	for _, verb := range cmd.Commands() {
		words := map[string]complete.Func{
			"method": complete.Words("masq", "direct", "tunnel", "full"), "tunnel": complete.Words("ipip", "gue", "gre"), "scheduler": complete.Schedulers, "name": completeNames, "host": complete.Words("client", "director"),
		}
		for name := range words {
			if verb.Flags().Lookup(name) == nil {
				delete(words, name)
			}
		}
		complete.Flags(verb, words)
		switch verb.Name() {
		case "down", "status":
			verb.ValidArgsFunction = completeNames
		case "exec":
			verb.ValidArgsFunction = completeHosts
		}
	}
	return cmd
}

// completeNames finds the labs that are up.
func completeNames(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names, err := sweep()
	if err != nil {
		cobra.CompDebugln(err.Error(), false)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeHosts finds the hosts of the lab that is meant; a command follows, and
// its words.
func completeHosts(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	name, err := pick(cmd.Flag("name").Value.String())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	_, s, err := load(name)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return strings.Fields(hostNames(&s.Topology)), cobra.ShellCompDirectiveNoFileComp
}

package ipvsadm

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"vsnat/cmd/vsnat/internal/complete"
	"vsnat/cmd/vsnat/internal/control"
)

// completions are the words that may follow an option.
var completions = map[tag]complete.Func{
	't': complete.Services(control.TCP), 'u': complete.Services(control.UDP), tagSCTP: complete.Services(control.SCTP), 'f': complete.Services(control.AnyProtocol),
	's':               complete.Schedulers,
	'b':               complete.Words(schedFlagWords()...),
	tagPE:             complete.Words("sip"),
	tagTunType:        complete.Words("ipip", "gue", "gre"),
	tagStartDaemon:    complete.Words("master", "backup"),
	tagStopDaemon:     complete.Words("master", "backup"),
	tagMcastInterface: complete.NICs,
}

// kindOf are the beginnings of the names of services that options name.
var kindOf = map[tag]string{'t': "tcp:", 'u': "udp:", tagSCTP: "sctp:", 'f': "fwmark:"}

// completeArgs finds what may come next on a command line: what an option wants
// that is the last word, or else the options that may still be given.
func completeArgs(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	var (
		wants   *option // the option whose word is being typed
		given   optSet
		service *control.ServiceID // nil if none is named yet
		rule    rule
	)
	for s, first := newScanner(options, args), true; ; first = false {
		o, arg, err := s.scan()
		if err != nil && s.next >= len(args) {
			wants = o // its word is missing
		}
		if err != nil || o == nil {
			break
		}
		if c, ok := firstOptions[o.tag]; ok && first {
			rule = commandRules[min(int(c), len(commandRules)-1)]
		}
		if which, ok := onceOf[o.tag]; ok {
			given |= set(which)
		}
		if kind := kindOf[o.tag]; kind != "" && arg != nil {
			if id, err := control.ParseServiceID(kind + *arg); err == nil {
				service = &id
			}
		}
	}
	if wants == nil && len(args) > 0 {
		wants = waiting(args[len(args)-1])
	}
	const nothing = cobra.ShellCompDirectiveNoFileComp
	switch {
	case wants == nil:
		return optionWords(len(args) == 0, (rule.must|rule.may|rule.one)&^given), nothing
	case wants.tag == 'r':
		return complete.Asking(func(ctx context.Context, c *control.Client) ([]string, error) {
			return complete.Servers(ctx, c, service)
		})(cmd, args, typed)
	case completions[wants.tag] != nil:
		return completions[wants.tag](cmd, args, typed)
	}
	return nil, nothing
}

// waiting returns the option that a word is, if it wants another word.
func waiting(word string) *option {
	for i := range options {
		o := &options[i]
		if o.arg == needArg && (word == "--"+o.long || o.short != 0 && word == "-"+string(rune(o.short))) {
			return o
		}
	}
	return nil
}

// optionWords are the words of options: of commands, or else of those that may be
// given with one.
func optionWords(commands bool, may optSet) (words []string) {
	for i := range options {
		o := &options[i]
		if _, first := firstOptions[o.tag]; first != commands {
			continue
		}
		if which, ok := onceOf[o.tag]; !commands && (!ok || !may.has(which)) {
			continue
		}
		if o.short != 0 {
			words = append(words, "-"+string(rune(o.short)))
		}
		if long := "--" + o.long; !slices.Contains(words, long) {
			words = append(words, long)
		}
	}
	return words
}

// schedFlagWords are the names of schedulers' flags.
func schedFlagWords() (words []string) {
	for _, f := range control.SchedulerFlags {
		words = append(words, f.Name)
	}
	return words
}

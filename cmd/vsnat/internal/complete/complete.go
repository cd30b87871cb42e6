// Package complete finds what a shell may put for a word that is being typed:
// the names that the running director has now, and those that are fixed.
package complete

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/sched"
)

// Func is what cobra asks for the rest of a word. All of them leave it to the
// shell to keep those that begin as the word does.
type Func = cobra.CompletionFunc

// patience is how long a director is waited for: somebody's finger is on the key.
const patience = time.Second

// none says that there is nothing but what is returned.
const none = cobra.ShellCompDirectiveNoFileComp

// Flags has words found for the options of a verb by name. An option that there is not
// is a mistake in the program.
func Flags(cmd *cobra.Command, words map[string]Func) {
	for name, f := range words {
		if err := cmd.RegisterFlagCompletionFunc(name, f); err != nil {
			panic(err)
		}
	}
}

// Words are fixed ones.
func Words(words ...string) Func {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) { return words, none }
}

// Nothing is for words that nobody can know.
var Nothing = Words()

// TOML is for configuration files.
func TOML(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, none
	}
	return []string{"toml"}, cobra.ShellCompDirectiveFilterFileExt
}

// Schedulers are those that there are.
func Schedulers(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return sched.Names(), none
}

// NICs are the host's, but loopback.
func NICs(*cobra.Command, []string, string) (names []string, _ cobra.ShellCompDirective) {
	all, _ := net.Interfaces() // where they cannot be read there is nothing to say
	for _, n := range all {
		if n.Flags&net.FlagLoopback == 0 {
			names = append(names, n.Name)
		}
	}
	return names, none
}

// Asking returns words that a running director has. Without one there are none.
func Asking(ask func(context.Context, *control.Client) ([]string, error)) Func {
	return func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		ctx := cmd.Context()
		if ctx == nil {
			ctx = context.Background()
		}
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		c := control.NewClient(control.SocketPath())
		defer c.Close()
		words, err := ask(ctx, c)
		if err != nil {
			cobra.CompDebugln(err.Error(), false)
		}
		return words, none
	}
}

// Services are the names of services of a protocol, or of firewall marks for
// [control.AnyProtocol].
func Services(p control.Protocol) Func {
	return Asking(func(ctx context.Context, c *control.Client) (names []string, err error) {
		services, err := c.Services(ctx)
		for i := range services {
			e := &services[i]
			name := netip.AddrPortFrom(e.Address, e.Port).String()
			switch {
			case p == control.AnyProtocol && e.FWMark != 0:
				name = fmt.Sprint(e.FWMark)
			case e.FWMark != 0 || e.Protocol != p:
				continue
			}
			names = append(names, cobra.CompletionWithDesc(name, fmt.Sprintf("%s, %d servers", e.Scheduler, len(e.Servers))))
		}
		return names, err
	})
}

// Servers are the real servers of a service, or of all if it is nil.
func Servers(ctx context.Context, c *control.Client, id *control.ServiceID) (names []string, err error) {
	services, err := c.Services(ctx)
	for i := range services {
		e := &services[i]
		if id != nil && e.ServiceID != *id {
			continue
		}
		for _, s := range e.Servers {
			name := cobra.CompletionWithDesc(netip.AddrPortFrom(s.Address, s.Port).String(), fmt.Sprintf("%s, weight %d", s.State, s.Weight))
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names, err
}

// Virtuals are the addresses and ports of all services.
var Virtuals = Asking(func(ctx context.Context, c *control.Client) (names []string, err error) {
	services, err := c.Services(ctx)
	for i := range services {
		if e := &services[i]; e.FWMark == 0 {
			if name := netip.AddrPortFrom(e.Address, e.Port).String(); !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names, err
})

// AllServers are the real servers of all services.
var AllServers = Asking(func(ctx context.Context, c *control.Client) ([]string, error) { return Servers(ctx, c, nil) })

// Settings are the settings' names, and NAME= for those that are to be changed.
func Settings(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	words, directive := Asking(func(ctx context.Context, c *control.Client) (names []string, err error) {
		all, err := c.Settings(ctx)
		for _, s := range all {
			name := s.Name
			if len(args) > 0 {
				name += "="
			}
			names = append(names, cobra.CompletionWithDesc(name, fmt.Sprintf("is %d: %s", s.Value, s.Help)))
		}
		return names, err
	})(cmd, args, typed)
	return words, directive | cobra.ShellCompDirectiveNoSpace
}

// Marks are the places of the mark rules.
var Marks = Asking(func(ctx context.Context, c *control.Client) (places []string, err error) {
	rules, err := c.Marks(ctx)
	for i := range rules {
		places = append(places, cobra.CompletionWithDesc(fmt.Sprint(i+1), rules[i].String()))
	}
	return places, err
})

package ipvsadm

import (
	"bufio"
	"net/netip"
	"strings"

	"vsnat/cmd/vsnat/internal/control"
)

// oneWay is a Resolver as Names, which are not turned back.
type oneWay struct{ Resolver }

func (oneWay) HostName(netip.Addr) (name string, ok bool)               { return "", false }
func (oneWay) PortName(uint16, control.Protocol) (name string, ok bool) { return "", false }

// Rule is a line of rules as -R reads them: a command, or what is wrong with it.
type Rule struct {
	Line    int // counted from 1
	Text    string
	Command control.Command
	Err     error
}

// ReadRules returns the commands of rules that -S has written, without asking or
// changing anything, and of scripts, which may name ipvsadm by its path. Lines that
// begin with # are comments, as for ipvsadm-restore.
func ReadRules(text string, names Resolver) (rules []Rule) {
	a := &app{name: "ipvsadm", names: oneWay{names}, out: bufio.NewWriter(nil)}
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		args := splitRule(line)
		if len(args) == 0 || strings.HasPrefix(line, "#") {
			continue
		}
		if strings.HasSuffix(args[0], "/ipvsadm") {
			args = args[1:] // scripts name it by its path
		}
		rule := Rule{Line: n, Text: line}
		r, err := a.request(args)
		switch {
		case err != nil:
			rule.Err = err
		case !r.changes():
			rule.Err = usage("it changes nothing")
		default:
			rule.Command = r.command()
		}
		rules = append(rules, rule)
	}
	return rules
}

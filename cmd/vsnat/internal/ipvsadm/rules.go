package ipvsadm

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"vsnat/cmd/vsnat/internal/control"
)

// printRules prints a service and its servers as the options that add them.
// Thresholds are not among them: ipvsadm forgets them.
func (a *app) printRules(e *control.ServiceEntry, name string, f format) {
	fmt.Fprintf(a.out, "-A %s -s %s", name, e.Scheduler)
	if e.Flags&control.Persistent != 0 {
		fmt.Fprintf(a.out, " -p %d", e.Timeout)
		if m := mask(&e.Service); m != "" {
			fmt.Fprintf(a.out, " -M %s", m)
		}
	}
	if e.PE != "" {
		fmt.Fprintf(a.out, " --pe %s", e.PE)
	}
	if e.Flags&control.OnePacket != 0 {
		fmt.Fprint(a.out, " -o")
	}
	if e.Flags&(control.Flag1|control.Flag2|control.Flag3) != 0 {
		fmt.Fprintf(a.out, " -b %s", schedFlagNames(e.Flags, e.Scheduler))
	}
	fmt.Fprintln(a.out)
	for i := range e.Servers {
		s := &e.Servers[i]
		server := a.endpointName(s.Address, s.Port, portNames(&e.Service), f)
		forward := forwardOptions[s.Method]
		if s.Pool != "" {
			forward += " --pool " + s.Pool
		}
		fmt.Fprintf(a.out, "-a %s -r %s %s -w %d%s\n", name, server, forward, s.Weight, tunnelOptions(&s.RealServer))
	}
}

// forwardOptions are the options of the methods. There is none for a local
// server, which is found by its address.
var forwardOptions = map[control.Method]string{
	control.Masq:   "-m",
	control.Local:  "-g",
	control.Tunnel: "-i",
	control.Direct: "-g",
	control.Full:   "--full-nat",
}

// tunnelOptions returns the options of a tunnel, with a blank before each.
func tunnelOptions(s *control.RealServer) string {
	if s.Method != control.Tunnel {
		return ""
	}
	sum := s.TunnelChecksum
	if sum == "" {
		sum = control.NoChecksum
	}
	switch s.TunnelType {
	case control.GUE:
		return fmt.Sprintf(" --tun-type gue --tun-port %d --tun-%s", s.TunnelPort, sum)
	case control.GRE:
		return fmt.Sprintf(" --tun-type gre --tun-%s", sum)
	}
	return " --tun-type ipip"
}

// rulesBuffer is how much is read of rules at a time, in bytes.
const rulesBuffer = 64 << 10

// maxBatch is how many rules go to the director at once.
const maxBatch = 4096

// batch are rules that the director is still to be given.
type batch struct {
	cmds     []command
	commands []control.Command
}

// readRules runs -R: every line of standard input is a command line. Refused
// commands do not stop it and the code is that of the last line; what ends the
// program on a command line ends it here. Commands that have been read already
// go to the director together; what waits for the next line never waits with
// something undone.
func (a *app) readRules(info control.Info) (int, error) {
	code := codeOK
	var b batch
	for {
		line, err := a.in.ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, usage("cannot read the rules: %v", err)
		}
		if args := splitRule(line); len(args) > 0 {
			r, bad := a.request(args)
			if bad == nil && r.changes() {
				b.cmds = append(b.cmds, r.cmd)
				b.commands = append(b.commands, r.command())
			} else {
				a.flush(&b)
				var stopped error
				if code, stopped = a.carryOut(info, r, bad, true); stopped != nil {
					return 0, stopped
				}
			}
		}
		if len(b.cmds) > 0 && (err != nil || len(b.cmds) >= maxBatch || a.in.Buffered() == 0) {
			code = a.flush(&b)
		}
		if err != nil {
			return code, nil
		}
	}
}

// changes reports whether the request is a command for the director.
func (r *request) changes() bool {
	_, ok := ops[r.cmd]
	return ok
}

// flush gives the batch to the director and prints what it refused. It returns
// the code of the last command.
func (a *app) flush(b *batch) int {
	if len(b.cmds) == 0 {
		return codeOK
	}
	defer func() { *b = batch{} }()
	refused, err := a.client.ApplyAll(a.ctx, b.commands...)
	if err != nil {
		if e := (*control.Error)(nil); errors.As(err, &e) && e.Index != nil && len(b.cmds) > 1 {
			// One is malformed and none was done: see what each of them is.
			return a.oneByOne(b)
		}
		fmt.Fprintln(a.err, a.errorText(b.cmds[0], err))
		return codeRefused
	}
	code := codeOK
	for _, e := range refused {
		fmt.Fprintln(a.err, a.errorText(b.cmds[*e.Index], e))
		if *e.Index == len(b.cmds)-1 {
			code = codeRefused
		}
	}
	return code
}

// oneByOne gives the director each command by itself.
func (a *app) oneByOne(b *batch) (code int) {
	for i := range b.cmds {
		code = codeOK
		if err := a.client.Apply(a.ctx, b.commands[i]); err != nil {
			fmt.Fprintln(a.err, a.errorText(b.cmds[i], err))
			code = codeRefused
		}
	}
	return code
}

// restoreAtomically carries out the commands of standard input after those of
// first, all or none. Messages tell the line, counted from 1.
func (a *app) restoreAtomically(first []control.Command) (int, error) {
	commands := first
	cmds, lines := make([]command, len(first)), make([]int, len(first))
	for n := 1; ; n++ {
		line, err := a.in.ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, usage("cannot read the rules: %v", err)
		}
		if args := splitRule(line); len(args) > 0 {
			r, bad := a.request(args)
			stopped, unread := (*stop)(nil), (*scanError)(nil)
			switch {
			case errors.As(bad, &stopped):
				return 0, &stop{stopped.code, fmt.Sprintf("line %d: %s", n, stopped.msg)}
			case errors.As(bad, &unread):
				return 0, &stop{codeRefused, fmt.Sprintf("line %d: %s", n, unread.Error())}
			case !r.changes():
				return 0, usage("line %d: only commands that change something go with --atomic", n)
			}
			commands, cmds, lines = append(commands, r.command()), append(cmds, r.cmd), append(lines, n)
		}
		if err != nil {
			break
		}
	}
	err := a.client.Transact(a.ctx, commands...)
	if err == nil {
		return codeOK, nil
	}
	cmd, where := cmdRestore, ""
	if e := (*control.Error)(nil); errors.As(err, &e) && e.Index != nil && *e.Index < len(cmds) {
		cmd, where = cmds[*e.Index], fmt.Sprintf("line %d: ", lines[*e.Index])
	}
	fmt.Fprintln(a.err, where+a.errorText(cmd, err))
	return codeRefused, nil
}

// splitRule returns the words of a line, without any that is the program's
// name. There are no quotes and no comments.
func splitRule(line string) []string {
	var args []string
	for _, w := range strings.FieldsFunc(line, func(c rune) bool { return strings.ContainsRune(" \t\r\n", c) }) {
		if w != "ipvsadm" {
			args = append(args, w)
		}
	}
	return args
}

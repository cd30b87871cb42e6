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
		fmt.Fprintf(a.out, "-a %s -r %s %s -w %d%s\n", name, server, forwardOptions[s.Method], s.Weight, tunnelOptions(&s.RealServer))
	}
}

// forwardOptions are the options of the methods. There is none for a local
// server, which is found by its address.
var forwardOptions = map[control.Method]string{
	control.Masq:   "-m",
	control.Local:  "-g",
	control.Tunnel: "-i",
	control.Direct: "-g",
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

// readRules runs -R: every line of standard input is a command line. Refused
// commands do not stop it and the code is that of the last line; what ends the
// program on a command line ends it here.
func (a *app) readRules(info control.Info) (int, error) {
	code := codeOK
	for {
		line, err := a.in.ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, usage("cannot read the rules: %v", err)
		}
		if args := splitRule(line); len(args) > 0 {
			var stopped error
			if code, stopped = a.process(info, args, true); stopped != nil {
				return 0, stopped
			}
		}
		if err != nil {
			return code, nil
		}
	}
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

// Package ipvsadm is ipvsadm 1.31 over vsnat's control socket: the same
// grammar, messages, listings and exit codes, so that scripts and people that
// drive IPVS drive vsnat. What it does in the kernel's place is in package
// control; what it equals byte for byte is recorded in testdata.
//
// It differs on purpose in these points:
//
//   - help and version are printed without a running director;
//   - a director that is not running is named as such, below the first line
//     that ipvsadm prints without the kernel module;
//   - what vsnat cannot do yet is refused with vsnat's reason;
//   - IPv4-mapped IPv6 addresses are refused;
//   - -b with nothing but commas is a usage error, not a crash;
//   - the last line of -R counts even if it ends in blanks without a newline;
//   - -R and ipvsadm-restore take --atomic.
//
// The weight limit is that of Debian's package, 2147483647, not 65535.
package ipvsadm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"vsnat/cmd/vsnat/internal/control"
)

// Client is what the applet asks of the director.
type Client interface {
	Socket() string
	Info(context.Context) (control.Info, error)
	Apply(context.Context, ...control.Command) error
	ApplyAll(context.Context, ...control.Command) ([]*control.Error, error)
	Transact(context.Context, ...control.Command) error
	Services(context.Context) ([]control.ServiceEntry, error)
	Service(context.Context, control.ServiceID) (control.ServiceEntry, error)
	Connections(context.Context) iter.Seq2[control.Connection, error]
	Timeouts(context.Context) (control.Timeouts, error)
	Daemons(context.Context) ([]control.Daemon, error)
}

var _ Client = (*control.Client)(nil)

// Exit codes.
const (
	codeOK      = 0
	codeList    = 1   // a listing failed
	codeUsage   = 2   // the arguments are wrong, or there is no director
	codeRefused = 255 // -1: the kernel refused, or an option is unknown
)

// Main runs the tool that the last element of argv0 names, ipvsadm-save or
// ipvsadm-restore, or else ipvsadm, and returns the exit code. Messages call
// the program argv0.
func Main(argv0 string, args []string, stdin io.Reader, stdout, stderr io.Writer, client Client, names Names) int {
	a := &app{
		name:   argv0,
		ctx:    context.Background(),
		in:     bufio.NewReaderSize(stdin, rulesBuffer),
		out:    bufio.NewWriter(stdout),
		err:    stderr,
		client: client,
		names:  names,
	}
	defer a.out.Flush()
	tool := a.ipvsadm
	switch filepath.Base(argv0) {
	case "ipvsadm-save":
		tool = a.save
	case "ipvsadm-restore":
		tool = a.restore
	}
	code, err := tool(args)
	if stop := (*stop)(nil); errors.As(err, &stop) {
		if stop.msg != "" {
			fmt.Fprintln(stderr, stop.msg)
		}
		return stop.code
	}
	return code
}

// Run is [Main] with the process's standard files, the system's names and the
// director at [control.SocketPath].
func Run(argv0 string, args []string) int {
	client := control.NewClient(control.SocketPath())
	defer client.Close()
	return Main(argv0, args, os.Stdin, os.Stdout, os.Stderr, client, &SystemNames{})
}

// app is one run of the program.
type app struct {
	name   string // argv[0]
	ctx    context.Context
	in     *bufio.Reader
	out    *bufio.Writer
	err    io.Writer
	client Client
	names  Names
}

// stop ends the program from wherever it is, even from inside -R.
type stop struct {
	code int
	msg  string // for stderr; "" for nothing
}

func (s *stop) Error() string { return s.msg }

// usage is the stop for wrong arguments.
func usage(format string, args ...any) error {
	return &stop{codeUsage, fmt.Sprintf(format, args...)}
}

// tryHelp is the stop for arguments that do not begin with a command.
func (a *app) tryHelp() error {
	return &stop{codeRefused, fmt.Sprintf("Try `%s -h' or '%s --help' for more information.", a.name, a.name)}
}

// ipvsadm runs the program proper.
func (a *app) ipvsadm(args []string) (int, error) {
	if len(args) > 0 {
		// What needs no director is told without one.
		if opt, _, err := newScanner(options, args).scan(); err == nil && opt != nil {
			switch opt.tag {
			case tagHelp:
				return codeOK, a.printHelp()
			case tagVersion:
				return codeOK, a.printVersion()
			}
		}
	}
	info, err := a.connect()
	if err != nil {
		return 0, err
	}
	if len(args) == 0 {
		return codeOK, a.listAll(info, 0)
	}
	return a.process(info, args)
}

// connect asks the director who it is, before anything else, as ipvsadm asks
// the kernel.
func (a *app) connect() (control.Info, error) {
	info, err := a.client.Info(a.ctx)
	const first = "Can't initialize ipvs: "
	switch {
	case errors.Is(err, control.ErrNotRunning):
		return info, usage("%sProtocol not available\nvsnat is not running: nothing answers at %s. Start it with `vsnat run', or set VSNAT_SOCKET to the socket it has.",
			first, a.client.Socket())
	case errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EPERM):
		return info, usage("%sPermission denied (you must be root)\nThe socket %s belongs to the user that runs vsnat.", first, a.client.Socket())
	case err != nil:
		return info, usage("%s%v", first, err)
	}
	return info, nil
}

// process runs one command line. The code is that of a command that was
// carried out or refused; whatever ends the program is a [*stop].
func (a *app) process(info control.Info, args []string) (int, error) {
	r, err := a.request(args)
	return a.carryOut(info, r, err, false)
}

// request reads a command line. An error is a [*scanError] or a [*stop].
func (a *app) request(args []string) (*request, error) {
	r, err := a.parse(args)
	if err != nil {
		return nil, err
	}
	return r, r.complete()
}

// carryOut runs what request returned. Rules that are read are nested.
func (a *app) carryOut(info control.Info, r *request, err error, nested bool) (int, error) {
	if bad := (*scanError)(nil); errors.As(err, &bad) {
		fmt.Fprintln(a.err, bad.Error())
		return codeRefused, nil
	}
	if err != nil {
		return 0, err
	}
	switch r.cmd {
	case cmdHelp:
		return codeOK, a.printHelp()
	case cmdVersion:
		return codeOK, a.printVersion()
	case cmdList:
		return codeOK, a.list(info, r)
	case cmdSave:
		return codeOK, a.listAll(info, r.format|formatRule)
	case cmdRestore:
		switch {
		case nested:
			return 0, a.tryHelp()
		case r.opts.has(optAtomic):
			return a.restoreAtomically(nil)
		}
		return a.readRules(info)
	}
	if err := a.client.Apply(a.ctx, r.command()); err != nil {
		fmt.Fprintln(a.err, a.errorText(r.cmd, err))
		return codeRefused, nil
	}
	return codeOK, nil
}

// save is ipvsadm-save: the rules on standard output.
func (a *app) save(args []string) (int, error) {
	line := []string{"-S"}
	for _, arg := range args {
		switch {
		case arg == "-n":
			line = []string{"-S", "-n"}
		case strings.HasPrefix(arg, "-"):
			return 0, &stop{codeList, filepath.Base(a.name) + ": Script to save the IPVS table to stdout.\n" +
				"   With the -n option, prints out the table in numeric format."}
		}
	}
	return a.ipvsadm(line)
}

// restore is ipvsadm-restore: clears the table and reads rules from standard
// input, without the lines that begin with #.
func (a *app) restore(args []string) (int, error) {
	all, err := io.ReadAll(a.in)
	if err != nil {
		return 0, usage("cannot read the rules: %v", err)
	}
	var rules strings.Builder
	for line := range strings.Lines(string(all)) {
		if !strings.HasPrefix(line, "#") {
			rules.WriteString(line)
		} else {
			rules.WriteByte('\n') // keeps the lines' numbers
		}
	}
	a.in.Reset(strings.NewReader(rules.String()))
	// Messages come from ipvsadm, which the script calls.
	a.name = "ipvsadm"
	info, err := a.connect()
	if err != nil {
		return 0, err
	}
	if slices.Contains(args, "--atomic") {
		return a.restoreAtomically([]control.Command{{Op: control.Flush}})
	}
	if code, err := a.process(info, []string{"-C"}); code != codeOK || err != nil {
		return code, err
	}
	return a.process(info, []string{"-R"})
}

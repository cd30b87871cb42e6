package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Self, as the first word of a command line in [Options], is this same program,
// even if its file has been replaced since it was started.
const Self = "/proc/self/exe"

// command returns a command of the lab for a host, with the lab's environment.
func (l *Lab) command(ctx context.Context, host string, argv []string) *Cmd {
	cmd := l.Host(host).Command(ctx, argv[0], argv[1:]...)
	cmd.Args[0] = programName(argv)
	cmd.Env = append(os.Environ(), l.Env(host)...)
	return cmd
}

// programName returns what a command line calls its program.
func programName(argv []string) string {
	if argv[0] == Self {
		return filepath.Base(os.Args[0])
	}
	return argv[0]
}

// Process is a program that runs in a host for as long as the lab does.
type Process struct {
	What    string   // what it is, in a few words
	Host    string   // where it runs
	Argv    []string // its command line
	PID     int      // as this process sees it
	Started time.Time
	Log     string // the file with its output
	// ServesPage: it is a page server, which [Lab.PageStats] asks for figures.
	ServesPage bool

	cmd  *Cmd
	done chan struct{} // closed when it has ended
}

// start starts a program in a host; its output goes to the host's log file.
func (l *Lab) start(what, host string, files []*os.File, argv ...string) (*Process, error) {
	p := &Process{
		What: what, Host: host, Argv: argv,
		Log:  filepath.Join(l.Dir, host+".log"),
		done: make(chan struct{}),
	}
	fail := func(err error) (*Process, error) {
		return nil, fmt.Errorf("lab: host %s: cannot start %s: %w", host, argv[0], err)
	}
	out, err := os.OpenFile(p.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fail(err)
	}
	// The lab's life, not the caller's context, decides how long it runs.
	p.cmd = l.command(context.Background(), host, argv)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.ExtraFiles = files
	// Its own group, so that a ^C for this process is not one for it.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = p.cmd.Start()
	_ = out.Close() // the child has its own
	if err != nil {
		return fail(err)
	}
	p.PID, p.Started = p.cmd.Process.Pid, time.Now()
	go func() {
		_ = p.cmd.Wait() // what became of it is in ProcessState
		close(p.done)
	}()
	return p, nil
}

// Done returns a channel that is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// State tells whether the process runs, or how it ended: "running", "exit
// status 1", "signal: killed".
func (p *Process) State() string {
	select {
	case <-p.done:
		return p.cmd.ProcessState.String()
	default:
		return "running"
	}
}

// stop asks the process to end and waits for a while.
func (p *Process) stop(patience time.Duration) {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return // it has ended
	}
	select {
	case <-p.done:
	case <-time.After(patience):
	}
}

// logTail returns the end of the process's output, for an error message.
func (p *Process) logTail() string {
	b, err := os.ReadFile(p.Log)
	text := strings.TrimSpace(string(b))
	if err != nil || text == "" {
		return "it wrote nothing to " + p.Log
	}
	const most = 2000
	if len(text) > most {
		text = "…" + text[len(text)-most:]
	}
	return "the end of " + p.Log + ":\n" + text
}

// run runs a command in a host to its end.
func (l *Lab) run(ctx context.Context, host string, argv []string) error {
	cmd := l.command(ctx, host, argv)
	out, err := cmd.CombinedOutput()
	if _, ended := err.(*exec.ExitError); ended {
		return fmt.Errorf("lab: host %s: %s: %w\n%s", host, strings.Join(cmd.Args, " "), err, strings.TrimSpace(string(out)))
	}
	if err != nil {
		return fmt.Errorf("lab: host %s: cannot start %s: %w", host, argv[0], err)
	}
	return nil
}

package lab

import (
	"bytes"
	"context"
	"os/exec"
	"syscall"
)

// Cmd is an [exec.Cmd] that starts in a host of the cluster. Use it in the same
// way; only Start, Run, Output and CombinedOutput differ, in where they start
// the process. When the cluster closes, or this process dies, the kernel kills
// the command.
type Cmd struct {
	*exec.Cmd
	host *Host
}

// Command returns a command for this host; ctx kills it, as in
// [exec.CommandContext]. The program is looked up in PATH as usual: the hosts
// of a cluster share the machine's files.
func (h *Host) Command(ctx context.Context, name string, args ...string) *Cmd {
	return &Cmd{Cmd: exec.CommandContext(ctx, name, args...), host: h}
}

// Start starts the command in the host's namespace.
func (c *Cmd) Start() error {
	if c.SysProcAttr == nil {
		c.SysProcAttr = new(syscall.SysProcAttr)
	}
	c.SysProcAttr.Pdeathsig = syscall.SIGKILL
	// A child is born where the thread is that forks it.
	return c.host.onThread(c.Cmd.Start)
}

// Run starts the command and waits for it.
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Output runs the command and returns its standard output.
func (c *Cmd) Output() ([]byte, error) {
	var out bytes.Buffer
	c.Stdout = &out
	err := c.Run()
	return out.Bytes(), err
}

// CombinedOutput runs the command and returns its standard output and error
// output.
func (c *Cmd) CombinedOutput() ([]byte, error) {
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	return out.Bytes(), err
}

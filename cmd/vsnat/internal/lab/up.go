package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"vsnat/bench/lab"
)

// What the supervisor inherits, after standard input with its orders.
const (
	lockFD   = 3 // the lock of the state directory
	reportFD = 4 // a pipe for one reply when it is ready, or cannot be
)

// orders tell a supervisor what to do. It reads them from its standard input.
type orders struct {
	Options       lab.Options `json:"options"`
	UserNamespace bool        `json:"user_namespace"`
	// Lifeline: the lab ends when the standard input does, that is with the
	// process that started it.
	Lifeline bool `json:"lifeline"`
}

// supervised is a supervisor seen from the process that started it.
type supervised struct {
	dir      string
	cmd      *exec.Cmd
	lifeline io.Closer // nil if there is none
}

// start starts the supervisor of a lab and returns when the lab is up. When ctx
// ends first, nothing remains.
func start(ctx context.Context, o lab.Options, lifeline bool) (_ *supervised, err error) {
	if _, err := sweep(); err != nil { // what killed labs of other names have left
		return nil, err
	}
	dir, lock, err := claim(o.Topology.Name)
	if err != nil {
		return nil, err
	}
	// The supervisor inherits the lock; from here on it is its alone.
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
		_ = lock.Close() // never written to
	}()
	o.Dir = dir

	log, err := os.OpenFile(filepath.Join(dir, logFile), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	defer log.Close()
	report, reportW, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	defer report.Close()

	cmd := exec.Command(lab.Self, "lab", "supervise")
	cmd.Args[0] = "vsnat"
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{lock, reportW} // lockFD, reportFD
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lab: %w", err), reportW.Close())
	}
	err = lab.StartIsolated(cmd, unix.CLONE_NEWNET|unix.CLONE_NEWPID|unix.CLONE_NEWNS)
	_ = reportW.Close() // the child has its own
	if err != nil {
		return nil, err
	}
	// From here on a failure must not leave the process.
	defer func() {
		if err != nil {
			_ = cmd.Process.Kill() // fails only if it has ended
			_ = cmd.Wait()         // as above
		}
	}()
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()

	// A supervisor that dies early makes this fail; its report says more.
	sent := json.NewEncoder(stdin).Encode(orders{
		Options:       o,
		UserNamespace: cmd.SysProcAttr.Cloneflags&unix.CLONE_NEWUSER != 0,
		Lifeline:      lifeline,
	})
	var r reply
	if err := json.NewDecoder(report).Decode(&r); err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("lab: starting %s: %w", o.Topology.Name, ctx.Err())
		}
		said, _ := os.ReadFile(log.Name()) // what there is of it
		return nil, fmt.Errorf("lab: the supervisor died while starting: %w: %s", errors.Join(err, sent), strings.TrimSpace(string(said)))
	}
	if r.Error != "" {
		return nil, errors.New(r.Error)
	}
	s := &supervised{dir: dir, cmd: cmd}
	if lifeline {
		s.lifeline = stdin
		return s, nil
	}
	return s, errors.Join(stdin.Close(), cmd.Process.Release())
}

// Patience with a supervisor that was told to end, and with the kernel once it
// was killed.
const (
	endPatience  = 8 * time.Second
	killPatience = 5 * time.Second
)

// end cuts the lifeline and waits until the lab is gone.
func (s *supervised) end() error {
	_ = s.lifeline.Close() // a pipe has nothing to lose
	hard := time.AfterFunc(endPatience, func() { _ = s.cmd.Process.Kill() })
	defer hard.Stop()
	err := s.cmd.Wait()
	if err != nil {
		err = fmt.Errorf("lab: the supervisor ended with: %w", err)
	}
	return errors.Join(err, clearAway(s.dir))
}

// clearAway removes what a supervisor that was killed has left. A new one of the
// same name may be there already; its directory stays.
func clearAway(dir string) error {
	if err := discard(dir); !errors.Is(err, errAlive) {
		return err
	}
	return nil
}

// down ends a lab that another process has started.
func down(name string) error {
	dir, s, err := load(name)
	if err != nil {
		return err
	}
	h, err := find(s.Supervisor, s.Start)
	if err != nil {
		return err
	}
	if h != nil {
		defer h.close()
		if err := h.end(); err != nil {
			return err
		}
	}
	return clearAway(dir)
}

// end ends a supervisor: asked first, killed if it does not listen.
func (h *handle) end() error {
	for _, step := range []struct {
		signal   unix.Signal
		patience time.Duration
	}{{unix.SIGTERM, endPatience}, {unix.SIGKILL, killPatience}} {
		if err := h.signal(step.signal); err != nil {
			return err
		}
		if gone, err := h.wait(step.patience); gone || err != nil {
			return err
		}
	}
	return fmt.Errorf("lab: the supervisor, process %d, does not die", h.pid)
}

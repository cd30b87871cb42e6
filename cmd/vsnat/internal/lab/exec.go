package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"golang.org/x/term"
)

// exitStatus is the error of a command that ended with another status than 0.
// Its output is all there is to say.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// ExitCode returns the status to exit with.
func (e exitStatus) ExitCode() int { return int(e) }

// What a shell exits with when a command cannot be started.
const (
	notExecutable exitStatus = 126
	notFound      exitStatus = 127
)

// execIn runs a command in a host of a lab, with this process's standard
// streams, directory and environment, and returns when it has ended: nil for
// status 0, else an exitStatus.
func execIn(dir, host string, argv []string) error {
	// Looked up here: the supervisor's PATH and directory may be others.
	path, err := exec.LookPath(argv[0])
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "vsnat:", err)
		if errors.Is(err, fs.ErrPermission) {
			return notExecutable
		}
		return notFound
	}
	cwd, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	req := request{Verb: verbExec, Host: host, Path: path, Argv: argv, Env: os.Environ(), Dir: cwd}

	streams := []*os.File{os.Stdin, os.Stdout, os.Stderr}
	var screen *terminal
	if term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stdout.Fd())) {
		if screen, err = newTerminal(); err != nil {
			return err
		}
		defer screen.close()
		req.Terminal = true
		streams[0], streams[1] = screen.inner, screen.inner
		if term.IsTerminal(int(os.Stderr.Fd())) {
			streams[2] = screen.inner
		}
	}
	// Before the command starts, so that none is lost.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(signals)
	c, err := dial(dir, req, streams...)
	if err != nil {
		return err
	}
	defer c.Close()
	if screen != nil {
		if err := screen.start(); err != nil {
			return err
		}
	}
	done := make(chan struct{})
	defer close(done)
	go func() {
		out := json.NewEncoder(c)
		for {
			select {
			case s := <-signals:
				_ = out.Encode(forward{s.(syscall.Signal)}) // fails only if it is over
			case <-done:
				return
			}
		}
	}()

	var r reply
	err = json.NewDecoder(c).Decode(&r)
	if screen != nil {
		screen.drain()
	}
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET):
		return errors.New("lab: the lab went down while the command ran")
	case err != nil:
		return fmt.Errorf("lab: the supervisor's answer cannot be read: %w", err)
	case r.Error != "":
		return errors.New(r.Error)
	case r.Exit == nil:
		return errors.New("lab: the supervisor's answer has no exit status")
	case *r.Exit != 0:
		return exitStatus(*r.Exit)
	}
	return nil
}

// status asks a supervisor for the state of its lab.
func status(dir string) (*State, error) {
	c, err := dial(dir, request{Verb: verbStatus})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	var r reply
	if err := json.NewDecoder(c).Decode(&r); err != nil {
		return nil, fmt.Errorf("lab: the supervisor's answer cannot be read: %w", err)
	}
	if r.Error != "" {
		return nil, errors.New(r.Error)
	}
	return r.State, nil
}

package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"vsnat/bench/lab"
)

// serve answers connections until the listener is closed.
func (s *supervisor) serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of descriptors
			fmt.Fprintln(os.Stderr, err)
			time.Sleep(100 * time.Millisecond)
			continue
		}
		go func() {
			defer c.Close()
			if err := s.answer(c.(*net.UnixConn)); err != nil {
				// The caller hears of it if it still listens.
				_ = json.NewEncoder(c).Encode(reply{Error: err.Error()})
			}
		}()
	}
}

// answer deals with one connection.
func (s *supervisor) answer(c *net.UnixConn) error {
	files, err := accept(c)
	defer func() {
		for _, f := range files {
			_ = f.Close() // the command has its own
		}
	}()
	if err != nil {
		return err
	}
	in := json.NewDecoder(c)
	var req request
	if err := in.Decode(&req); err != nil {
		return fmt.Errorf("lab: a request that cannot be read: %w", err)
	}
	switch req.Verb {
	case verbStatus:
		return json.NewEncoder(c).Encode(reply{State: s.status()})
	case verbExec:
		if len(files) != 3 {
			return fmt.Errorf("lab: exec comes with 3 descriptors, not %d", len(files))
		}
		exit, err := s.exec(req, files, in)
		if err != nil {
			return err
		}
		return json.NewEncoder(c).Encode(reply{Exit: &exit})
	}
	return fmt.Errorf("lab: unknown request %q", req.Verb)
}

// figuresPatience is how long a page server may take to tell its figures. One
// that takes longer is shown without.
const figuresPatience = time.Second

// status returns the state as it is now.
func (s *supervisor) status() *State {
	state := s.state
	state.Processes = make([]Process, len(s.lab.Processes))
	copy(state.Processes, s.state.Processes)
	ctx, cancel := context.WithTimeout(context.Background(), figuresPatience)
	defer cancel()
	var wg sync.WaitGroup
	for i, p := range s.lab.Processes {
		state.Processes[i].State = p.State()
		if !p.ServesPage {
			continue
		}
		wg.Go(func() {
			if figures, err := s.lab.PageStats(ctx, p.Host); err == nil {
				state.Processes[i].Page = &figures
			}
		})
	}
	wg.Wait()
	return &state
}

// hangUpPatience is how long a command has after SIGHUP when its caller is gone.
const hangUpPatience = 2 * time.Second

// exec runs a command to its end and returns its exit status. Signals come in
// from the caller; when the caller is gone, the command is told to go too.
func (s *supervisor) exec(req request, files []*os.File, in *json.Decoder) (int, error) {
	host := s.lab.Host(req.Host)
	if host == nil {
		return 0, fmt.Errorf("lab: %s has no host %q", s.state.Name, req.Host)
	}
	if len(req.Argv) == 0 {
		return 0, errors.New("lab: exec of no command")
	}
	cmd := host.Command(context.Background(), req.Path)
	cmd.Args = req.Argv
	cmd.Env = append(req.Env, s.lab.Env(req.Host)...)
	cmd.Dir = req.Dir
	cmd.Stdin, cmd.Stdout, cmd.Stderr = files[0], files[1], files[2]
	// Its own group, or its own session with the terminal: signals go to all of it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: !req.Terminal, Setsid: req.Terminal, Setctty: req.Terminal}

	s.mu.Lock()
	err := cmd.Start()
	if err == nil {
		s.commands[cmd.Process.Pid] = true
	}
	s.mu.Unlock()
	if err != nil {
		return 0, fmt.Errorf("lab: host %s: cannot start %s: %w", req.Host, req.Argv[0], err)
	}
	pid := cmd.Process.Pid
	for _, f := range files {
		_ = f.Close() // so that only the command holds the other end of a pipe
	}

	var ended sync.Mutex // guards the process number against being used again
	gone := false
	kill := func(sig syscall.Signal) {
		ended.Lock()
		defer ended.Unlock()
		if !gone {
			_ = syscall.Kill(-pid, sig) // fails only if all of it has ended
		}
	}
	go func() {
		for {
			var f forward
			if in.Decode(&f) != nil {
				break
			}
			kill(f.Signal)
		}
		kill(syscall.SIGHUP)
		time.Sleep(hangUpPatience)
		kill(syscall.SIGKILL)
	}()

	err = cmd.Wait()
	ended.Lock()
	gone = true
	ended.Unlock()
	s.mu.Lock()
	delete(s.commands, pid)
	s.mu.Unlock()
	if _, ok := err.(*exec.ExitError); err != nil && !ok {
		return 0, fmt.Errorf("lab: host %s: %s: %w", req.Host, req.Argv[0], err)
	}
	return lab.ExitCode(cmd.ProcessState), nil
}

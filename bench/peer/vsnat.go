package peer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Vsnat is vsnat.
type Vsnat struct {
	Program string   // its file
	Args    []string // more arguments for `vsnat run`
}

// Name implements [Peer].
func (Vsnat) Name() string { return "vsnat" }

// Missing implements [Peer].
func (Vsnat) Missing(context.Context, Director) string { return "" }

// Start implements [Peer].
func (p Vsnat) Start(ctx context.Context, d Director, services []Service) (_ *Running, err error) {
	r, err := p.run(ctx, d)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Stop())
		}
	}()
	cmd := d.Lab.Host(d.Host).Command(ctx, p.Program, "ipvsadm", "-R")
	cmd.Env = append(os.Environ(), d.Lab.Env(d.Host)...)
	cmd.Stdin = strings.NewReader(Rules(services))
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("peer: vsnat ipvsadm -R: %w: %s", err, out)
	}
	return r, nil
}

// startPatience is how long the director may take to answer, stopPatience how
// long to leave before it is killed.
const (
	startPatience = 15 * time.Second
	stopPatience  = 3 * time.Second
)

// run starts the program and waits until it answers.
func (p Vsnat) run(ctx context.Context, d Director) (*Running, error) {
	logPath := filepath.Join(d.Lab.Dir, "director.log")
	logFile, err := os.Create(logPath)
	if err != nil {
		return nil, fmt.Errorf("peer: %w", err)
	}
	defer logFile.Close()
	cmd := d.Lab.Host(d.Host).Command(context.WithoutCancel(ctx), p.Program, append([]string{"run"}, p.Args...)...)
	cmd.Env = append(os.Environ(), d.Lab.Env(d.Host)...)
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a ^C is ours to handle
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("peer: start the director: %w", err)
	}
	ended := make(chan error, 1)
	go func() {
		ended <- cmd.Wait()
		close(ended)
	}()
	r := &Running{PID: cmd.Process.Pid, Stop: func() error {
		_ = cmd.Process.Signal(syscall.SIGTERM) // fails only if it has ended
		select {
		case <-ended:
			return nil
		case <-time.After(stopPatience):
			_ = cmd.Process.Kill()
			<-ended
			return fmt.Errorf("peer: the director did not leave within %v and was killed", stopPatience)
		}
	}}
	for deadline := time.Now().Add(startPatience); ; time.Sleep(20 * time.Millisecond) {
		var status json.RawMessage
		err := Ask(ctx, d.Lab.Socket(), "status", &status)
		if err == nil {
			return r, nil
		}
		select {
		case err := <-ended:
			text, _ := os.ReadFile(logPath)
			return nil, fmt.Errorf("peer: the director ended: %w\n%s", err, text)
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), r.Stop())
		default:
		}
		if time.Now().After(deadline) {
			return nil, errors.Join(fmt.Errorf("peer: the director does not answer: %w", err), r.Stop())
		}
	}
}

// Ask fetches one of the running director's reports, such as "status" or
// "drops", from its control socket.
func Ask(ctx context.Context, socket, report string, v any) error {
	t := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://vsnat/v1/"+report, nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: t}).Do(req)
	if err != nil {
		return fmt.Errorf("peer: director's %s: %w", report, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("peer: director's %s: %s", report, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(v)
}

package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"

	"vsnat/bench/lab"
)

// process is a part as the harness sees it.
type process struct {
	what   string
	cmd    *lab.Cmd
	in     io.WriteCloser
	out    *bufio.Scanner
	stderr strings.Builder
	ended  bool
}

// startPart starts a part in a host and returns when it works. ctx kills it.
func startPart(ctx context.Context, program string, host *lab.Host, spec *PartSpec) (*process, error) {
	p := &process{what: spec.Kind, cmd: host.Command(ctx, program, "bench", "part")}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a ^C is ours to handle
	p.cmd.Stderr = &p.stderr
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	p.in, p.out = in, bufio.NewScanner(out)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("bench: start %s: %w", spec.Kind, err)
	}
	if err = json.NewEncoder(in).Encode(spec); err == nil {
		var s Sample
		err = p.read(&s)
	}
	if err != nil {
		return nil, p.fail(err)
	}
	return p, nil
}

// read takes the part's next line.
func (p *process) read(v any) error {
	if !p.out.Scan() {
		return errors.Join(errors.New("it ended early"), p.out.Err())
	}
	return json.Unmarshal(p.out.Bytes(), v)
}

// fail ends the part and returns what it said before.
func (p *process) fail(err error) error {
	p.kill()
	return fmt.Errorf("bench: %s: %w: %s", p.what, err, strings.TrimSpace(p.stderr.String()))
}

// mark asks how far the part is.
func (p *process) mark() (s Sample, err error) {
	if _, err = io.WriteString(p.in, "\n"); err == nil {
		err = p.read(&s)
	}
	if err != nil {
		return s, p.fail(err)
	}
	return s, nil
}

// finish ends the part in good order.
func (p *process) finish() (r PartResult, err error) {
	if err = p.in.Close(); err == nil {
		err = p.read(&r)
	}
	if err != nil {
		return r, p.fail(err)
	}
	p.ended = true
	if err := p.cmd.Wait(); err != nil {
		return r, fmt.Errorf("bench: %s: %w: %s", p.what, err, strings.TrimSpace(p.stderr.String()))
	}
	return r, nil
}

// kill ends the part if it still runs.
func (p *process) kill() {
	if p.ended {
		return
	}
	p.ended = true
	_ = p.cmd.Process.Kill() // fails only if it has ended
	_ = p.cmd.Wait()         // tells that it was killed
}

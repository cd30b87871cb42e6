package daemon

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"

	"vsnat/cmd/vsnat/internal/address"
	"vsnat/cmd/vsnat/internal/config"
	"vsnat/cmd/vsnat/internal/control"
	"vsnat/cmd/vsnat/internal/plan"
)

var _ control.Declared = (*daemon)(nil)

// declared is what the director's configuration file said when it was applied
// last.
type declared struct {
	mu      sync.Mutex  // held through a reload; taken before the daemon's own
	base    *plan.State // never nil once the director runs
	pending *pending    // a reload that waits to be confirmed
	// measured are the services that the file wants a record of latency of.
	measured []control.ServiceID
}

// pending is what it takes to go back.
type pending struct {
	timer         *time.Timer
	base          *plan.State // what the file said before
	before, after *plan.State // what the director had before the reload, and after it
	measured      []control.ServiceID
}

// actual returns what the director has. d.mu is held.
func (d *daemon) actual() *plan.State {
	s := plan.Actual(d.Services(), d.Settings(), d.Timeouts(), d.marks)
	s.Addresses = d.addresses.List()
	s.Pools, s.Inside = d.pools, d.inside
	for _, h := range d.Helpers() {
		s.Helpers = append(s.Helpers, h.Helper)
	}
	return s
}

// carryOut carries out a plan: all of it or nothing. d.mu is held.
func (d *daemon) carryOut(p *plan.Plan) error {
	if err := d.addresses.Check(p.Wanted.Addresses); err != nil {
		return err
	}
	cmds := p.Commands()
	if len(cmds) > 0 {
		if refused := d.applyLocked(cmds, control.Atomic); len(refused) > 0 {
			return refused[0].Err
		}
	}
	d.addresses.Set(p.Wanted.Addresses)
	return nil
}

// declare has the director be as its file says when it starts.
func (d *daemon) declare(cfg *config.Config) error {
	d.declared.base = &plan.State{}
	d.addresses = address.New(func(nic string, err error) { d.warnings.tell(d.log, "address on "+nic, err) })
	if cfg == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	desired := plan.Desired(cfg)
	if err := d.carryOut(plan.Diff(d.declared.base, d.actual(), desired, true)); err != nil {
		return fmt.Errorf("daemon: %s: %w", d.cfg.File, err)
	}
	d.declared.base = desired
	return d.measureDeclared(measuredOf(cfg))
}

// measuredOf returns the services that a file wants a record of latency of.
func measuredOf(cfg *config.Config) (all []control.ServiceID) {
	for _, v := range cfg.Virtuals() {
		if v.Latency {
			all = append(all, v.ServiceID)
		}
	}
	return all
}

// measureDeclared has those services measured that the file wants, and those
// forgotten that it wanted before. What hands asked for stays.
func (d *daemon) measureDeclared(want []control.ServiceID) error {
	var m control.Measuring
	for _, id := range d.declared.measured {
		if !slices.Contains(want, id) {
			m.Forget = append(m.Forget, id)
		}
	}
	m.Record = want
	if err := d.measure(m); err != nil {
		return err
	}
	d.declared.measured = want
	return nil
}

// load reads the director's file. What is wrong with it is in the error.
func (d *daemon) load() (*config.Config, error) {
	if d.cfg.File == "" {
		return nil, fmt.Errorf("daemon: there is no configuration file: start the director with `vsnat run -c FILE': %w", syscall.ENOENT)
	}
	cfg, problems, err := config.Load(d.cfg.File)
	if err != nil && problems != nil {
		err = &fileError{problems}
	}
	return cfg, err
}

// fileError is what is wrong with a file, as `vsnat check' shows it.
type fileError struct{ problems config.Problems }

// Error returns all problems with their lines.
func (e *fileError) Error() string {
	var b bytes.Buffer
	e.problems.Errors().Print(&b)
	return "nothing was changed:\n" + strings.TrimSuffix(b.String(), "\n")
}

// Unwrap returns EINVAL.
func (e *fileError) Unwrap() error { return syscall.EINVAL }

// Plan implements [control.Declared].
func (d *daemon) Plan(files []control.File) (any, error) {
	var cfg *config.Config
	var err error
	if files == nil {
		cfg, err = d.load()
	} else {
		list := make([]config.File, len(files))
		for i, f := range files {
			list[i] = config.File{Name: f.Name, Text: []byte(f.Text)}
		}
		var problems config.Problems
		if cfg, problems = config.Parse(list...); len(problems.Errors()) > 0 {
			err = &fileError{problems}
		}
	}
	if err != nil {
		return nil, err
	}
	d.declared.mu.Lock()
	defer d.declared.mu.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	return plan.Diff(d.declared.base, d.actual(), plan.Desired(cfg), cfg.Drift == config.UndoDrift), nil
}

// Reload implements [control.Declared].
func (d *daemon) Reload(confirm time.Duration) (any, error) {
	d.declared.mu.Lock()
	defer d.declared.mu.Unlock()
	if d.declared.pending != nil {
		return nil, fmt.Errorf("daemon: the last reload waits to be confirmed: `vsnat confirm' keeps it: %w", syscall.EBUSY)
	}
	cfg, err := d.load()
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	measured := d.declared.measured
	if err := d.measureDeclared(measuredOf(cfg)); err != nil {
		return nil, fmt.Errorf("daemon: nothing was changed: %w", err)
	}
	desired, before := plan.Desired(cfg), d.actual()
	p := plan.Diff(d.declared.base, before, desired, cfg.Drift == config.UndoDrift)
	if err := d.carryOut(p); err != nil {
		d.warn("latency", d.measureDeclared(measured))
		return nil, fmt.Errorf("daemon: nothing was changed: %w", err)
	}
	if confirm > 0 {
		back := &pending{measured: measured, base: d.declared.base, before: before, after: d.actual()}
		back.timer = time.AfterFunc(confirm, func() { d.rollback(back) })
		d.declared.pending = back
	}
	d.declared.base = desired
	d.log.Info("configuration", zap.String("file", d.cfg.File), zap.String("plan", p.Summary()), zap.Duration("confirm", confirm))
	return p, nil
}

// Confirm implements [control.Declared].
func (d *daemon) Confirm() error {
	d.declared.mu.Lock()
	defer d.declared.mu.Unlock()
	if d.declared.pending == nil {
		return fmt.Errorf("daemon: no reload waits to be confirmed: %w", syscall.ENOENT)
	}
	d.declared.pending.timer.Stop()
	d.declared.pending = nil
	d.log.Info("configuration confirmed")
	return nil
}

// rollback undoes a reload that was not confirmed in time. What hands have
// changed since is left alone.
func (d *daemon) rollback(back *pending) {
	d.declared.mu.Lock()
	defer d.declared.mu.Unlock()
	if d.declared.pending != back {
		return // confirmed at the last moment
	}
	d.declared.pending = nil
	d.mu.Lock()
	defer d.mu.Unlock()
	p := plan.Diff(back.after, d.actual(), back.before, false)
	if err := d.carryOut(p); err != nil {
		d.log.Error("the reload was not confirmed and cannot be undone", zap.Error(err))
		return
	}
	d.declared.base = back.base
	d.warn("latency", d.measureDeclared(back.measured))
	d.log.Warn("the reload was not confirmed and is undone", zap.String("plan", p.Summary()))
}

// reload is Reload for a signal.
func (d *daemon) reload() {
	if _, err := d.Reload(0); err != nil {
		d.log.Error("reload", zap.Error(err))
	}
}

// leaveDeclared ends what waits.
func (d *daemon) leaveDeclared() {
	d.declared.mu.Lock()
	defer d.declared.mu.Unlock()
	if d.declared.pending != nil {
		d.declared.pending.timer.Stop()
		d.declared.pending = nil
	}
}

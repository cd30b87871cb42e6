package daemon

import (
	"errors"
	"fmt"
	"syscall"

	"go.uber.org/zap"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/conntrack"
	"vsnat/conntrack/state"
	"vsnat/nat"
)

// errRefused ends a list of commands that is carried out whole or not at all.
var errRefused = errors.New("daemon: refused")

// Apply implements [control.Director]: one transaction of the engine, before
// which the guard takes what the engine will own, so that the host answers no
// packet that we do.
func (d *daemon) Apply(cmds []control.Command, mode control.Mode) []control.Refusal {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.applyLocked(cmds, mode)
}

// applyLocked is Apply with d.mu held.
func (d *daemon) applyLocked(cmds []control.Command, mode control.Mode) []control.Refusal {
	var run run
	asked := false
	err := d.engine.Transact(func(tx *nat.Tx) error {
		run = d.newRun(tx)
		for i := range cmds {
			err := run.command(&cmds[i])
			if err == nil {
				continue
			}
			run.refused = append(run.refused, control.Refusal{Index: i, Err: err})
			if mode == control.Atomic {
				return errRefused
			}
			if mode == control.Stop {
				break
			}
		}
		return nil
	}, func(soon nat.Endpoints) error {
		asked = true
		return d.ownSoon(soon)
	})
	switch {
	case err != nil && !errors.Is(err, errRefused):
		// The guard, or the engine against its word: no command is to blame.
		run.refused = []control.Refusal{{Err: err}}
	case err == nil:
		d.marks, d.pools, d.inside = run.marks, run.pools, run.inside
		d.warnOfLimits(cmds)
	}
	if err != nil && asked || run.releases {
		// What is owned no more, or not after all, is the host's again.
		d.warnings.tell(d.log, "guard", d.own())
	}
	if run.local || d.local {
		d.followLocal()
	}
	if d.cfg.Queues > 1 {
		d.steerFlows(d.engine.Owned().Services)
	}
	return run.refused
}

// run is a list of commands on its way.
type run struct {
	d        *daemon
	tx       *nat.Tx
	marks    []control.MarkRule
	pools    []control.Pool
	inside   []control.Masquerade
	refused  []control.Refusal
	releases bool // the engine may own less afterwards
	local    bool // a server may be on the director itself
}

func (d *daemon) newRun(tx *nat.Tx) run {
	return run{d: d, tx: tx, marks: d.marks, pools: d.pools, inside: d.inside}
}

// command carries out one command.
func (r *run) command(c *control.Command) error {
	switch c.Op {
	case control.AddService, control.EditService:
		return r.service(c)
	case control.DeleteService:
		r.releases = true
		return r.tx.DeleteService(serviceKey(&c.Service.ServiceID))
	case control.Flush:
		r.releases = true
		r.tx.Flush()
		return nil
	case control.AddServer, control.EditServer, control.DeleteServer:
		return r.server(c)
	case control.Zero:
		if c.Service == nil {
			return r.tx.Zero(nil)
		}
		key := serviceKey(&c.Service.ServiceID)
		return r.tx.Zero(&key)
	case control.SetTimeouts:
		r.tx.ChangeTimeouts(func(t *state.Timeouts) {
			t.Set(int64(c.Timeouts.TCP)*1e9, int64(c.Timeouts.TCPFin)*1e9, int64(c.Timeouts.UDP)*1e9)
		})
		return nil
	case control.Set:
		return r.set(c.Settings)
	case control.AddMark, control.DeleteMark, control.SetMarks:
		return r.mark(c)
	case control.AddPool, control.DeletePool, control.SetPools:
		return r.pool(c)
	case control.AddMasquerade, control.DeleteMasquerade, control.SetMasquerades:
		return r.masquerade(c)
	case control.SetHelpers:
		return r.helpers(c.Helpers)
	case control.SetProxyProtocol:
		return r.tx.SetProxyProtocol(serviceKey(&c.Service.ServiceID), c.Service.ProxyProtocol == control.ProxyV2)
	case control.SetLife, control.ServerDown, control.ServerUp:
		return r.life(c)
	case control.StartDaemon, control.StopDaemon:
		return fmt.Errorf("daemon: connection synchronisation is not built: %w", syscall.EOPNOTSUPP)
	}
	return fmt.Errorf("daemon: %s is not built: %w", c.Op, syscall.EOPNOTSUPP)
}

func (r *run) service(c *control.Command) error {
	spec, err := serviceSpec(c.Service)
	if err != nil {
		return err
	}
	if c.Op == control.AddService {
		return r.tx.AddService(spec)
	}
	r.releases = true
	return r.tx.EditService(spec)
}

func (r *run) server(c *control.Command) error {
	key := serviceKey(&c.Service.ServiceID)
	server := serverKey(c.Server)
	if c.Op == control.DeleteServer {
		r.releases = true
		return r.tx.DeleteServer(key, server)
	}
	tunnel, err := serverTunnel(c.Server)
	if err != nil {
		return err
	}
	spec := nat.ServerSpec{
		Key: server, Method: methods[c.Server.Method], Tunnel: tunnel, Weight: c.Server.Weight,
		Upper: c.Server.UThreshold, Lower: c.Server.LThreshold, Pool: c.Server.Pool,
	}
	// The ports of its pool may be owned no more.
	r.releases = r.releases || c.Op == control.EditServer || spec.Method == conntrack.Full
	r.local = r.local || r.d.routes.Routes().Local(server.Addr)
	if c.Op == control.EditServer {
		return r.tx.EditServer(key, spec)
	}
	return r.tx.AddServer(key, spec)
}

// warnOfLimits says what services that were added or edited will not do. d.mu is
// held.
func (d *daemon) warnOfLimits(cmds []control.Command) {
	for i := range cmds {
		c := &cmds[i]
		if c.Op != control.AddService && c.Op != control.EditService || c.Service.FWMark == 0 {
			continue
		}
		if !d.marked(c.Service.FWMark) {
			d.log.Warn("no rule gives packets this mark: the service gets none until `vsnat mark add`", zap.Stringer("service", c.Service.ServiceID))
		}
	}
}

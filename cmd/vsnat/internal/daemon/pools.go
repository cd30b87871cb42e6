package daemon

import (
	"fmt"
	"slices"
	"syscall"
	"time"

	"go.uber.org/zap"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/nat"
	"vsnat/nic"
)

// Pools implements [control.Director].
func (d *daemon) Pools() (all []control.Pool) {
	d.engine.Update(func(tx *nat.Tx) {
		for _, p := range tx.Pools() {
			c := control.Pool{Name: p.Name, FirstPort: p.First, LastPort: p.Last}
			for _, a := range p.Addrs {
				c.Addresses = append(c.Addresses, nat.AddrPort(a, 0).Addr())
			}
			all = append(all, c)
		}
	})
	return all
}

// Masquerades implements [control.Director].
func (d *daemon) Masquerades() []control.Masquerade {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.inside)
}

// pool changes the pools.
func (r *run) pool(c *control.Command) error {
	pools := slices.Clone(r.pools)
	named := func(name string) int {
		return slices.IndexFunc(pools, func(p control.Pool) bool { return p.Name == name })
	}
	switch c.Op {
	case control.AddPool:
		for _, p := range c.Pools {
			if at := named(p.Name); at >= 0 {
				pools[at] = p
			} else {
				pools = append(pools, p)
			}
		}
	case control.DeletePool:
		for _, p := range c.Pools {
			at := named(p.Name)
			if at < 0 {
				return fmt.Errorf("daemon: delete-pool %s: there is no such pool: %w", p.Name, syscall.ENOENT)
			}
			if user := r.poolUser(p.Name); user != "" && p.Name != nat.DefaultPool {
				return fmt.Errorf("daemon: delete-pool %s: %s has it: %w", p.Name, user, syscall.EBUSY)
			}
			pools = slices.Delete(pools, at, at+1)
		}
	default:
		pools = slices.Clone(c.Pools)
	}
	all := make([]nat.Pool, len(pools))
	for i, p := range pools {
		all[i] = nat.Pool{Name: p.Name, First: p.FirstPort, Last: p.LastPort}
		for _, a := range p.Addresses {
			all[i].Addrs = append(all[i].Addrs, a.As16())
		}
	}
	if err := r.tx.SetPools(all); err != nil {
		return err
	}
	r.pools, r.releases = pools, true
	return nil
}

// poolUser names something that uses the pool, as it stands before the commands.
func (r *run) poolUser(name string) string {
	for _, s := range r.tx.Services() {
		for _, v := range s.Servers {
			if v.Pool == name {
				return fmt.Sprintf("server %s of %s", nat.AddrPort(v.Key.Addr, v.Key.Port), s.Key)
			}
		}
	}
	for _, m := range r.inside {
		if m.Pool == name {
			return "network " + m.Network.String()
		}
	}
	return ""
}

// masquerade changes the networks that are masqueraded.
func (r *run) masquerade(c *control.Command) error {
	list := slices.Clone(r.inside)
	switch c.Op {
	case control.AddMasquerade:
		list = append(list, c.Masquerades...)
	case control.DeleteMasquerade:
		var err error
		if list, err = without(list, c.Masquerades, c.Op, "network"); err != nil {
			return err
		}
	default:
		list = slices.Clone(c.Masquerades)
	}
	links := r.d.routes.Routes().Links()
	for _, m := range c.Masquerades {
		if c.Op != control.DeleteMasquerade && m.NIC != "" && linkIndex(links, m.NIC) == noNIC {
			return noSuchNIC(c.Op, m, m.NIC)
		}
	}
	if err := r.tx.SetMasquerades(masquerades(list, links)); err != nil {
		return err
	}
	r.inside, r.releases = list, true
	return nil
}

// masquerades returns the networks as the engine has them. Nothing leaves by a NIC
// that has vanished.
func masquerades(list []control.Masquerade, links []nic.Link) []nat.Masquerade {
	all := make([]nat.Masquerade, len(list))
	for i, m := range list {
		all[i] = nat.Masquerade{Network: m.Network, Pool: m.Pool}
		if m.NIC != "" {
			all[i].NIC = linkIndex(links, m.NIC)
		}
	}
	return all
}

// followInside has the networks follow NICs as followLinks does the rules. d.mu is
// held.
func (d *daemon) followInside(links []nic.Link) (changed bool) {
	list := masquerades(d.inside, links)
	d.engine.Update(func(tx *nat.Tx) {
		if changed = !slices.Equal(tx.Masquerades(), list); changed {
			// They were accepted before, and differ in their NICs only.
			_ = tx.SetMasquerades(list)
		}
	})
	return changed
}

// warnOfPorts says where ports of pools are the host's own, too: those that it gives to
// its connections, and those that programs listen at. d.mu is held.
func (d *daemon) warnOfPorts(ports []nat.PortRange) {
	if slices.Equal(d.ownPorts, ports) {
		return
	}
	d.ownPorts = slices.Clone(ports)
	for _, clash := range hostPorts("/proc", ports) {
		d.log.Warn("ports of a pool that the host uses itself", zap.String("clash", clash))
	}
}

// portWatch is what was said of connections that got no port.
type portWatch struct {
	dropped uint64 // packets, as of the last line
	next    time.Time
}

// noPortEvery is the time between two lines about it.
const noPortEvery = time.Minute

// watchPorts says once a minute that ports have run out, if they have.
func (d *daemon) watchPorts() {
	now := time.Now()
	if now.Before(d.ports.next) {
		return
	}
	dropped := d.nics.droppedFor(nat.NoPort)
	if more := dropped - d.ports.dropped; more != 0 {
		d.log.Warn("no port of a pool was free: give it more addresses or ports (vsnat pool)", zap.Uint64("packets", more))
		d.ports = portWatch{dropped: dropped, next: now.Add(noPortEvery)}
	}
}

// droppedFor returns how many frames of all NICs were dropped for that reason.
func (n *nics) droppedFor(r nat.Reason) (sum uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	names := map[string]bool{}
	for _, t := range n.taken {
		ledger := n.total(t).ledger
		sum += ledger.Dropped[r]
		names[t.name] = true
	}
	for name, p := range n.past {
		if !names[name] {
			sum += p.ledger.Dropped[r]
		}
	}
	return sum
}

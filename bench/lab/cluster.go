package lab

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Cluster is a topology that runs: its namespaces exist, its links are up.
type Cluster struct {
	topology Topology
	hosts    map[string]*Host
	order    []*Host // as in the topology

	closing sync.Once
	closed  error
}

// New builds a cluster. Neither the machine's own namespace nor its files are
// touched. ctx ends the building, not the cluster; [Cluster.Close] does that.
// The error names what is missing if this process may not make namespaces, see
// [Missing].
func New(ctx context.Context, t Topology) (*Cluster, error) {
	if err := t.Validate(); err != nil {
		return nil, err
	}
	if why := Missing(); why != "" {
		return nil, errors.New("lab: " + why)
	}
	c := &Cluster{topology: t, hosts: make(map[string]*Host)}
	if err := c.build(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// build makes the hosts and everything between them.
func (c *Cluster) build(ctx context.Context) error {
	t := &c.topology
	for _, spec := range t.Hosts {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("lab: building %s: %w", t.Name, err)
		}
		h, err := newHost(spec.Name, spec.Role)
		if err != nil {
			return err
		}
		c.hosts[spec.Name] = h
		c.order = append(c.order, h)
		if err := h.baseline(t.Name); err != nil {
			return err
		}
	}
	for i, l := range t.Links {
		if err := c.link(i, l); err != nil {
			return err
		}
	}
	// Settings may name a NIC, and some decide what an address or a link that
	// comes up does; routes need the addresses.
	for _, s := range t.Sysctls {
		if err := c.hosts[s.Host].sysctl(s.Key, s.Value); err != nil {
			return err
		}
	}
	for _, h := range c.order {
		if err := h.nicsUp(); err != nil {
			return err
		}
	}
	for _, a := range t.Addresses {
		if err := c.hosts[a.Host].addAddress(a); err != nil {
			return err
		}
	}
	for _, r := range t.Routes {
		if err := c.hosts[r.Host].addRoute(r); err != nil {
			return err
		}
	}
	for _, h := range c.order {
		if err := h.awaitUp(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Topology returns what the cluster was built from.
func (c *Cluster) Topology() *Topology { return &c.topology }

// Host returns a host by its name, or nil if there is none.
func (c *Cluster) Host(name string) *Host { return c.hosts[name] }

// Hosts returns the hosts in the topology's order.
func (c *Cluster) Hosts() []*Host { return c.order }

// Close kills every process in the cluster and gives up its namespaces; the
// kernel then removes them with all links, a moment later. Functions that still
// run in [Host.Do] keep theirs until they return. It may be called twice.
func (c *Cluster) Close() error {
	c.closing.Do(func() {
		// First the threads, so that nothing new can start.
		for _, h := range c.order {
			h.stop()
		}
		c.closed = killAll(c.order)
		for _, h := range c.order {
			h.nl.Close()
			_ = h.ns.Close() // only read from
		}
	})
	return c.closed
}

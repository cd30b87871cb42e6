package daemon

import (
	"errors"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"

	"vsnat/cmd/vsnat/internal/config"
	"vsnat/cmd/vsnat/internal/control"
	"vsnat/cmd/vsnat/internal/plan"
	"vsnat/conntrack"
	"vsnat/nat"
	"vsnat/nic"
)

// ExplainFile tells what would become of a packet at a director that just began as
// the configuration says. It takes no rights and asks nobody: of the host nothing
// is known, so that every address has a way and none is the host's own.
func ExplainFile(cfg *config.Config, q control.Question) (*control.Decision, error) {
	engine, err := nat.New(nat.Options{Guarded: true, Conns: conntrack.Config{Max: cfg.Director.MaxConns}})
	if err != nil {
		return nil, err
	}
	host := &unknownHost{}
	for _, m := range cfg.Marks {
		host.add(m.NIC)
	}
	host.add(q.NIC)
	d := &daemon{log: zap.NewNop(), engine: engine, routes: host, epoch: time.Now().Add(-time.Second)}
	engine.SetRoutes(host)
	cmds := plan.Diff(&plan.State{}, &plan.State{}, plan.Desired(cfg), true).Commands()
	if refused := d.Apply(cmds, control.Atomic); len(refused) > 0 {
		return nil, refused[0].Err
	}
	told, err := d.Explain(q)
	if err != nil {
		// Its errno is for who asks over the socket.
		return nil, errors.New(strings.TrimSuffix(err.Error(), ": "+syscall.EINVAL.Error()))
	}
	for t := told; t != nil; t = t.Reply {
		t.HostUnknown = true
	}
	return told, nil
}

// unknownHost is a host of which nothing is known but the names of some NICs.
type unknownHost struct{ links []nic.Link }

func (h *unknownHost) add(name string) {
	if name != "" && linkIndex(h.links, name) == noNIC {
		h.links = append(h.links, nic.Link{Index: len(h.links) + 1, Name: name, Ether: true, Up: true})
	}
}

// Of a [watcher].

func (h *unknownHost) Routes() nic.Routes       { return h }
func (h *unknownHost) Changed() <-chan struct{} { return nil }
func (h *unknownHost) Done() <-chan struct{}    { return nil }
func (h *unknownHost) Ignored() []string        { return nil }
func (h *unknownHost) Solicit(int, nic.Addr)    {}
func (h *unknownHost) Keep([]nic.Addr)          {}

// Of [nic.Routes].

func (h *unknownHost) Lookup(to nic.Addr) nic.Hop {
	return nic.Hop{State: nic.HopResolved, MTU: 1500, NextHop: to}
}
func (h *unknownHost) Local(nic.Addr) bool       { return false }
func (h *unknownHost) Locals() []nic.Addr        { return nil }
func (h *unknownHost) Links() []nic.Link         { return h.links }
func (h *unknownHost) Forwarding(int, bool) bool { return false }

func (h *unknownHost) Link(index int) (nic.Link, bool) {
	if index > 0 && index <= len(h.links) {
		return h.links[index-1], true
	}
	return nic.Link{}, false
}

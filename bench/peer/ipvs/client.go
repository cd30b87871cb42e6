// Package ipvs commands the kernel's own IPVS over generic netlink, the way
// ipvsadm does (family IPVS, include/uapi/linux/ip_vs.h), so that vsnat can be
// measured against it. It speaks in package nat's words: the same service and
// server can be given to both.
//
// IPv4 and masquerading only, which is what the two are compared in.
package ipvs

import (
	"errors"
	"fmt"
	"os/exec"
	"syscall"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"

	"vsnat/nat"
	"vsnat/nic/netns"
)

// Commands (enum IPVS_CMD_*).
const (
	cmdNewService = 1
	cmdSetService = 2
	cmdDelService = 3
	cmdGetService = 4
	cmdNewDest    = 5
	cmdSetDest    = 6
	cmdDelDest    = 7
	cmdGetDest    = 8
	cmdSetConfig  = 12
	cmdZero       = 16
	cmdFlush      = 17
)

// familyName is IPVS_GENL_NAME.
const familyName = "IPVS"

// Client is one network namespace's IPVS. Only one goroutine uses it.
type Client struct {
	conn   *genetlink.Conn
	family genetlink.Family
}

// Dial opens the IPVS of a network namespace, or of the caller's if ns is nil,
// having the kernel load it if it is a module. It needs CAP_NET_ADMIN.
func Dial(ns *netns.Handle) (*Client, error) {
	cfg := &netlink.Config{}
	if ns != nil {
		cfg.NetNS = ns.Fd()
	}
	conn, err := genetlink.Dial(cfg)
	if err != nil {
		return nil, fmt.Errorf("ipvs: open generic netlink: %w", err)
	}
	family, err := conn.GetFamily(familyName)
	if err != nil {
		// The family's module is not loaded by its name everywhere.
		if load := exec.Command("modprobe", "-q", "ip_vs").Run(); load == nil {
			family, err = conn.GetFamily(familyName)
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("ipvs: this kernel has no IPVS, and no module ip_vs to load: %w", err), conn.Close())
	}
	return &Client{conn: conn, family: family}, nil
}

// Close closes the socket. Services stay.
func (c *Client) Close() error { return c.conn.Close() }

// AddService adds a virtual service. Errors of this method and of those below
// wrap the kernel's errno.
func (c *Client) AddService(spec nat.ServiceSpec) error {
	return c.command(cmdNewService, "add-service", service(&spec))
}

// EditService changes a service's scheduler, flags and persistence.
func (c *Client) EditService(spec nat.ServiceSpec) error {
	return c.command(cmdSetService, "edit-service", service(&spec))
}

// DeleteService deletes a service and its servers.
func (c *Client) DeleteService(k nat.ServiceKey) error {
	return c.command(cmdDelService, "delete-service", serviceKey(k))
}

// Flush deletes all services.
func (c *Client) Flush() error { return c.command(cmdFlush, "flush", nothing) }

// Zero sets the counters of all services to 0.
func (c *Client) Zero() error { return c.command(cmdZero, "zero", nothing) }

// AddServer adds a real server to a service.
func (c *Client) AddServer(k nat.ServiceKey, spec nat.ServerSpec) error {
	return c.command(cmdNewDest, "add-server", both(k, server(&spec)))
}

// EditServer changes a server's method, weight and thresholds.
func (c *Client) EditServer(k nat.ServiceKey, spec nat.ServerSpec) error {
	return c.command(cmdSetDest, "edit-server", both(k, server(&spec)))
}

// DeleteServer takes a server off its service.
func (c *Client) DeleteServer(k nat.ServiceKey, key nat.ServerKey) error {
	return c.command(cmdDelDest, "delete-server", both(k, serverKey(key)))
}

// SetTimeouts changes the timeouts, in seconds, of TCP ESTABLISHED, TCP
// FIN_WAIT and UDP; 0 leaves one as it is.
func (c *Client) SetTimeouts(tcp, tcpFin, udp uint32) error {
	return c.command(cmdSetConfig, "set-timeouts", timeouts(tcp, tcpFin, udp))
}

// Services lists the services, in no order, with their counters but without
// their servers.
func (c *Client) Services() ([]nat.ServiceInfo, error) {
	msgs, err := c.dump(cmdGetService, nothing)
	if err != nil {
		return nil, fmt.Errorf("ipvs: list services: %w", err)
	}
	all := make([]nat.ServiceInfo, len(msgs))
	for i := range msgs {
		if all[i], err = readService(msgs[i].Data); err != nil {
			return nil, fmt.Errorf("ipvs: list services: %w", err)
		}
	}
	return all, nil
}

// Servers lists the servers of a service in list order, newest first.
func (c *Client) Servers(k nat.ServiceKey) ([]nat.ServerInfo, error) {
	msgs, err := c.dump(cmdGetDest, serviceKey(k))
	if err != nil {
		return nil, fmt.Errorf("ipvs: list servers of %s: %w", k, err)
	}
	all := make([]nat.ServerInfo, len(msgs))
	for i := range msgs {
		if all[i], err = readServer(msgs[i].Data); err != nil {
			return nil, fmt.Errorf("ipvs: list servers of %s: %w", k, err)
		}
	}
	return all, nil
}

func (c *Client) command(cmd uint8, op string, attrs attributes) error {
	m, err := c.message(cmd, attrs)
	if err == nil {
		_, err = c.conn.Execute(m, c.family.ID, netlink.Request|netlink.Acknowledge)
	}
	if err != nil {
		return fmt.Errorf("ipvs: %s: %w", op, err)
	}
	return nil
}

func (c *Client) dump(cmd uint8, attrs attributes) ([]genetlink.Message, error) {
	m, err := c.message(cmd, attrs)
	if err != nil {
		return nil, err
	}
	msgs, err := c.conn.Execute(m, c.family.ID, netlink.Request|netlink.Dump)
	if errors.Is(err, syscall.ESRCH) || errors.Is(err, syscall.ENOENT) {
		return nil, nil // no such service has no servers
	}
	return msgs, err
}

func (c *Client) message(cmd uint8, attrs attributes) (genetlink.Message, error) {
	ae := netlink.NewAttributeEncoder()
	if err := attrs(ae); err != nil {
		return genetlink.Message{}, err
	}
	data, err := ae.Encode()
	return genetlink.Message{Header: genetlink.Header{Command: cmd, Version: 1}, Data: data}, err
}

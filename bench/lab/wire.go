package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// baselineSysctls are set on every host first. The kernel copies a new
// namespace's IPv4 settings from the machine's own, so that without them the
// same cluster would behave differently from machine to machine.
var baselineSysctls = []struct{ key, value string }{
	{"net/ipv4/ip_forward", "0"},
	{"net/ipv4/conf/all/rp_filter", "0"},
	{"net/ipv4/conf/default/rp_filter", "0"},
	{"net/ipv4/conf/all/arp_ignore", "0"},
	{"net/ipv4/conf/default/arp_ignore", "0"},
	{"net/ipv4/conf/all/arp_announce", "0"},
	{"net/ipv4/conf/default/arp_announce", "0"},
	// Duplicate address detection would keep link-local addresses out of use
	// for one or two seconds, and with them neighbour discovery.
	{"net/ipv6/conf/all/accept_dad", "0"},
	{"net/ipv6/conf/default/accept_dad", "0"},
}

// baseline makes of a new namespace a host without links, or a switch without
// ports.
func (h *Host) baseline(cluster string) error {
	for _, s := range baselineSysctls {
		err := h.sysctl(s.key, s.value)
		if err != nil && !(errors.Is(err, os.ErrNotExist) && strings.HasPrefix(s.key, "net/ipv6/")) {
			return err // a kernel without IPv6 has nothing to set
		}
	}
	if h.role != Switch {
		return nil
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = bridge
	attrs.HardwareAddr = MAC(cluster, End{h.name, bridge})
	// A switch that floods multicast has no groups to learn before neighbour
	// discovery works.
	snoop := false
	if err := h.nl.LinkAdd(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snoop}); err != nil {
		return fmt.Errorf("lab: host %s: cannot make a bridge (module bridge): %w", h.name, err)
	}
	return nil
}

// sysctl writes a kernel setting of the host's namespace.
func (h *Host) sysctl(key, value string) error {
	err := h.onThread(func() error {
		return os.WriteFile("/proc/sys/"+key, []byte(value), 0)
	})
	if err != nil {
		return fmt.Errorf("lab: host %s: cannot set %s to %q: %w", h.name, strings.ReplaceAll(key, "/", "."), value, err)
	}
	return nil
}

// firstIndex is the ifindex of the first link's A end, and the others' follow;
// the B ends have small numbers, given by the kernel. The two ends of a veth
// must differ: the kernel takes one with the same number as its peer for a
// physical device, whose carrier it looks at only once a second (net/core/
// link_watch.c, linkwatch_urgent_event), and so the link may come up late.
const firstIndex = 1001

// link makes the i-th cable. Both ends are born in their namespaces, so that
// their names need to be free nowhere else.
func (c *Cluster) link(i int, l Link) error {
	a, b := c.hosts[l.A.Host], c.hosts[l.B.Host]
	fail := func(err error) error {
		return fmt.Errorf("lab: link %s of %s to %s of %s (module veth): %w", l.A.NIC, a.name, l.B.NIC, b.name, err)
	}
	mtu := c.topology.mtu(l)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = l.A.NIC
	attrs.Index = firstIndex + i
	attrs.MTU = mtu
	attrs.HardwareAddr = MAC(c.topology.Name, l.A)
	veth := netlink.NewVeth(attrs)
	veth.PeerName = l.B.NIC
	veth.PeerHardwareAddr = MAC(c.topology.Name, l.B)
	veth.PeerNamespace = netlink.NsFd(b.ns.Fd())
	err := a.nl.LinkAdd(veth)
	runtime.KeepAlive(b.ns)
	if err != nil {
		return fail(err)
	}
	for _, x := range []struct {
		h         *Host
		nic, peer End
	}{{a, l.A, l.B}, {b, l.B, l.A}} {
		link, err := x.h.nl.LinkByName(x.nic.NIC)
		if err != nil {
			return fail(err)
		}
		attrs := link.Attrs()
		x.h.nics[x.nic.NIC] = NIC{Name: attrs.Name, Index: attrs.Index, MTU: attrs.MTU, MAC: attrs.HardwareAddr, Peer: x.peer}
		if x.h.role == Switch {
			br, err := x.h.nl.LinkByName(bridge)
			if err != nil {
				return fail(err)
			}
			if err := x.h.nl.LinkSetMaster(link, br); err != nil {
				return fail(err)
			}
		}
	}
	return nil
}

// nicsUp brings up all interfaces of the host.
func (h *Host) nicsUp() error {
	links, err := h.nl.LinkList()
	if err != nil {
		return fmt.Errorf("lab: host %s: cannot list its NICs: %w", h.name, err)
	}
	for _, l := range links {
		name := l.Attrs().Name
		// Some kernels put tunnel devices of their own (tunl0, sit0) into every
		// namespace; those stay down.
		if _, ours := h.nics[name]; !ours && name != bridge && name != "lo" {
			continue
		}
		if err := h.nl.LinkSetUp(l); err != nil {
			return fmt.Errorf("lab: host %s: cannot bring %s up: %w", h.name, name, err)
		}
	}
	return nil
}

// upPatience is how long a link may take to carry frames; it is a millisecond
// on an idle machine.
const upPatience = 10 * time.Second

// awaitUp waits until every NIC and bridge of the host carries frames.
func (h *Host) awaitUp(ctx context.Context) error {
	for deadline := time.Now().Add(upPatience); ; time.Sleep(time.Millisecond) {
		links, err := h.nl.LinkList()
		if err != nil {
			return fmt.Errorf("lab: host %s: cannot list its NICs: %w", h.name, err)
		}
		down := ""
		for _, l := range links {
			a := l.Attrs()
			_, ours := h.nics[a.Name]
			if (ours || a.Name == bridge && len(h.nics) > 0) && a.OperState != netlink.OperUp {
				down = a.Name
			}
		}
		if down == "" {
			return nil
		}
		if err := ctx.Err(); err != nil || time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("lab: host %s: %s does not come up", h.name, down), err)
		}
	}
}

// addAddress gives a NIC an address that works at once.
func (h *Host) addAddress(a Address) error {
	l, err := h.nl.LinkByName(a.NIC)
	if err == nil {
		addr := &netlink.Addr{IPNet: ipNet(a.Prefix)}
		if a.Prefix.Addr().Is6() {
			// Duplicate address detection would keep it unusable for a second.
			addr.Flags = unix.IFA_F_NODAD
		}
		err = h.nl.AddrAdd(l, addr)
	}
	if err != nil {
		return fmt.Errorf("lab: host %s: cannot give %s the address %v: %w", h.name, a.NIC, a.Prefix, err)
	}
	return nil
}

// addRoute adds a route to the main table.
func (h *Host) addRoute(r Route) error {
	route := &netlink.Route{Dst: ipNet(r.To), MTU: r.MTU}
	if r.Via.IsValid() {
		route.Gw = r.Via.AsSlice()
	}
	var err error
	if r.NIC != "" {
		var l netlink.Link
		if l, err = h.nl.LinkByName(r.NIC); err == nil {
			route.LinkIndex = l.Attrs().Index
		}
	}
	if err == nil {
		err = h.nl.RouteAdd(route)
	}
	if errors.Is(err, syscall.ENETUNREACH) {
		err = fmt.Errorf("no NIC of it is in the gateway's network: %w", err)
	}
	if err != nil {
		return fmt.Errorf("lab: host %s: cannot add the route to %v via %v %s: %w", h.name, r.To, r.Via, r.NIC, err)
	}
	return nil
}

// ipNet returns a prefix, with its host bits, as package net has it.
func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

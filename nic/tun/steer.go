package tun

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vsnat/nic"
)

// Steering has the host send what comes from some of its own sockets by a device:
// policy rules for their addresses and ports, and a table with a default route
// (ip-rule(8)). When the device goes, so does the route, and the rules lead
// nowhere: the host's packets go as they did before. The rules themselves outlive a
// process that is killed; the next one takes them away.
//
// The rules also satisfy reverse path filtering (rp_filter) for packets that come by
// the device: it asks by which device an answer would go.
const (
	// Table is the routing table, and Priority the rules' place: before the host's own
	// tables but the one of its addresses.
	Table    = 30067
	Priority = 30067
)

// From is where packets come from. Port 0 is all ports. The address is IPv4-mapped
// or IPv6.
type From struct {
	Addr  nic.Addr
	Port  uint16
	Proto uint8
}

// Up puts the device up, with that MTU, and makes it the default route of the
// table.
func (d *Device) Up(mtu int) error {
	fail := func(what string, err error) error { return fmt.Errorf("tun: %s: %s: %w", d.name, what, err) }
	// The device's own settings; those for all devices hold as well.
	for key, value := range map[string]string{"ipv4/conf/%s/rp_filter": "0", "ipv6/conf/%s/addr_gen_mode": "1"} {
		err := os.WriteFile(fmt.Sprintf("/proc/sys/net/"+key, d.name), []byte(value), 0)
		if err != nil && !errors.Is(err, os.ErrNotExist) { // a kernel without IPv6
			return fail("settings", err)
		}
	}
	link, err := netlink.LinkByIndex(d.index)
	if err == nil {
		err = netlink.LinkSetMTU(link, mtu)
	}
	if err == nil {
		err = netlink.LinkSetUp(link)
	}
	if err != nil {
		return fail("cannot put it up", err)
	}
	for _, all := range []string{"0.0.0.0/0", "::/0"} {
		_, dst, _ := net.ParseCIDR(all)
		err := netlink.RouteReplace(&netlink.Route{LinkIndex: d.index, Dst: dst, Table: Table, Scope: netlink.SCOPE_LINK})
		if err != nil && !(all == "::/0" && noIPv6(err)) {
			return fail("route", err)
		}
	}
	return nil
}

// noIPv6 reports whether an error says that the kernel has no IPv6, or none on the
// device.
func noIPv6(err error) bool {
	return errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENODEV)
}

// Steer makes the rules of this namespace those for the packets from there, and no
// others.
func Steer(from []From) error {
	want := make(map[From]bool, len(from))
	for _, f := range from {
		want[f] = true
	}
	var errs []error
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		rules, err := netlink.RuleList(family)
		if family == unix.AF_INET6 && noIPv6(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("tun: list policy rules: %w", err)
		}
		for i := range rules {
			r := &rules[i]
			if r.Table != Table || r.Protocol != nic.RuleProtocol {
				continue
			}
			if f, ok := selects(r); ok && want[f] {
				delete(want, f)
				continue
			}
			r.Family = family
			errs = append(errs, wrap("delete", netlink.RuleDel(r)))
		}
	}
	for f := range want {
		errs = append(errs, wrap("add", netlink.RuleAdd(f.rule())))
	}
	return errors.Join(errs...)
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("tun: %s a policy rule (ip rule with sport and ipproto, Linux 4.17): %w", what, err)
}

// rule is the policy rule for packets from there. It does not ask that they are the
// host's own (iif lo): then the kernel would not look at ports when it asks for the
// way back of what comes in (fib_rule_requires_fldissect in
// include/net/fib_rules.h). From another host no packet comes with that address.
func (f From) rule() *netlink.Rule {
	r := netlink.NewRule()
	r.Family, r.Table, r.Protocol, r.Priority = unix.AF_INET, Table, nic.RuleProtocol, Priority
	r.IPProto = int(f.Proto)
	addr := netip.AddrFrom16(f.Addr).Unmap()
	if addr.Is6() {
		r.Family = unix.AF_INET6
	}
	r.Src = &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(addr.BitLen(), addr.BitLen())}
	if f.Port != 0 {
		r.Sport = netlink.NewRulePortRange(f.Port, f.Port)
	}
	return r
}

// selects is the inverse of rule.
func selects(r *netlink.Rule) (f From, ok bool) {
	if r.Src == nil || r.IPProto <= 0 || r.IPProto > 255 {
		return f, false
	}
	addr, ok := netip.AddrFromSlice(r.Src.IP)
	f.Addr, f.Proto = addr.As16(), uint8(r.IPProto)
	if r.Sport != nil {
		f.Port = r.Sport.Start
	}
	return f, ok
}

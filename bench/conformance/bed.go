package conformance

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The kernel's director: a namespace with two TUN devices, behind one of which
// are all clients and behind the other all real servers. Packets are written to
// the devices and read from them; there is no link layer.

const tunFile = "/dev/net/tun"

// furnish makes the devices, addresses, routes and settings of the namespace
// that the thread is in.
func (d *kernel) furnish() (err error) {
	for name, value := range map[string]int{
		"net/ipv4/ip_forward":              1,
		"net/ipv4/conf/all/rp_filter":      0,
		"net/ipv4/conf/default/rp_filter":  0,
		"net/ipv4/conf/all/send_redirects": 0,
		"net/ipv4/icmp_ratemask":           0, // no ICMP error is held back
	} {
		if err := sysctl(name, value); err != nil {
			return err
		}
	}
	for name, value := range map[string]int{
		"net/ipv6/conf/all/disable_ipv6":      0,
		"net/ipv6/conf/default/disable_ipv6":  0,
		"net/ipv6/conf/all/forwarding":        1,
		"net/ipv6/conf/default/addr_gen_mode": 1, // no link-local addresses
		"net/ipv6/conf/default/accept_ra":     0,
		"net/ipv6/icmp/ratemask":              255, // of no error
	} {
		if err := sysctl(name, value); err != nil {
			return err
		}
	}
	for s, to := range map[side]netip.Prefix{clients: clientNet, servers: serverNet} {
		if d.nics[s], err = tun(s.String(), to); err != nil {
			return err
		}
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	all := append([]netip.Addr{}, vips...)
	for _, a := range vips {
		all = append(all, six(a))
	}
	for _, a := range all {
		addr := netlink.Addr{IPNet: netlink.NewIPNet(a.AsSlice())}
		if a.Is6() {
			addr.Flags = unix.IFA_F_NODAD // it is of use at once
		}
		if err := netlink.AddrAdd(lo, &addr); err != nil {
			return fmt.Errorf("add the address %s to lo: %w", a, err)
		}
	}
	for _, to := range []netip.Prefix{markedVIPs, sixNet(markedVIPs)} {
		local := netlink.Route{
			LinkIndex: lo.Attrs().Index, Dst: ipNet(to),
			Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_LOCAL, Scope: netlink.SCOPE_HOST,
		}
		if err := netlink.RouteAdd(&local); err != nil {
			return fmt.Errorf("make %s local: %w", to, err)
		}
	}
	// What is outside is delivered to the host if it has the mark, and only then.
	byMark := netlink.NewRule()
	byMark.Mark, byMark.Table, byMark.Family = mark, markTable, unix.AF_INET
	if err := netlink.RuleAdd(byMark); err != nil {
		return fmt.Errorf("add a rule for the mark: %w", err)
	}
	if err := netlink.RouteAdd(&netlink.Route{
		LinkIndex: lo.Attrs().Index, Dst: ipNet(outside), Type: unix.RTN_LOCAL, Table: markTable, Scope: netlink.SCOPE_HOST,
	}); err != nil {
		return fmt.Errorf("make %s local by its mark: %w", outside, err)
	}
	// Now that there is the address that they name.
	for s, to := range map[side]netip.Prefix{clients: clientNet, servers: serverNet} {
		link, err := netlink.LinkByName(s.String())
		if err == nil {
			err = netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(sixNet(to)), Src: six(vips[0]).AsSlice()})
		}
		if err != nil {
			return fmt.Errorf("make a route to %s: %w", sixNet(to), err)
		}
	}
	if err := markPackets(); err != nil {
		return fmt.Errorf("give packets a firewall mark with tc: %w", err)
	}
	d.table, err = os.Open("/proc/thread-self/net/ip_vs_conn")
	return err
}

// tun makes a TUN device with a route to what is behind it, and returns its
// file, which does not block.
func tun(name string, to netip.Prefix) (int, error) {
	fd, err := unix.Open(tunFile, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		// Where nothing loads modules by the name of their device.
		if exec.Command("modprobe", "-q", "tun").Run() == nil {
			fd, err = unix.Open(tunFile, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		}
	}
	if err != nil {
		return -1, fmt.Errorf("open %s (the kernel's module tun is needed): %w", tunFile, err)
	}
	if err := setUp(fd, name, to); err != nil {
		_ = unix.Close(fd) // never used
		return -1, fmt.Errorf("make the TUN device %q: %w", name, err)
	}
	return fd, nil
}

func setUp(fd int, name string, to netip.Prefix) error {
	req, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		return err
	}
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetMTU(link, mtu); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return err
	}
	return netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(to), Scope: netlink.SCOPE_LINK})
}

// markTable is the routing table of packets with the mark.
const markTable = 100

// markPackets has the clients' NIC give the packets to markedVIPs, and to outside,
// their mark.
func markPackets() error {
	link, err := netlink.LinkByName(clients.String())
	if err != nil {
		return err
	}
	at := netlink.QdiscAttrs{LinkIndex: link.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_INGRESS}
	if err := netlink.QdiscAdd(&netlink.Ingress{QdiscAttrs: at}); err != nil {
		return err
	}
	edit := netlink.NewSkbEditAction()
	value := uint32(mark)
	edit.Mark = &value
	for i, f := range []struct {
		proto uint16
		to    *net.IPNet
	}{{unix.ETH_P_IP, ipNet(markedVIPs)}, {unix.ETH_P_IP, ipNet(outside)}, {unix.ETH_P_IPV6, ipNet(sixNet(markedVIPs))}} {
		if err := netlink.FilterAdd(&netlink.Flower{
			FilterAttrs: netlink.FilterAttrs{LinkIndex: at.LinkIndex, Parent: at.Handle, Priority: uint16(1 + i), Protocol: f.proto},
			DestIP:      f.to.IP, DestIPMask: f.to.Mask, EthType: f.proto,
			Actions: []netlink.Action{edit},
		}); err != nil {
			return err
		}
	}
	return nil
}

// kernelRelease is what uname -r says.
func kernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

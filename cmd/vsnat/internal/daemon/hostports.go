package daemon

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"vsnat/nat"
	"vsnat/nic"
)

// The states of sockets in /proc/net that take what comes: TCP_LISTEN, and TCP_CLOSE,
// which UDP has for sockets that are not connected (include/net/tcp_states.h).
const (
	stateListen = "0A"
	stateClose  = "07"
)

// hostPorts tells in words which of the ports the host uses itself: it would not get
// what comes to them. proc is where the kernel tells of its sockets.
func hostPorts(proc string, ports []nat.PortRange) (clashes []string) {
	if b, err := os.ReadFile(filepath.Join(proc, "sys/net/ipv4/ip_local_port_range")); err == nil {
		var first, last uint16
		if n, _ := fmt.Sscan(string(b), &first, &last); n == 2 {
			for _, r := range ports {
				if r.First <= last && first <= r.Last {
					clashes = append(clashes, fmt.Sprintf("the host gives ports %d to %d to its own connections (net.ipv4.ip_local_port_range), and %d to %d on %s are a pool's: choose others, or name them in net.ipv4.ip_local_reserved_ports",
						first, last, r.First, r.Last, nat.AddrPort(r.Addr, 0).Addr()))
				}
			}
		}
	}
	for _, table := range []struct{ name, state string }{{"tcp", stateListen}, {"tcp6", stateListen}, {"udp", stateClose}, {"udp6", stateClose}} {
		b, err := os.ReadFile(filepath.Join(proc, "net", table.name))
		if err != nil {
			continue // no IPv6, or nothing to read
		}
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line)
			if len(f) < 4 || f[3] != table.state {
				continue
			}
			at, ok := procAddress(f[1])
			if !ok {
				continue
			}
			for _, r := range ports {
				local := nat.AddrPort(r.Addr, at.Port())
				same := at.Addr() == local.Addr() || at.Addr().IsUnspecified() && (at.Addr().Is6() || local.Addr().Is4())
				if same && r.First <= at.Port() && at.Port() <= r.Last {
					c := fmt.Sprintf("a program listens at %s %s, which it does not hear any more at %s", strings.TrimSuffix(table.name, "6"), at, local)
					if !slices.Contains(clashes, c) {
						clashes = append(clashes, c)
					}
				}
			}
		}
	}
	return clashes
}

// foreignPorts is an error about ports of pools at addresses that are not the host's:
// the links that they are to be found by do not find them.
func foreignPorts(routes nic.Routes, ports []nat.PortRange) error {
	var all []string
	for _, r := range ports {
		if a := nat.AddrPort(r.Addr, 0).Addr().String(); !routes.Local(r.Addr) && !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return fmt.Errorf("%s: a pool in use has it, but it is no address of this host, so that no answer will come: put it on a NIC ([[address]], or ip address add), or take it out of the pool", strings.Join(all, ", "))
}

// procAddress reads an address as /proc/net/tcp has it: words of four bytes in the
// machine's order, then the port.
func procAddress(s string) (netip.AddrPort, bool) {
	addr, port, _ := strings.Cut(s, ":")
	b, err := hex.DecodeString(addr)
	p, errPort := hex.DecodeString(port)
	if err != nil || errPort != nil || len(p) != 2 || len(b)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(b); i += 4 {
		nativeWord(b[i : i+4])
	}
	a, ok := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(a.Unmap(), uint16(p[0])<<8|uint16(p[1])), ok
}

// nativeWord turns the bytes of a number in the machine's order, as hexadecimal
// digits tell it, into those that lie in memory.
func nativeWord(b []byte) {
	binary.NativeEndian.PutUint32(b, binary.BigEndian.Uint32(b))
}

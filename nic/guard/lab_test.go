package guard

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vsnat/nic"
	"vsnat/nic/netns"
)

// The lab is client c0 -- d0 director d1 -- s0 server. The director forwards
// packets by itself and has the service address, on lo.
var (
	client4, client6 = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8:1::1")
	front4, front6   = netip.MustParseAddr("192.0.2.254"), netip.MustParseAddr("2001:db8:1::ff")
	vip4, vip6       = netip.MustParseAddr("198.51.100.10"), netip.MustParseAddr("2001:db8:2::10")
	back4, back6     = netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("2001:db8:3::ff")
	server4, server6 = netip.MustParseAddr("203.0.113.10"), netip.MustParseAddr("2001:db8:3::10")
)

const (
	servicePort = 80
	serverPort  = 8080
	deadPort    = 9999 // a server where nobody listens
	freePort    = 81   // nobody listens, and not guarded
)

// labState is what the guard owns in the lab.
func labState() State {
	var s State
	for _, v := range []netip.Addr{vip4, vip6} {
		s.Services = append(s.Services, tcpKey(v, servicePort), udpKey(v, servicePort))
	}
	for _, r := range []netip.Addr{server4, server6} {
		s.Servers = append(s.Servers, tcpKey(r, serverPort), udpKey(r, serverPort), udpKey(r, deadPort))
	}
	for _, a := range []netip.Addr{front4, front6, back4, back6, vip4, vip6} {
		s.Local = append(s.Local, a.As16())
	}
	return s
}

func tcpKey(a netip.Addr, port uint16) Key {
	return Key{Addr: a.As16(), Port: port, Proto: unix.IPPROTO_TCP}
}

func udpKey(a netip.Addr, port uint16) Key {
	return Key{Addr: a.As16(), Port: port, Proto: unix.IPPROTO_UDP}
}

type lab struct {
	client, director, server *netns.Handle
	d0, d1                   int // ifindexes in director
	c0                       int
	macC0, macD0             net.HardwareAddr
}

// newLab builds the lab; it vanishes with the test.
func newLab(t testing.TB) *lab {
	t.Helper()
	l := new(lab)
	for _, h := range []**netns.Handle{&l.client, &l.director, &l.server} {
		ns, err := netns.New()
		if errors.Is(err, unix.EPERM) {
			t.Skip("needs CAP_SYS_ADMIN to make network namespaces")
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = ns.Close() })
		*h = ns
		// Without duplicate address detection addresses work at once.
		in(t, ns, func() error { return sysctl("net/ipv6/conf/default/accept_dad", "0") })
	}
	in(t, l.director, func() error {
		if err := errors.Join(
			sysctl("net/ipv4/ip_forward", "1"),
			sysctl("net/ipv6/conf/all/forwarding", "1"),
			// Ask for no patience: ICMP errors must not be held back.
			sysctl("net/ipv4/icmp_ratelimit", "0"),
			sysctl("net/ipv6/icmp/ratelimit", "0"),
			veth("d0", "c0", l.client), veth("d1", "s0", l.server),
			address("d0", front4, 24), address("d0", front6, 64),
			address("d1", back4, 24), address("d1", back6, 64),
			address("lo", vip4, 32), address("lo", vip6, 128),
		); err != nil {
			return err
		}
		var err error
		if l.d0, l.macD0, err = index("d0"); err != nil {
			return err
		}
		l.d1, _, err = index("d1")
		return err
	})
	in(t, l.client, func() error {
		var err error
		if l.c0, l.macC0, err = index("c0"); err != nil {
			return err
		}
		return errors.Join(up("c0"), address("c0", client4, 24), address("c0", client6, 64), gateway(front4), gateway(front6))
	})
	in(t, l.server, func() error {
		return errors.Join(
			sysctl("net/ipv4/icmp_ratelimit", "0"), sysctl("net/ipv6/icmp/ratelimit", "0"),
			up("s0"), address("s0", server4, 24), address("s0", server6, 64), gateway(back4), gateway(back6),
		)
	})
	l.warmUp(t)
	return l
}

// warmUp waits until all can reach the director. The kernel may take a second
// to start a new link, and what is sent before is lost: a test would take that
// for the guard's work.
func (l *lab) warmUp(t testing.TB) {
	t.Helper()
	for _, end := range []struct {
		h *netns.Handle
		a netip.Addr
	}{{l.client, front4}, {l.client, front6}, {l.server, back4}, {l.server, back6}} {
		giveUp := time.Now().Add(10 * time.Second)
		for ping(t, end.h, end.a, 0, 50*time.Millisecond) != replied {
			if time.Now().After(giveUp) {
				t.Fatalf("%v cannot be reached", end.a)
			}
		}
	}
}

// in runs fn in a namespace.
func in(t testing.TB, h *netns.Handle, fn func() error) {
	t.Helper()
	if err := netns.Do(h, fn); err != nil {
		t.Fatal(err)
	}
}

func sysctl(name, value string) error {
	return os.WriteFile("/proc/sys/"+name, []byte(value), 0o644)
}

func veth(name, peer string, peerNS *netns.Handle) error {
	v := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name, MTU: 9000}, PeerName: peer, PeerMTU: 9000}
	if peerNS != nil {
		v.PeerNamespace = netlink.NsFd(peerNS.Fd())
	}
	if err := netlink.LinkAdd(v); err != nil {
		return fmt.Errorf("veth %s: %w", name, err)
	}
	return up(name)
}

func up(name string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(l)
}

func address(dev string, a netip.Addr, bits int) error {
	l, err := netlink.LinkByName(dev)
	if err != nil {
		return err
	}
	n := &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(bits, a.BitLen())}
	return netlink.AddrAdd(l, &netlink.Addr{IPNet: n, Flags: unix.IFA_F_NODAD})
}

func gateway(a netip.Addr) error {
	return netlink.RouteAdd(&netlink.Route{Gw: a.AsSlice()})
}

func index(dev string) (int, net.HardwareAddr, error) {
	i, err := net.InterfaceByName(dev)
	if err != nil {
		return 0, nil, err
	}
	return i.Index, i.HardwareAddr, nil
}

// guard opens a guard of a kind in the director and attaches it.
func (l *lab) guard(t testing.TB, kind string) *Guard {
	t.Helper()
	g, err := Open(Options{NS: l.director, Force: kind})
	if errors.Is(err, unix.EPERM) {
		t.Skipf("needs CAP_BPF and CAP_NET_ADMIN: %v", err)
	}
	if f := (*nic.Feature)(nil); errors.As(err, &f) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := errors.Join(g.Set(labState()), g.Attach(l.d0), g.Attach(l.d1)); err != nil {
		t.Fatal(err)
	}
	return g
}

// answer is what comes back.
type answer string

const (
	silence answer = "nothing"
	refused answer = "refused"
	replied answer = "reply"
)

// probe sends something and returns what comes back within a time.
type probe func(t testing.TB, from *netns.Handle, to netip.Addr, port uint16, patience time.Duration) answer

// expect checks what comes back. It waits long for an answer, and not so long
// to see that there is none.
func expect(t *testing.T, what string, want answer, p probe, from *netns.Handle, to netip.Addr, port uint16) {
	t.Helper()
	patience := 5 * time.Second
	if want == silence {
		patience = 150 * time.Millisecond
	}
	if got := p(t, from, to, port, patience); got != want {
		t.Errorf("%s: got %s, want %s", what, got, want)
	}
}

// dial opens a TCP connection.
func dial(t testing.TB, from *netns.Handle, to netip.Addr, port uint16, patience time.Duration) (a answer) {
	t.Helper()
	in(t, from, func() error {
		d := net.Dialer{Timeout: patience}
		c, err := d.Dial("tcp", netip.AddrPortFrom(to, port).String())
		if err == nil {
			a = replied
			return c.Close()
		}
		a, err = classify(err)
		return err
	})
	return a
}

// datagram sends a UDP datagram and waits for what comes back.
func datagram(t testing.TB, from *netns.Handle, to netip.Addr, port uint16, patience time.Duration) (a answer) {
	t.Helper()
	in(t, from, func() error {
		c, err := net.Dial("udp", netip.AddrPortFrom(to, port).String())
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := c.Write([]byte("hello")); err != nil {
			return err
		}
		if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		if _, err = c.Read(make([]byte, 64)); err == nil {
			a = replied
			return nil
		}
		a, err = classify(err)
		return err
	})
	return a
}

// classify tells an answer from an error.
func classify(err error) (answer, error) {
	var timeout net.Error
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return refused, nil
	case errors.As(err, &timeout) && timeout.Timeout():
		return silence, nil
	}
	return "", err
}

// ping sends an echo request; the port is of no matter.
func ping(t testing.TB, from *netns.Handle, to netip.Addr, _ uint16, patience time.Duration) (a answer) {
	t.Helper()
	network, request, reply := "ip4:icmp", byte(8), byte(0)
	if to.Is6() {
		network, request, reply = "ip6:ipv6-icmp", 128, 129
	}
	in(t, from, func() error {
		c, err := net.ListenPacket(network, "")
		if err != nil {
			return err
		}
		defer c.Close()
		msg := []byte{request, 0, 0, 0, 1, 2, 3, 4}
		if to.Is4() { // the kernel fills in the checksum of ICMPv6
			binary.BigEndian.PutUint16(msg[2:], ^sum(0, msg))
		}
		if _, err := c.WriteTo(msg, &net.IPAddr{IP: to.AsSlice()}); err != nil {
			return err
		}
		if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		buf := make([]byte, 128)
		for {
			n, _, err := c.ReadFrom(buf)
			if err != nil {
				a, err = classify(err)
				return err
			}
			if n >= 8 && buf[0] == reply {
				a = replied
				return nil
			}
		}
	})
	return a
}

// sum is the ones' complement sum of RFC 1071.
func sum(start uint32, b []byte) uint16 {
	for ; len(b) >= 2; b = b[2:] {
		start += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		start += uint32(b[0]) << 8
	}
	for start > 0xffff {
		start = start>>16 + start&0xffff
	}
	return uint16(start)
}

// serve answers TCP connections and UDP datagrams at a port until the test
// ends.
func serve(t *testing.T, at *netns.Handle, a netip.Addr, port uint16) {
	t.Helper()
	to := netip.AddrPortFrom(a, port).String()
	var l net.Listener
	var p net.PacketConn
	in(t, at, func() (err error) {
		if l, err = net.Listen("tcp", to); err != nil {
			return err
		}
		p, err = net.ListenPacket("udp", to)
		return err
	})
	t.Cleanup(func() { _, _ = l.Close(), p.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	go func() {
		buf := make([]byte, 64)
		for {
			n, from, err := p.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = p.WriteTo(buf[:n], from)
		}
	}()
}

// tables returns the names of the guards' tables in a namespace.
func tables(t *testing.T, h *netns.Handle) (names []string) {
	t.Helper()
	in(t, h, func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		list, err := c.ListTablesOfFamily(nftables.TableFamilyNetdev)
		for _, tab := range list {
			if strings.HasPrefix(tab.Name, tablePrefix) {
				names = append(names, tab.Name)
			}
		}
		return err
	})
	return names
}

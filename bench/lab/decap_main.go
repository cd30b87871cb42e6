package lab

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// DecapNIC is the interface from which a tunnel's real server gets the packets
// that were in the tunnel.
const DecapNIC = "decap0"

// decapBuffer is the memory in bytes for packets that wait at a socket.
const decapBuffer = 8 << 20

// tunnelSource is one way by which tunnelled packets come.
type tunnelSource struct {
	network string // as net.ListenPacket has it
	decap   func([]byte) ([]byte, error)
}

// DecapMain is the process of one tunnel's end, `vsnat lab decap`, which [Start]
// runs on every real server: it takes packets out of IPIP, GRE and GUE and gives
// them to the host by a TUN device, which goes with the process. It returns the
// exit code.
func DecapMain(args []string) int {
	flags := flag.NewFlagSet("lab decap", flag.ContinueOnError)
	port := flags.Int("port", 0, "UDP port of GUE")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	fmt.Fprintln(os.Stderr, decapsulate(*port))
	return 1
}

// decapsulate works until something goes wrong. The device is up only when all
// sockets are open.
func decapsulate(port int) error {
	inner := func(proto uint8) func([]byte) ([]byte, error) {
		return func(b []byte) ([]byte, error) { return innerPacket(b, proto) }
	}
	sources := []tunnelSource{
		{"ip4:4", inner(protoIPv4)},
		{"ip4:41", inner(protoIPv6)},
		{"ip4:47", decapGRE},
		{"udp4", decapGUE},
		{"ip6:4", inner(protoIPv4)},
		{"ip6:41", inner(protoIPv6)},
		{"ip6:47", decapGRE},
		{"udp6", decapGUE},
	}
	tun, err := openTUN(DecapNIC)
	if err != nil {
		return err
	}
	failed := make(chan error)
	for _, s := range sources {
		conn, err := s.listen(port)
		if errors.Is(err, unix.EAFNOSUPPORT) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return fmt.Errorf("lab: cannot listen for tunnels (%s): %w", s.network, err)
		}
		go func() { failed <- s.serve(conn, tun) }()
	}
	if err := bringUp(DecapNIC); err != nil {
		return err
	}
	return <-failed
}

// listen opens the source's socket.
func (s tunnelSource) listen(port int) (net.PacketConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		errControl := c.Control(func(fd uintptr) {
			// Without the right to it the usual size must do.
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, decapBuffer)
			if s.network == "udp6" {
				// Tunnels may come without UDP's checksum (RFC 6935).
				err = os.NewSyscallError("setsockopt UDP_NO_CHECK6_RX", unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_NO_CHECK6_RX, 1))
			}
		})
		return errors.Join(errControl, err)
	}}
	address := ""
	switch s.network[:3] {
	case "udp":
		address = ":" + strconv.Itoa(port)
	case "ip4":
		address = "0.0.0.0"
	case "ip6":
		address = "::"
	}
	return lc.ListenPacket(context.Background(), s.network, address)
}

// serve hands on what comes from the socket.
func (s tunnelSource) serve(conn net.PacketConn, tun *os.File) error {
	buf := make([]byte, 1<<16)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return fmt.Errorf("lab: tunnels by %s: %w", s.network, err)
		}
		pkt, err := s.decap(buf[:n])
		if err == nil {
			_, err = tun.Write(pkt)
		}
		if fault(err) {
			fmt.Fprintf(os.Stderr, "%v: from %v by %s, %d bytes\n", err, from, s.network, n)
		} else if err != nil {
			return fmt.Errorf("lab: %s: %w", DecapNIC, err)
		}
	}
}

// openTUN makes a TUN device in the namespace of this process. It is there as long
// as the file is open.
func openTUN(name string) (*os.File, error) {
	fail := func(err error) (*os.File, error) {
		return nil, fmt.Errorf("lab: cannot make a TUN device (module tun): %w", err)
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fail(err)
	}
	ifr, err := unix.NewIfreq(name)
	if err == nil {
		ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
	}
	if err != nil {
		return fail(errors.Join(err, unix.Close(fd)))
	}
	return os.NewFile(uintptr(fd), "/dev/net/tun"), nil
}

// bringUp puts the device up. It takes packets from where no route leads back to:
// rp_filter is off in a lab's hosts.
func bringUp(name string) error {
	link, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkSetUp(link)
	}
	if err != nil {
		return fmt.Errorf("lab: cannot put %s up: %w", name, err)
	}
	return nil
}

package lab

import (
	"context"
	"fmt"
	"net"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vsnat/nic/netns"
)

// Host is one host of a running cluster. Its methods may be called by several
// goroutines.
type Host struct {
	name string
	role Role
	ns   *netns.Handle
	nl   *netlink.Handle // a socket in the namespace
	nics map[string]NIC  // filled by New, then immutable

	jobs chan func()   // run by the host's thread
	quit chan struct{} // closed to end the thread
	gone chan struct{} // closed when the thread takes no more jobs
}

// NIC is one interface of a running host.
type NIC struct {
	Name  string
	Index int // ifindex in its namespace
	MTU   int // bytes of IP packet
	MAC   net.HardwareAddr
	Peer  End // the other end of the cable
}

// newHost makes a namespace, and the thread that starts processes in it.
func newHost(name string, role Role) (*Host, error) {
	ns, err := netns.New()
	if err != nil {
		return nil, fmt.Errorf("lab: host %s: %w", name, err)
	}
	h := &Host{
		name: name, role: role, ns: ns,
		nics: make(map[string]NIC),
		jobs: make(chan func()),
		quit: make(chan struct{}),
		gone: make(chan struct{}),
	}
	ready := make(chan error, 2) // the thread's word, and that of Do
	go func() {
		ready <- netns.Do(ns, func() error { return h.thread(ready) })
	}()
	if err := <-ready; err != nil {
		close(h.quit)
		_ = ns.Close() // only read from
		return nil, fmt.Errorf("lab: host %s: %w", name, err)
	}
	return h, nil
}

// thread is the life of the host's thread. All processes of the host are its
// children and have a parent death signal: when it ends, they are killed.
func (h *Host) thread(ready chan<- error) error {
	// Once more than netns.Do takes back: the thread's mounts differ from those
	// of the process, so nobody else may have it. It ends with its goroutine.
	runtime.LockOSThread()
	err := privateSys()
	if err == nil {
		h.nl, err = netlink.NewHandle(unix.NETLINK_ROUTE)
	}
	ready <- err
	defer close(h.gone)
	for {
		select {
		case job := <-h.jobs:
			job()
		case <-h.quit:
			return nil
		}
	}
}

// privateSys gives the calling thread its own mounts and a /sys that shows the
// interfaces of its network namespace; without it, /sys/class/net shows those
// of the machine. A kernel that refuses to mount sysfs (some containers hide
// parts of it) leaves /sys as it was: no tool that speaks netlink cares.
func privateSys() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("cannot make a mount namespace: %w", err)
	}
	// A slave sees what is mounted outside later, and shows nothing of its own.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("cannot detach the mounts: %w", err)
	}
	_ = unix.Mount("sysfs", "/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	return nil
}

// onThread runs fn on the host's thread and waits for it.
func (h *Host) onThread(fn func() error) error {
	done := make(chan error, 1)
	select {
	case h.jobs <- func() { done <- fn() }:
		return <-done
	case <-h.quit:
		return fmt.Errorf("lab: host %s: the cluster is closed", h.name)
	}
}

// stop ends the host's thread, and with it the processes it started.
func (h *Host) stop() {
	close(h.quit)
	<-h.gone
}

// Name returns the host's name.
func (h *Host) Name() string { return h.name }

// Role returns what the host is for.
func (h *Host) Role() Role { return h.role }

// Namespace returns the kernel's name for the host's network namespace, such as
// "net:[4026532300]": what the link /proc/PID/ns/net of its processes says.
func (h *Host) Namespace() string { return h.ns.String() }

// NIC returns an interface by its name.
func (h *Host) NIC(name string) (NIC, error) {
	n, ok := h.nics[name]
	if !ok {
		return NIC{}, fmt.Errorf("lab: host %s has no NIC %q", h.name, name)
	}
	return n, nil
}

// Do runs fn on a thread in the host's namespace and returns its error. See
// [netns.Do] for what holds in there: above all, sockets stay in the namespace,
// and goroutines that fn starts are NOT in it.
func (h *Host) Do(fn func() error) error { return netns.Do(h.ns, fn) }

// Dial connects from this host. The address is an IP address and port: a name
// would be looked up outside the cluster. It fits net/http's Transport.
func (h *Host) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	var c net.Conn
	err := h.Do(func() (err error) {
		c, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return c, err
}

// Listen waits for connections on this host, at an IP address and port.
func (h *Host) Listen(network, address string) (net.Listener, error) {
	var l net.Listener
	err := h.Do(func() (err error) {
		l, err = net.Listen(network, address)
		return err
	})
	return l, err
}

// ListenPacket opens a datagram socket on this host, at an IP address and port.
func (h *Host) ListenPacket(network, address string) (net.PacketConn, error) {
	var c net.PacketConn
	err := h.Do(func() (err error) {
		c, err = net.ListenPacket(network, address)
		return err
	})
	return c, err
}

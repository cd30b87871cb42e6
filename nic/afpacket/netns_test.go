package afpacket

import (
	"errors"
	"net"
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Keeps the first thread of the process, which cannot be thrown away, from
// running anything but the main goroutine.
func init() { runtime.LockOSThread() }

// space is a network namespace of a test's own.
type space struct {
	t  testing.TB
	ns netns.NsHandle
	nl *netlink.Handle
}

// newSpace makes a namespace that lasts as long as the test, or skips it.
func newSpace(t testing.TB) *space {
	t.Helper()
	s := &space{t: t}
	var err error
	onThread(func() {
		// The new namespace is the thread's, which ends with this function.
		if s.ns, err = netns.New(); err == nil {
			// Nobody but the test shall send. Without IPv6 there is no file.
			if e := os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0); !os.IsNotExist(e) {
				err = e
			}
		}
	})
	if errors.Is(err, unix.EPERM) {
		t.Skipf("needs CAP_SYS_ADMIN, CAP_NET_ADMIN and CAP_NET_RAW: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.ns.Close() })
	if s.nl, err = netlink.NewHandleAt(s.ns); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.nl.Close)
	return s
}

// onThread runs fn on a thread that is thrown away after it.
func onThread(fn func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		fn()
	}()
	<-done
}

// do runs fn in the namespace. fn must not end the test.
func (s *space) do(fn func()) {
	s.t.Helper()
	var err error
	onThread(func() {
		if err = netns.Set(s.ns); err == nil {
			fn()
		}
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// wire joins two namespaces by a pair of veth interfaces, both up. No stack
// sends anything on them by itself.
func wire(t testing.TB, a *space, nameA string, b *space, nameB string) {
	t.Helper()
	pair := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: nameA, MTU: 1500},
		PeerName:  nameB, PeerNamespace: netlink.NsFd(b.ns),
	}
	check(t, a.nl.LinkAdd(pair))
	for _, end := range []struct {
		s    *space
		name string
	}{{a, nameA}, {b, nameB}} {
		l := end.s.link(end.name)
		check(t, end.s.nl.LinkSetUp(l))
	}
}

// link returns an interface of the namespace.
func (s *space) link(name string) netlink.Link {
	s.t.Helper()
	l, err := s.nl.LinkByName(name)
	check(s.t, err)
	return l
}

// mac returns an interface's hardware address.
func (s *space) mac(name string) net.HardwareAddr { return s.link(name).Attrs().HardwareAddr }

// addr gives an interface an address.
func (s *space) addr(name, cidr string) {
	s.t.Helper()
	a, err := netlink.ParseAddr(cidr)
	check(s.t, err)
	check(s.t, s.nl.AddrAdd(s.link(name), a))
}

// open opens a device in the namespace for as long as the test lasts.
func (s *space) open(cfg Config) *Device {
	s.t.Helper()
	var d *Device
	var err error
	s.do(func() { d, err = Open(cfg) })
	check(s.t, err)
	s.t.Cleanup(func() { _ = d.Close() })
	return d
}

// sender opens a sender in the namespace for as long as the test lasts.
func (s *space) sender(name string) *Sender {
	s.t.Helper()
	index := s.link(name).Attrs().Index
	var tx *Sender
	var err error
	s.do(func() { tx, err = OpenSender(index) })
	check(s.t, err)
	s.t.Cleanup(func() { _ = tx.Close() })
	return tx
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

package conformance

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"vsnat/bench/peer/ipvs"
	"vsnat/conntrack/wheel"
	"vsnat/nat"
	"vsnat/nat/wire"
	"vsnat/nic/netns"
)

const (
	// kernelSettle is more than a timer's tick in any kernel (10 ms at HZ 100),
	// and more than one of the engine's, which must not fall behind.
	kernelSettle = wheel.Tick + 3*time.Millisecond
	// patience is how long a packet that seems not to have left is waited for.
	// It is on its way out when the write of the one that came in returns.
	patience = 3 // milliseconds
)

// kernel is the IPVS of this machine's kernel as a director, in a network
// namespace of its own that goes with it.
type kernel struct {
	ns     *netns.Handle
	ipvs   *ipvs.Client
	nics   [2]int   // TUN devices by side, not blocking
	table  *os.File // /proc/net/ip_vs_conn of the namespace
	buffer [mtu + 100]byte
}

// NewKernel returns the kernel's IPVS as an oracle, in a network namespace of
// its own. It needs CAP_SYS_ADMIN, CAP_NET_ADMIN and a kernel with IPVS and TUN
// devices; the error says what is missing.
func NewKernel() (Oracle, error) {
	d, err := newKernel()
	if err != nil {
		return nil, fmt.Errorf("conformance: %w", err)
	}
	return newPlayer(d), nil
}

func newKernel() (d *kernel, err error) {
	ns, err := netns.New()
	if err != nil {
		return nil, err
	}
	d = &kernel{ns: ns, nics: [2]int{-1, -1}}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	if d.ipvs, err = ipvs.Dial(ns); err != nil {
		return d, err
	}
	if err = netns.Do(ns, d.furnish); err != nil {
		return d, err
	}
	return d, d.ipvs.SetTimeouts(tcpTimeout, tcpFinTimeout, udpTimeout)
}

func (d *kernel) close() error {
	errs := []error{d.ns.Close()}
	if d.ipvs != nil {
		errs = append(errs, d.ipvs.Flush(), d.ipvs.Close())
	}
	for _, fd := range d.nics {
		if fd >= 0 {
			errs = append(errs, unix.Close(fd))
		}
	}
	if d.table != nil {
		errs = append(errs, d.table.Close())
	}
	return errors.Join(errs...)
}

func (d *kernel) begin(time.Duration) {}

func (d *kernel) settle() { time.Sleep(kernelSettle) }

func (d *kernel) command(s *Step) error {
	switch s.Op {
	case Flush:
		return d.ipvs.Flush()
	case Zero:
		return d.ipvs.Zero()
	case Set:
		return netns.Do(d.ns, func() error { return sysctl("net/ipv4/vs/"+s.Setting, s.Value) })
	}
	return command(d.ipvs, s)
}

func sysctl(name string, value int) error {
	if err := os.WriteFile("/proc/sys/"+name, []byte(strconv.Itoa(value)), 0); err != nil {
		return fmt.Errorf("set a sysctl: %w", err)
	}
	return nil
}

func (d *kernel) send(from side, ip []byte) (all []departed, err error) {
	if _, err := unix.Write(d.nics[from], ip); err != nil {
		return nil, fmt.Errorf("conformance: write to the %s' TUN device: %w", from, err)
	}
	for waited := false; ; waited = true {
		for s, fd := range d.nics {
			for {
				n, err := unix.Read(fd, d.buffer[:])
				if errors.Is(err, unix.EAGAIN) {
					break
				}
				if err != nil {
					return nil, fmt.Errorf("conformance: read from the %s' TUN device: %w", side(s), err)
				}
				// The kernel looks for IPv6 routers and neighbours by multicast.
				if p, ok := parse(d.buffer[:max(n, 0)]); (ok || p.Proto == wire.ProtoESP) && p.Dst[0] != 0xff {
					all = append(all, departed{side(s), append([]byte{}, d.buffer[:n]...)})
				}
			}
		}
		if waited || len(all) > 0 {
			return all, nil
		}
		poll := []unix.PollFd{{Fd: int32(d.nics[clients]), Events: unix.POLLIN}, {Fd: int32(d.nics[servers]), Events: unix.POLLIN}}
		if _, err := unix.Poll(poll, patience); err != nil && !errors.Is(err, unix.EINTR) {
			return nil, fmt.Errorf("conformance: wait for the TUN devices: %w", err)
		}
	}
}

func (d *kernel) servers(k nat.ServiceKey) ([]nat.ServerInfo, error) { return d.ipvs.Servers(k) }

func (d *kernel) services() ([]nat.ServiceInfo, error) { return d.ipvs.Services() }

// conns reads the list until two readings in a row are the same but for the
// timers: the kernel gives it out page by page and counts the entries it has
// given, those of all namespaces, so that it leaves some out when others expire
// meanwhile.
func (d *kernel) conns() ([]Conn, error) {
	const most = 20
	var before []Conn
	for range most {
		if _, err := d.table.Seek(0, io.SeekStart); err != nil {
			return nil, fmt.Errorf("conformance: read the connection list again: %w", err)
		}
		list, err := ipvs.ReadConns(d.table)
		if err != nil {
			return nil, err
		}
		all := make([]Conn, len(list))
		for i, c := range list {
			all[i] = Conn(c)
		}
		if before != nil && slices.EqualFunc(before, all, func(a, b Conn) bool {
			a.Expires, b.Expires = 0, 0
			return a == b
		}) {
			return all, nil
		}
		before = all
	}
	return nil, fmt.Errorf("conformance: %d readings of the connection list were all different", most)
}

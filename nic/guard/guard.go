// Package guard keeps the host's own network stack away from the frames that
// vsnat owns: packets to its services, replies of the real servers behind them,
// and ICMP errors about either. Everything else stays the host's: ARP, neighbour
// discovery, ping, ssh, health checks, other services.
//
// # Where it stands
//
// A frame comes in from the driver, passes the packet sockets that are bound to
// ETH_P_ALL, then the guard, then the host's stack. The guard drops what is
// vsnat's; the packet socket has seen it before. A packet socket that is bound
// to one protocol, such as ETH_P_IP, stands behind the guard and sees nothing;
// an XDP program would stand before the packet sockets, and is no use here.
//
// There are two kinds, which behave alike:
//
//   - tcx (Linux 6.6): a small BPF program at the head of the interface's tcx
//     ingress hook. It needs CAP_BPF and CAP_NET_ADMIN in the first user
//     namespace.
//   - nft (Linux 5.12): an nftables table in the netdev family, which also works
//     in a user namespace of its own. It needs CAP_NET_ADMIN.
//
// Both hang on file descriptors of this process: the tcx links are not pinned,
// and the table is flagged as owned by the netlink socket. When the process
// ends, however it ends, the kernel takes them away. The table's name is
// "vsnat-guard-" and the netlink port of that socket, which no other socket of
// the namespace has, so that several guards may stand side by side; each drops
// its own frames. Others can neither change nor flush an owned table.
//
// # What is vsnat's
//
// A frame is judged only if its link-layer destination is this interface
// (PACKET_HOST) and it has no VLAN tag, neither in the frame nor beside it, but for
// one that has only a priority. Of the IPv4 and IPv6 packets in such frames these
// are vsnat's:
//
//   - TCP, UDP and SCTP to a service: by its address and port, or by what else
//     tells it ([Wide]); ESP and AH by their address alone;
//   - TCP of a flow that is in the set of flows ([Guard.Flows]);
//   - TCP, UDP and SCTP from a real server, or from a network that is masqueraded,
//     to an address that is not this host's, and from such a network also echo
//     requests. Answers to the host's own connections to a real server, such as
//     health checks, are thereby the host's;
//   - ICMP errors (types 3, 4, 11 and 12; ICMPv6 types 1 to 4) to a service's
//     address about a packet from a service, and those to an address that is not
//     this host's about a packet to a real server or to such a network.
//
// IPv6 extension headers are stepped over. The first fragment of a packet is
// judged like a whole packet. Later fragments have no ports and stay the host's;
// without their first one they come to nothing there, but for a host that itself
// forwards packets, which sends them on.
//
// The nft kind sees less: inside an ICMP error only packets without IP options
// or extension headers; in IPv6 no packets with an authentication header; and
// IPv6 extension headers only of packets whose headers the driver has put
// together, not left in pages.
//
// # Order
//
// Open, Set and Attach come before the packet socket of an interface is opened,
// Detach and Close after it is closed; then no frame is answered twice.
package guard

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"vsnat/nic"
	"vsnat/nic/netns"
)

// The kinds of a guard, as in [Options] and [Guard.Kind].
const (
	TCX = "tcx"
	NFT = "nft"
)

// DefaultMaxKeys is the value of [Options].MaxKeys if none is given.
const DefaultMaxKeys = 1 << 17

// Options say how a guard is made. The zero value is a good choice.
type Options struct {
	// NS is the namespace of the interfaces; it must stay open as long as the
	// guard. Nil is the namespace of the thread that calls Open and Attach, and
	// needs no CAP_SYS_ADMIN.
	NS *netns.Handle
	// Force is [TCX] or [NFT] to take that kind or none. Empty is tcx if the
	// kernel allows it, or else nft.
	Force string
	// MaxKeys is how many services, and how many servers, the tcx kind has
	// room for: 16 to 32 bytes of kernel memory each, taken at once, and some
	// 100 more for each one that is set. 0 is DefaultMaxKeys.
	MaxKeys int
}

// Stats count the frames that were kept from the host.
type Stats struct {
	Services uint64 // to a service
	Servers  uint64 // from a real server
	Errors   uint64 // ICMP errors about either
}

// Guard is a guard over some interfaces of one namespace. Its methods may be
// called by any number of goroutines.
type Guard struct {
	ns    *netns.Handle
	kind  string
	why   string
	flows nic.Flows

	mu       sync.Mutex // guards all below
	backend  backend    // nil when closed
	tables   [numTables]table
	wide     []Wide
	networks []netip.Prefix
	attached map[int]struct{} // by ifindex
}

// backend is a way to have frames dropped. Its callers see to it that there are
// no concurrent calls, that no key is added twice and none is deleted that is
// not there.
type backend interface {
	// add and del return how many of the keys, from the first on, are done.
	add(t tableID, keys []key) (int, error)
	del(t tableID, keys []key) (int, error)
	// setWide replaces the wide selectors, at once.
	setWide(list []Wide) error
	// setNetworks replaces the networks, which are masked and do not overlap. old
	// are those that there are.
	setNetworks(old, list []netip.Prefix) error
	// attach is called in the guard's namespace. The interface is Ethernet.
	attach(dev *net.Interface) error
	// detach succeeds if the interface has vanished.
	detach(ifindex int) error
	stats() (Stats, error)
	close() error
}

var errClosed = errors.New("guard: closed")

// Open makes a guard that stands at no interface yet and owns nothing. If
// neither kind is to be had, the error tells why for both; a kernel that is too
// old is a [*vsnat/nic.Feature].
func Open(o Options) (*Guard, error) {
	if o.MaxKeys == 0 {
		o.MaxKeys = DefaultMaxKeys
	}
	if o.MaxKeys < 0 || o.MaxKeys > 1<<24 {
		return nil, fmt.Errorf("guard: MaxKeys is %d: it must be from 1 to %d", o.MaxKeys, 1<<24)
	}
	g := &Guard{ns: o.NS, attached: make(map[int]struct{})}
	for i := range g.tables {
		g.tables[i] = newTable()
	}
	err := netns.Do(o.NS, func() error { return g.choose(o) })
	if err != nil {
		return nil, fmt.Errorf("guard: %w", err)
	}
	return g, nil
}

// choose sets kind, why and backend. It runs in the guard's namespace.
func (g *Guard) choose(o Options) error {
	var errTCX error
	switch o.Force {
	case "", TCX:
		var b *tcx
		if b, errTCX = openTCX(o.MaxKeys); errTCX == nil {
			g.kind, g.why, g.backend, g.flows = TCX, "tcx works here", b, b.counters
			return nil
		}
		if o.Force == TCX {
			return errTCX
		}
	case NFT:
	default:
		return fmt.Errorf("there is no kind %q: use %q, %q or none", o.Force, TCX, NFT)
	}
	b, errNFT := openNFT()
	if errNFT != nil {
		return errors.Join(errTCX, errNFT)
	}
	g.kind, g.why, g.backend = NFT, "nft was asked for", b
	if errTCX != nil {
		g.why = errTCX.Error()
	}
	return nil
}

// Kind returns [TCX] or [NFT].
func (g *Guard) Kind() string { return g.kind }

// Flows returns a set of flows that the guard owns besides its state, for as long
// as they are in it: what is added is owned at once. It is nil for the nft kind,
// which has none. It may be used even after Close.
func (g *Guard) Flows() nic.Flows { return g.flows }

// Why tells in a sentence why the guard is of that kind.
func (g *Guard) Why() string { return g.why }

// Add makes the guard own what s says besides what it owns. Local stays; Wide, whose
// order counts, and Networks are replaced. It costs as much as s is long. After an error the guard owns some of the keys.
func (g *Guard) Add(s State) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.backend == nil {
		return errClosed
	}
	want, err := s.pack()
	if err != nil {
		return err
	}
	for _, t := range []tableID{services, servers} {
		if err := g.add(t, g.tables[t].missing(want[t])); err != nil {
			return err
		}
	}
	if err := g.setNetworks(s.Networks); err != nil {
		return err
	}
	return g.setWide(s.Wide)
}

// setWide replaces the wide selectors if they differ.
func (g *Guard) setWide(list []Wide) error {
	if slices.Equal(g.wide, list) {
		return nil
	}
	if err := g.backend.setWide(list); err != nil {
		return fmt.Errorf("guard: cannot set %d wide selectors: %w", len(list), err)
	}
	g.wide = slices.Clone(list)
	return nil
}

// add adds keys that the kernel has not.
func (g *Guard) add(t tableID, keys []key) error {
	n, err := g.backend.add(t, keys)
	g.tables[t].added(keys[:n])
	if err != nil {
		return fmt.Errorf("guard: cannot add %d %v: %w", len(keys), t, err)
	}
	return nil
}

// Set makes the guard own what s says instead of what it owned before. Only the
// differences go to the kernel. What is new is owned before what is old is
// released, so that a key in both is never free; frames that come in meanwhile
// may see some keys of each. After an error the guard owns some keys of each
// too, and Set may be called again.
func (g *Guard) Set(s State) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.backend == nil {
		return errClosed
	}
	want, err := s.pack()
	if err != nil {
		return err
	}
	// A server's frames to a local address must not be dropped for a moment:
	// the addresses come before the servers, and leave after them.
	var stale [numTables][]key
	for _, t := range []tableID{local, services, servers} {
		var fresh []key
		fresh, stale[t] = g.tables[t].diff(want[t])
		if err := g.add(t, fresh); err != nil {
			return err
		}
	}
	if err := g.setWide(s.Wide); err != nil {
		return err
	}
	if err := g.setNetworks(s.Networks); err != nil {
		return err
	}
	for _, t := range []tableID{servers, services, local} {
		n, err := g.backend.del(t, stale[t])
		g.tables[t].deleted(stale[t][:n])
		if err != nil {
			return fmt.Errorf("guard: cannot delete %d %v: %w", len(stale[t]), t, err)
		}
	}
	return nil
}

// Attach puts the guard at the interface with that ifindex, which must carry
// Ethernet frames. At an interface that it guards already it does nothing.
func (g *Guard) Attach(ifindex int) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.backend == nil {
		return errClosed
	}
	if _, ok := g.attached[ifindex]; ok {
		return nil
	}
	err := netns.Do(g.ns, func() error {
		dev, err := net.InterfaceByIndex(ifindex)
		if err != nil {
			return err
		}
		if err := isEther(dev.Name); err != nil {
			return err
		}
		return g.backend.attach(dev)
	})
	if err != nil {
		return fmt.Errorf("guard: cannot attach to interface %d: %w", ifindex, err)
	}
	g.attached[ifindex] = struct{}{}
	return nil
}

// Detach takes the guard from an interface. It must be called for interfaces
// that have vanished, too; for one that is not guarded it does nothing.
func (g *Guard) Detach(ifindex int) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.backend == nil {
		return errClosed
	}
	if _, ok := g.attached[ifindex]; !ok {
		return nil
	}
	if err := g.backend.detach(ifindex); err != nil {
		return fmt.Errorf("guard: cannot detach from interface %d: %w", ifindex, err)
	}
	delete(g.attached, ifindex)
	return nil
}

// Stats returns what was kept from the host at all interfaces since Open.
func (g *Guard) Stats() (Stats, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.backend == nil {
		return Stats{}, errClosed
	}
	s, err := g.backend.stats()
	if err != nil {
		return Stats{}, fmt.Errorf("guard: cannot read the counters: %w", err)
	}
	return s, nil
}

// Close takes the guard away from all interfaces. Further calls do nothing.
func (g *Guard) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.backend == nil {
		return nil
	}
	err := g.backend.close()
	g.backend = nil
	if err != nil {
		return fmt.Errorf("guard: %w", err)
	}
	return nil
}

// isEther returns an error unless the interface carries Ethernet frames: both
// kinds look for the EtherType, and for what follows, at fixed offsets.
func isEther(name string) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	req, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(s, unix.SIOCGIFHWADDR, req); err != nil {
		return err
	}
	// The answer is a struct sockaddr, whose family is the hardware's type.
	if kind := req.Uint16(); kind != unix.ARPHRD_ETHER {
		return fmt.Errorf("%s carries no Ethernet frames (hardware type %d)", name, kind)
	}
	return nil
}

package address

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vsnat/cmd/vsnat/internal/config"
)

const (
	lifetime = 30 * time.Second // of an address that is not renewed
	renew    = 8 * time.Second  // three times fit into a lifetime
)

// Holder has addresses on NICs. Its methods may be called from several
// goroutines.
type Holder struct {
	tell func(nic string, err error)

	mu     sync.Mutex
	held   []*held
	closed chan struct{}
	done   sync.WaitGroup
}

// held is an address that is wanted.
type held struct {
	config.Address
	index   int  // of its NIC when it was put there last; 0 is not
	foreign bool // somebody else put it there
	gone    chan struct{}
}

// New returns a Holder of nothing. What fails from time to time, such as for a
// NIC that has vanished, is told with nil when it works again.
func New(tell func(nic string, err error)) *Holder {
	h := &Holder{tell: tell, closed: make(chan struct{})}
	h.done.Go(h.run)
	return h
}

// Check says what is wrong with the addresses on this host.
func (h *Holder) Check(want []config.Address) error {
	for _, a := range want {
		if _, err := netlink.LinkByName(a.NIC); err != nil {
			return fmt.Errorf("address %s: there is no NIC %s: %w", a.Prefix, a.NIC, syscall.ENODEV)
		}
	}
	return nil
}

// List returns the addresses that are wanted.
func (h *Holder) List() []config.Address {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := make([]config.Address, len(h.held))
	for i, a := range h.held {
		list[i] = a.Address
	}
	return list
}

// Set has the NICs have these addresses from now on, and those of before no
// more. What cannot be done now is tried again.
func (h *Holder) Set(want []config.Address) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var keep []*held
	for _, a := range h.held {
		if slices.Contains(want, a.Address) {
			keep = append(keep, a)
			continue
		}
		h.tell(a.NIC, h.drop(a))
	}
	for _, a := range want {
		if slices.ContainsFunc(keep, func(k *held) bool { return k.Address == a }) {
			continue
		}
		k := &held{Address: a, gone: make(chan struct{})}
		h.tell(a.NIC, h.put(k))
		keep = append(keep, k)
	}
	h.held = keep
}

// Close takes all addresses away.
func (h *Holder) Close() {
	close(h.closed)
	h.done.Wait()
	h.Set(nil)
}

// run renews the addresses.
func (h *Holder) run() {
	tick := time.NewTicker(renew)
	defer tick.Stop()
	for {
		select {
		case <-h.closed:
			return
		case <-tick.C:
		}
		h.mu.Lock()
		for _, a := range h.held {
			h.tell(a.NIC, h.put(a))
		}
		h.mu.Unlock()
	}
}

// address returns the address as the kernel has it.
func (a *held) address() *netlink.Addr {
	ip := a.Prefix.Addr()
	n := &netlink.Addr{
		IPNet:    &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(a.Prefix.Bits(), ip.BitLen())},
		ValidLft: int(lifetime / time.Second), PreferedLft: int(lifetime / time.Second),
	}
	if ip.Is6() {
		// It is announced, not asked for: it may have been another's a moment ago.
		n.Flags = unix.IFA_F_NODAD
	}
	return n
}

// put puts the address on its NIC, or renews it there. h.mu is held.
func (h *Holder) put(a *held) error {
	link, err := netlink.LinkByName(a.NIC)
	if err != nil {
		a.index = 0
		return fmt.Errorf("address %s: NIC %s: %w", a.Prefix, a.NIC, err)
	}
	index := link.Attrs().Index
	if a.index != index {
		a.foreign, err = foreign(link, a)
		if err != nil {
			return fmt.Errorf("address %s: NIC %s: %w", a.Prefix, a.NIC, err)
		}
	}
	if !a.foreign {
		if err := netlink.AddrReplace(link, a.address()); err != nil {
			a.index = 0
			return fmt.Errorf("address %s: NIC %s: %w", a.Prefix, a.NIC, err)
		}
	}
	if a.index != index {
		a.index = index
		h.announce(a, link.Attrs())
	}
	return nil
}

// foreign reports whether the address is on the NIC and not from us: ours end
// soon.
func foreign(link netlink.Link, a *held) (bool, error) {
	list, err := netlink.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return false, err
	}
	for _, is := range list {
		ip, ok := netipAddr(is.IP)
		if ones, _ := is.Mask.Size(); ok && ip == a.Prefix.Addr() && ones == a.Prefix.Bits() {
			return is.ValidLft <= 0 || is.ValidLft > int(lifetime/time.Second), nil
		}
	}
	return false, nil
}

// drop takes the address off its NIC. h.mu is held.
func (h *Holder) drop(a *held) error {
	close(a.gone)
	if a.index == 0 || a.foreign {
		return nil
	}
	link, err := netlink.LinkByIndex(a.index)
	if err != nil {
		return nil // it went with its NIC
	}
	// An address that is not there any more is none to take away.
	if err := netlink.AddrDel(link, a.address()); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("address %s: NIC %s: %w", a.Prefix, a.NIC, err)
	}
	return nil
}

// announce tells the NIC's link, as often as is wanted.
func (h *Holder) announce(a *held, link *netlink.LinkAttrs) {
	if a.Announce == 0 || len(link.HardwareAddr) != 6 {
		return // no Ethernet: nobody needs to be told
	}
	frame := announcement(a.Prefix.Addr(), [6]byte(link.HardwareAddr))
	h.done.Go(func() {
		for i := range a.Announce {
			if err := send(link.Index, frame); err != nil {
				h.tell(a.NIC, fmt.Errorf("address %s: announce on %s: %w", a.Prefix, a.NIC, err))
				return
			}
			if i+1 == a.Announce {
				return
			}
			select {
			case <-h.closed:
				return
			case <-a.gone:
				return
			case <-time.After(time.Second):
			}
		}
	})
}

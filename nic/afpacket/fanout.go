package afpacket

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"vsnat/nic"
)

// OpenQueues opens an interface as [Open] does, n times: for each of its frames the
// kernel chooses one of the devices, which are numbered as they stand. Both
// directions of a flow get devices of the same number, whichever interfaces they come
// in by, if vips has the virtual addresses; see [Device.Steer].
func OpenQueues(cfg Config, n int, vips []nic.Addr) (all []*Device, err error) {
	ifi, err := findInterface(cfg)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			for _, d := range all {
				err = errors.Join(err, d.Close())
			}
			all, err = nil, fmt.Errorf("afpacket: cannot open %s: %w", ifi.Name, err)
		}
	}()
	cfg.shut = true
	group := uniqueGroup
	for range n {
		d, err := open(cfg, ifi)
		if err != nil {
			return all, err
		}
		all = append(all, d)
		if group, err = d.join(group); err != nil {
			return all, err
		}
	}
	if err := all[0].Steer(vips); err != nil {
		return all, err
	}
	for _, d := range all {
		if err := unix.SetsockoptInt(d.fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0); err != nil {
			return all, fmt.Errorf("setsockopt SO_DETACH_FILTER: %w", err)
		}
	}
	return all, nil
}

// uniqueGroup stands for a fanout group that nobody has.
const uniqueGroup = -1

// join makes the device the next member of a fanout group. Before, it must let no
// frame in: until it is a member, it gets those of all.
func (d *Device) join(group int) (int, error) {
	// What we send would come back to us; the group does not heed that option of its
	// members.
	const kind = unix.PACKET_FANOUT_CBPF | unix.PACKET_FANOUT_FLAG_IGNORE_OUTGOING
	arg := kind<<16 | group
	if group == uniqueGroup {
		arg = (kind | unix.PACKET_FANOUT_FLAG_UNIQUEID) << 16
	}
	if err := unix.SetsockoptInt(d.fd, unix.SOL_PACKET, unix.PACKET_FANOUT, arg); err != nil {
		return 0, option{name: "PACKET_FANOUT_CBPF with PACKET_FANOUT_FLAG_IGNORE_OUTGOING", kernel: "5.10"}.failed(err)
	}
	v, err := unix.GetsockoptInt(d.fd, unix.SOL_PACKET, unix.PACKET_FANOUT)
	if err != nil {
		return 0, fmt.Errorf("getsockopt PACKET_FANOUT: %w", err)
	}
	return v & 0xffff, nil
}

// Steer tells the virtual addresses, by which packets from clients are told from
// others, to this device and all that were opened with it. Any goroutine may call
// it, until Close.
func (d *Device) Steer(vips []nic.Addr) error {
	p := steering(vips)
	prog := unix.SockFprog{Len: uint16(len(p)), Filter: &p[0]}
	if err := unix.SetsockoptSockFprog(d.fd, unix.SOL_PACKET, unix.PACKET_FANOUT_DATA, &prog); err != nil {
		return fmt.Errorf("setsockopt PACKET_FANOUT_DATA: %w", err)
	}
	return nil
}

// shutOff has the socket let no frame in.
func shutOff(fd int) error {
	none := unix.SockFilter{Code: retK}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &none}); err != nil {
		return fmt.Errorf("setsockopt SO_ATTACH_FILTER: %w", err)
	}
	return nil
}

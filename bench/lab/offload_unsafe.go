package lab

import (
	"fmt"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Offloads returns which offloads a NIC of the calling thread's namespace has
// switched on, by ethtool's names.
func Offloads(nic string) (string, error) {
	var on []string
	for _, o := range []struct {
		name string
		cmd  uint32
	}{
		{"rx", unix.ETHTOOL_GRXCSUM},
		{"tx", unix.ETHTOOL_GTXCSUM},
		{"sg", unix.ETHTOOL_GSG},
		{"tso", unix.ETHTOOL_GTSO},
		{"gso", unix.ETHTOOL_GGSO},
		{"gro", unix.ETHTOOL_GGRO},
	} {
		v, err := ethtool(nic, o.cmd, 0)
		if err != nil {
			return "", fmt.Errorf("lab: offload %s of %s: %w", o.name, nic, err)
		}
		if v != 0 {
			on = append(on, o.name)
		}
	}
	return strings.Join(on, " "), nil
}

// SendSegments has a NIC of the calling thread's namespace send TCP segments one by
// one, so that the other end receives them as from a wire (ethtool -K NIC tso off).
func SendSegments(nic string) error {
	if _, err := ethtool(nic, unix.ETHTOOL_STSO, 0); err != nil {
		return fmt.Errorf("lab: segmentation offload of %s: %w", nic, err)
	}
	return nil
}

// ethtool makes a call with one value, and returns what the kernel made of that.
func ethtool(nic string, cmd, data uint32) (uint32, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	value := struct{ cmd, data uint32 }{cmd, data}
	var req struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte // the rest of struct ifreq's union
	}
	copy(req.name[:], nic)
	req.data = unsafe.Pointer(&value)
	// The conversion stands in the call, and value hangs on req
	// (unsafe.Pointer's rule 4).
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req))); errno != 0 {
		return 0, errno
	}
	return value.data, nil
}

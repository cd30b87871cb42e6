package bench

import (
	"fmt"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// offloads returns which offloads a NIC of the calling thread's namespace has
// switched on, by ethtool's names.
func offloads(nic string) (string, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("bench: offloads of %s: %w", nic, err)
	}
	defer unix.Close(fd)
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
		value := struct{ cmd, data uint32 }{cmd: o.cmd}
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
			return "", fmt.Errorf("bench: offload %s of %s: %w", o.name, nic, errno)
		}
		if value.data != 0 {
			on = append(on, o.name)
		}
	}
	return strings.Join(on, " "), nil
}

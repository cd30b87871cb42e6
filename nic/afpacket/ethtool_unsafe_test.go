package afpacket

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// setTSO switches an interface's TCP segmentation offload (ethtool -K tso), in
// the calling thread's namespace.
func setTSO(name string, on bool) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	value := struct{ cmd, data uint32 }{cmd: unix.ETHTOOL_STSO}
	if on {
		value.data = 1
	}
	var req struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte // the rest of struct ifreq's union
	}
	copy(req.name[:], name)
	req.data = unsafe.Pointer(&value)
	// The conversion stands in the call, and value hangs on req.
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req))); errno != 0 {
		return os.NewSyscallError("ioctl", errno)
	}
	return nil
}

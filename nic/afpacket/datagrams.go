package afpacket

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// TakesDatagrams reports whether the kernel takes frames that are to be cut into
// datagrams ([nic.VNetGSOUDPL4]), which it does since Linux 6.2 (virtio_net_hdr_to_skb in
// include/linux/virtio_net.h); an older one answers EINVAL.
func TakesDatagrams() bool {
	var u unix.Utsname
	return unix.Uname(&u) == nil && takesDatagrams(unix.ByteSliceToString(u.Release[:]))
}

func takesDatagrams(release string) bool {
	var major, minor int
	n, _ := fmt.Sscanf(release, "%d.%d", &major, &minor) // what cannot be read is old
	return n == 2 && (major > 6 || major == 6 && minor >= 2)
}

package daemon

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// needed are the capabilities that the director cannot do without.
var needed = []struct {
	bit  uint
	name string
}{
	{unix.CAP_NET_RAW, "CAP_NET_RAW (packet sockets)"},
	{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN (guard, neighbours)"},
}

// missingCapabilities returns the names of those that this process lacks.
func missingCapabilities() (missing []string, err error) {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&head, &data[0]); err != nil {
		return nil, fmt.Errorf("daemon: read capabilities: %w", err)
	}
	for _, c := range needed {
		if data[c.bit/32].Effective&(1<<(c.bit%32)) == 0 {
			missing = append(missing, c.name)
		}
	}
	return missing, nil
}

package daemon

import "golang.org/x/sys/unix"

// availablePages returns how many pages of memory are free or hold buffers: what
// the kernel's IPVS compares with amemthresh (update_defense_level).
func availablePages() (int, error) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0, err
	}
	bytes := (uint64(info.Freeram) + uint64(info.Bufferram)) * uint64(info.Unit)
	return int(bytes / uint64(unix.Getpagesize())), nil
}

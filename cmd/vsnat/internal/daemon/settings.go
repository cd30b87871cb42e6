package daemon

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/nat"
)

// kernelSettings are the settings of net.ipv4.vs that vsnat may not have.
var kernelSettings = []string{
	"backup_only", "cache_bypass", "conntrack", "debug_level", "drop_entry", "est_cpulist", "est_nice",
	"ignore_tunneled", "nat_icmp_send", "pmtu_disc", "schedule_icmp", "sloppy_sctp", "snat_reroute",
	"sync_persist_mode", "sync_ports", "sync_qlen_max", "sync_refresh_period", "sync_retries", "sync_sock_size",
	"sync_threshold", "sync_version",
}

// Settings implements [control.Director].
func (d *daemon) Settings() []control.Setting {
	var is nat.Settings
	d.engine.Update(func(tx *nat.Tx) { is = tx.Settings() })
	first := nat.DefaultSettings()
	var all []control.Setting
	for _, s := range nat.SettingList() {
		all = append(all, control.Setting{Name: s.Name, Value: s.Get(&is), Default: s.Get(&first), Max: s.Max, Help: s.Help})
	}
	return all
}

// set changes settings by name.
func (r *run) set(values map[string]int) error {
	settings := r.tx.Settings()
	list := nat.SettingList()
	for _, name := range slices.Sorted(maps.Keys(values)) {
		short := strings.TrimPrefix(name, "net.ipv4.vs.")
		at := slices.IndexFunc(list, func(s nat.Setting) bool { return s.Name == short })
		if at < 0 {
			return unknownSetting(short, list)
		}
		if err := list[at].Set(&settings, values[name]); err != nil {
			return err
		}
	}
	return r.tx.SetSettings(settings)
}

// unknownSetting refuses a name, and says which one may have been meant.
func unknownSetting(name string, list []nat.Setting) error {
	if slices.Contains(kernelSettings, name) {
		return fmt.Errorf("daemon: the kernel's setting %s does nothing in vsnat: %w", name, syscall.EOPNOTSUPP)
	}
	nearest, least := "", len(name)/2+1
	for _, s := range list {
		if n := distance(name, s.Name); n < least {
			nearest, least = s.Name, n
		}
	}
	if nearest != "" {
		return fmt.Errorf("daemon: there is no setting %s (is it %s?): %w", name, nearest, syscall.ENOENT)
	}
	return fmt.Errorf("daemon: there is no setting %s (`vsnat set' lists all): %w", name, syscall.ENOENT)
}

// distance returns how many letters must be put in, taken out or changed to make
// b of a (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := corner
			if a[i] != b[j] {
				change++
			}
			corner = row[j+1]
			row[j+1] = min(change, corner+1, row[j]+1)
		}
	}
	return row[len(b)]
}

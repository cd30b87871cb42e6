package config

import (
	"fmt"
	"slices"
	"strings"
	"syscall"

	"vsnat/cmd/vsnat/internal/nearest"
	"vsnat/nat"
)

// kernelSettings are the settings of net.ipv4.vs that vsnat may not have.
var kernelSettings = []string{
	"backup_only", "cache_bypass", "conntrack", "debug_level", "est_cpulist", "est_nice",
	"ignore_tunneled", "nat_icmp_send", "schedule_icmp", "snat_reroute",
	"sync_persist_mode", "sync_ports", "sync_qlen_max", "sync_refresh_period", "sync_retries", "sync_sock_size",
	"sync_threshold", "sync_version",
}

// SettingError is a name that is no setting of vsnat.
type SettingError struct {
	Message string
	Errno   syscall.Errno // EOPNOTSUPP if the kernel has the setting, ENOENT if not
}

// Error returns the message.
func (e *SettingError) Error() string { return e.Message }

// Unwrap returns the errno.
func (e *SettingError) Unwrap() error { return e.Errno }

// FindSetting returns the setting of a name, with or without net.ipv4.vs before
// it. The error is a [*SettingError].
func FindSetting(name string) (nat.Setting, error) {
	name = strings.TrimPrefix(name, "net.ipv4.vs.")
	list := nat.SettingList()
	names := make([]string, len(list))
	for i := range list {
		if names[i] = list[i].Name; names[i] == name {
			return list[i], nil
		}
	}
	if slices.Contains(kernelSettings, name) {
		return nat.Setting{}, &SettingError{fmt.Sprintf("the kernel's setting %s does nothing in vsnat", name), syscall.EOPNOTSUPP}
	}
	hint := "`vsnat set' lists all"
	if near := nearest.Of(name, names); near != "" {
		hint = fmt.Sprintf("is it %s?", near)
	}
	return nat.Setting{}, &SettingError{fmt.Sprintf("there is no setting %s (%s)", name, hint), syscall.ENOENT}
}

// settings reads [settings].
func (r *reader) settings(e *entry) {
	t, ok := r.asTable(e)
	if !ok {
		return
	}
	r.cfg.Settings = make(map[string]int)
	entries := slices.Clone(t.entries)
	if full := t.netIPv4VS(); full != nil {
		entries = slices.DeleteFunc(append(entries, full.entries...), func(e *entry) bool { return e.key == "net" })
	}
	for _, e := range entries {
		s, err := FindSetting(e.key)
		if err != nil {
			r.errorf(e.at, "%s", err)
			continue
		}
		value := int64(0)
		switch {
		case e.value.kind == kindBool && s.Max == 1:
			if e.value.flag {
				value = 1
			}
		default:
			if value, ok = r.number(e.value, 0, int64(s.Max)); !ok {
				continue
			}
		}
		if _, twice := r.cfg.Settings[s.Name]; twice {
			r.errorf(e.at, "%s is there already, without net.ipv4.vs before it", s.Name)
			continue
		}
		r.cfg.Settings[s.Name] = int(value)
	}
}

// netIPv4VS returns the table that the dotted key net.ipv4.vs makes, if there is one
// and nothing beside it.
func (n *node) netIPv4VS() *node {
	for _, key := range []string{"net", "ipv4", "vs"} {
		e := n.get(key)
		if e == nil || e.value.kind != kindTable || key != "net" && len(n.entries) > 1 {
			return nil
		}
		n = e.value
	}
	return n
}

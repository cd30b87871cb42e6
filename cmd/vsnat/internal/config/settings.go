package config

import (
	"fmt"
	"slices"
	"strings"
	"syscall"

	"vsnat/cmd/vsnat/internal/nearest"
	"vsnat/nat"
)

// kernelSettings are the settings of net.ipv4.vs that vsnat does not have: those of
// kernels built for debugging, and of newer ones.
var kernelSettings = []string{"debug_level", "est_cpulist", "est_nice"}

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
	r.cfg.Settings = make(map[string]nat.Value)
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
		value, ok := r.setting(e.value, &s)
		if !ok {
			continue
		}
		if _, twice := r.cfg.Settings[s.Name]; twice {
			r.errorf(e.at, "%s is there already, without net.ipv4.vs before it", s.Name)
			continue
		}
		r.cfg.Settings[s.Name] = value
	}
}

// setting reads the value of a setting.
func (r *reader) setting(n *node, s *nat.Setting) (value nat.Value, ok bool) {
	switch {
	case n.kind == kindBool && s.Max == 1:
		if n.flag {
			value = 1
		}
	case s.Pair():
		text, ok := r.text(n, "two numbers such as \"3 50\"")
		if !ok {
			return 0, false
		}
		var err error
		if value, err = nat.ParseValue(text); err != nil {
			r.errorf(n.at, "%s", err)
			return 0, false
		}
	default:
		number, ok := r.number(n, 0, int64(s.Max))
		if !ok {
			return 0, false
		}
		value = nat.Value(number)
	}
	settings := nat.DefaultSettings()
	if err := s.Set(&settings, value); err != nil {
		r.errorf(n.at, "%s", strings.TrimPrefix(err.Error(), "nat: set "))
		return 0, false
	}
	return value, true
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

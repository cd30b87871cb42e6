package daemon

import (
	"fmt"
	"maps"
	"slices"

	"vsnat/cmd/vsnat/internal/config"
	"vsnat/cmd/vsnat/internal/control"
	"vsnat/nat"
)

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
func (r *run) set(values map[string]nat.Value) error {
	settings := r.tx.Settings()
	for _, name := range slices.Sorted(maps.Keys(values)) {
		s, err := config.FindSetting(name)
		if err != nil {
			return fmt.Errorf("daemon: %w", err)
		}
		if err := s.Set(&settings, values[name]); err != nil {
			return err
		}
	}
	return r.tx.SetSettings(settings)
}

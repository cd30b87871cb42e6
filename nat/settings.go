package nat

// Settings are what an operator may change in the engine's behaviour, each by
// the name of the kernel's net.ipv4.vs setting.
type Settings struct {
	// ExpireQuiescentTemplate has persistence templates of servers with weight
	// 0 rejected, so that their clients go elsewhere with their next connection
	// (expire_quiescent_template).
	ExpireQuiescentTemplate bool
}

// DefaultSettings returns the kernel's defaults.
func DefaultSettings() Settings { return Settings{} }

// Settings returns the settings in force.
func (tx *Tx) Settings() Settings { return tx.e.settings }

// SetSettings changes all settings.
func (tx *Tx) SetSettings(s Settings) {
	tx.e.settings = s
	tx.e.dirty = true
}

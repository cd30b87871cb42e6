package nat

import (
	"fmt"
	"syscall"
)

// Settings are what an operator may change in the engine's behaviour, each by
// the name of the kernel's net.ipv4.vs setting.
type Settings struct {
	// ConnReuseMode says when a SYN on the addresses and ports of a connection
	// begins another one: 0 never; else when it is in TIME_WAIT or CLOSE; with
	// bit 2 also when it is in FIN_WAIT and the server's packets do not pass
	// here. Never for a connection with a template (conn_reuse_mode).
	ConnReuseMode int
	// ExpireNodestConn ends connections whose server was deleted, and has a SYN
	// on a connection whose server has weight 0 scheduled anew
	// (expire_nodest_conn).
	ExpireNodestConn bool
	// ExpireQuiescentTemplate has persistence templates of servers with weight
	// 0 rejected, so that their clients go elsewhere with their next connection
	// (expire_quiescent_template).
	ExpireQuiescentTemplate bool
	// SloppyTCP has any TCP packet but a reset begin a connection, not only a
	// SYN: for a director that takes over from another (sloppy_tcp).
	SloppyTCP bool
	// DropPacket drops one in so many packets that would begin a connection
	// (drop_packet), and SecureTCP follows TCP by tables in which only the
	// server's answer establishes a connection (secure_tcp). Both are 0 for
	// never, 3 for always, and 1 or 2 for when memory is short: the engine
	// itself goes from 1 to 2 and back.
	DropPacket, SecureTCP int
	// AMDropRate is how many packets DropPacket 3 takes one of; 0 drops none
	// (am_droprate).
	AMDropRate int
	// AMemThresh is how many pages must be available for memory not to be short
	// (amemthresh).
	AMemThresh int
	// LBLCExpiration is the age in seconds at which lblc forgets an unused
	// destination (lblc_expiration); LBLCRExpiration is that of lblcr, and also
	// the age at which the unchanged set of a destination loses its most loaded
	// server (lblcr_expiration).
	LBLCExpiration, LBLCRExpiration int
}

// DefaultSettings returns the kernel's defaults.
func DefaultSettings() Settings {
	const day = 24 * 60 * 60
	return Settings{ConnReuseMode: 1, AMDropRate: 10, AMemThresh: 1024, LBLCExpiration: day, LBLCRExpiration: day}
}

// Settings returns the settings in force.
func (tx *Tx) Settings() Settings { return tx.e.settings }

// SetSettings changes all settings.
func (tx *Tx) SetSettings(s Settings) error {
	for _, v := range []struct {
		name    string
		is, max int
	}{
		{"conn_reuse_mode", s.ConnReuseMode, 1<<31 - 1},
		{"drop_packet", s.DropPacket, 3},
		{"secure_tcp", s.SecureTCP, 3},
		{"am_droprate", s.AMDropRate, 1<<31 - 1},
		{"amemthresh", s.AMemThresh, 1<<31 - 1},
		{"lblc_expiration", s.LBLCExpiration, 1<<31 - 1},
		{"lblcr_expiration", s.LBLCRExpiration, 1<<31 - 1},
	} {
		if v.is < 0 || v.is > v.max {
			return refuse("set", v.name, syscall.EINVAL, fmt.Sprintf("%d is not in 0..%d", v.is, v.max))
		}
	}
	tx.e.settings = s
	tx.e.defend()
	tx.e.retune()
	tx.e.dirty = true
	return nil
}

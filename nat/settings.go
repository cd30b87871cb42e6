package nat

import (
	"fmt"
	"syscall"
)

// Settings are what an operator may change in the engine's behaviour, each by
// the name of the kernel's net.ipv4.vs setting. [SettingList] tells of each.
type Settings struct {
	// CacheBypass has packets for a mark's service go on to where they were sent when
	// it has no server for them (cache_bypass).
	CacheBypass bool
	// ScheduleICMP has an ICMP error from the client's side about a packet of no
	// connection make one (schedule_icmp).
	ScheduleICMP bool
	// NATICMPSend has masquerading servers' packets of no connection answered with
	// port unreachable, and not forwarded (nat_icmp_send).
	NATICMPSend bool
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
	// SloppySCTP is the same for SCTP: any packet but an ABORT, not only an INIT
	// (sloppy_sctp).
	SloppySCTP bool
	// DropEntry ends half-open and little used connections, a part of the table
	// every second (drop_entry); DropPacket drops one in so many packets that would
	// begin a connection (drop_packet), and SecureTCP follows TCP by tables in which
	// only the server's answer establishes a connection (secure_tcp). Each is 0 for
	// never, 3 for always, and 1 or 2 for when memory is short: the engine itself
	// goes from 1 to 2 and back.
	DropEntry, DropPacket, SecureTCP int
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
	// PMTUDisc has tunnels heed don't fragment: it is on the outside if it is
	// inside, and clients hear of what is too long for a tunnel. Without it such
	// packets are fragmented (pmtu_disc).
	PMTUDisc bool
	// RunEstimation has rates estimated; without it they stay as they are
	// (run_estimation).
	RunEstimation bool
}

// DefaultSettings returns the kernel's defaults.
func DefaultSettings() Settings {
	const day = 24 * 60 * 60
	return Settings{
		ConnReuseMode: 1, AMDropRate: 10, AMemThresh: 1024, LBLCExpiration: day, LBLCRExpiration: day, PMTUDisc: true, RunEstimation: true,
	}
}

// Setting is one of [Settings] by name.
type Setting struct {
	Name string // as the kernel has it below net.ipv4.vs
	Help string // one line of at most 56 letters, so that a table of all fits 100 columns
	Max  int    // the least is 0
	at   func(*Settings) any
}

// anyInt is the most that a setting can be whose values have no other bound.
const anyInt = 1<<31 - 1

// SettingList returns all settings in the order of their names. A new one is a
// field of Settings and a line here.
func SettingList() []Setting {
	return []Setting{
		{"am_droprate", "with drop_packet 3 one in so many is dropped; 0 none", anyInt, func(s *Settings) any { return &s.AMDropRate }},
		{"amemthresh", "memory is short below so many free pages", anyInt, func(s *Settings) any { return &s.AMemThresh }},
		{"cache_bypass", "clients of a mark without server go to where they wanted", 1, func(s *Settings) any { return &s.CacheBypass }},
		{"conn_reuse_mode", "a SYN begins a closing connection anew: 0 no, 1, 2 more", anyInt, func(s *Settings) any { return &s.ConnReuseMode }},
		{"drop_entry", "end little used connections: 0 no, 1 short memory, 3 yes", 3, func(s *Settings) any { return &s.DropEntry }},
		{"drop_packet", "drop new connections: 0 no, 1 if memory is short, 3 yes", 3, func(s *Settings) any { return &s.DropPacket }},
		{"expire_nodest_conn", "end connections whose server was deleted", 1, func(s *Settings) any { return &s.ExpireNodestConn }},
		{"expire_quiescent_template", "no persistence to a server of weight 0", 1, func(s *Settings) any { return &s.ExpireQuiescentTemplate }},
		{"lblc_expiration", "seconds until lblc forgets an unused destination", anyInt, func(s *Settings) any { return &s.LBLCExpiration }},
		{"lblcr_expiration", "the same for lblcr", anyInt, func(s *Settings) any { return &s.LBLCRExpiration }},
		{"nat_icmp_send", "servers' packets of no connection: port unreachable", 1, func(s *Settings) any { return &s.NATICMPSend }},
		{"pmtu_disc", "tunnels heed \"don't fragment\"", 1, func(s *Settings) any { return &s.PMTUDisc }},
		{"run_estimation", "estimate rates every two seconds", 1, func(s *Settings) any { return &s.RunEstimation }},
		{"schedule_icmp", "ICMP errors may begin a connection", 1, func(s *Settings) any { return &s.ScheduleICMP }},
		{"secure_tcp", "stricter TCP states: 0 no, 1 if memory is short, 3 yes", 3, func(s *Settings) any { return &s.SecureTCP }},
		{"sloppy_sctp", "any SCTP packet but an ABORT may begin a connection", 1, func(s *Settings) any { return &s.SloppySCTP }},
		{"sloppy_tcp", "any TCP packet but a reset may begin a connection", 1, func(s *Settings) any { return &s.SloppyTCP }},
	}
}

// Get returns the setting's value; of those that are on or off, 1 or 0.
func (v *Setting) Get(s *Settings) int {
	switch at := v.at(s).(type) {
	case *int:
		return *at
	case *bool:
		if *at {
			return 1
		}
	}
	return 0
}

// Set changes the setting, or refuses a value that it does not take with
// EINVAL.
func (v *Setting) Set(s *Settings, value int) error {
	if value < 0 || value > v.Max {
		return refuse("set", v.Name, syscall.EINVAL, fmt.Sprintf("%d is not in 0..%d", value, v.Max))
	}
	switch at := v.at(s).(type) {
	case *int:
		*at = value
	case *bool:
		*at = value != 0
	}
	return nil
}

// Settings returns the settings in force.
func (tx *Tx) Settings() Settings {
	if tx.rehearsal != nil {
		return tx.rehearsal.settings
	}
	return tx.e.settings
}

// SetSettings changes all settings.
func (tx *Tx) SetSettings(s Settings) error {
	for _, v := range SettingList() {
		if err := v.Set(&s, v.Get(&s)); err != nil {
			return err
		}
	}
	if tx.rehearsal != nil {
		tx.rehearsal.settings = s
		return nil
	}
	tx.e.settings = s
	tx.e.defend()
	tx.e.retune()
	tx.e.dirty = true
	return nil
}

package nat

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

	// The others are there because the kernel has them, and have no effect: those of
	// synchronisation (sync_…, backup_only) as long as that is not there; Conntrack
	// and IgnoreTunneled (conntrack, ignore_tunneled) because vsnat's packets pass
	// neither netfilter nor the host's tunnels, SNATReroute (snat_reroute) because
	// they are routed by their destination alone.
	BackupOnly, Conntrack, IgnoreTunneled, SNATReroute bool
	SyncPersistMode                                    bool
	SyncPorts, SyncVersion                             int
	SyncQLenMax, SyncRefreshPeriod, SyncRetries        int
	SyncSockSize                                       int
	SyncThreshold                                      [2]int // threshold and period
}

// DefaultSettings returns the kernel's defaults.
func DefaultSettings() Settings {
	const day = 24 * 60 * 60
	return Settings{
		ConnReuseMode: 1, AMDropRate: 10, AMemThresh: 1024, LBLCExpiration: day, LBLCRExpiration: day, PMTUDisc: true, RunEstimation: true,
		SNATReroute: true, SyncPorts: 1, SyncVersion: 1, SyncThreshold: [2]int{3, 50},
	}
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

package nat

import (
	"fmt"
	"math/bits"
	"syscall"
)

// Setting is one of [Settings] by name.
type Setting struct {
	Name string // as the kernel has it below net.ipv4.vs
	Help string // one line of at most 56 letters, so that a table of all fits 100 columns
	Max  int    // the least is 0
	at   func(*Settings) any
	// wrong tells what else is wrong with a value, if anything.
	wrong func(Value) string
}

// anyInt is the most that a setting can be whose values have no other bound.
const anyInt = 1<<31 - 1

// SettingList returns all settings in the order of their names. A new one is a
// field of Settings and a line here.
func SettingList() []Setting {
	return []Setting{
		{"am_droprate", "with drop_packet 3 one in so many is dropped; 0 none", anyInt, func(s *Settings) any { return &s.AMDropRate }, nil},
		{"amemthresh", "memory is short below so many free pages", anyInt, func(s *Settings) any { return &s.AMemThresh }, nil},
		{"backup_only", "no effect yet: synchronisation is not there", 1, func(s *Settings) any { return &s.BackupOnly }, nil},
		{"cache_bypass", "clients of a mark without server go to where they wanted", 1, func(s *Settings) any { return &s.CacheBypass }, nil},
		{"conn_reuse_mode", "a SYN begins a closing connection anew: 0 no, 1, 2 more", anyInt, func(s *Settings) any { return &s.ConnReuseMode }, nil},
		{"conntrack", "no effect: vsnat's packets do not pass netfilter", 1, func(s *Settings) any { return &s.Conntrack }, nil},
		{"drop_entry", "end little used connections: 0 no, 1 short memory, 3 yes", 3, func(s *Settings) any { return &s.DropEntry }, nil},
		{"drop_packet", "drop new connections: 0 no, 1 if memory is short, 3 yes", 3, func(s *Settings) any { return &s.DropPacket }, nil},
		{"expire_nodest_conn", "end connections whose server was deleted", 1, func(s *Settings) any { return &s.ExpireNodestConn }, nil},
		{"expire_quiescent_template", "no persistence to a server of weight 0", 1, func(s *Settings) any { return &s.ExpireQuiescentTemplate }, nil},
		{"ignore_tunneled", "no effect: what the host decapsulates is never seen", 1, func(s *Settings) any { return &s.IgnoreTunneled }, nil},
		{"lblc_expiration", "seconds until lblc forgets an unused destination", anyInt, func(s *Settings) any { return &s.LBLCExpiration }, nil},
		{"lblcr_expiration", "the same for lblcr", anyInt, func(s *Settings) any { return &s.LBLCRExpiration }, nil},
		{"nat_icmp_send", "servers' packets of no connection: port unreachable", 1, func(s *Settings) any { return &s.NATICMPSend }, nil},
		{"pmtu_disc", "tunnels heed \"don't fragment\"", 1, func(s *Settings) any { return &s.PMTUDisc }, nil},
		{"run_estimation", "estimate rates every two seconds", 1, func(s *Settings) any { return &s.RunEstimation }, nil},
		{"schedule_icmp", "ICMP errors may begin a connection", 1, func(s *Settings) any { return &s.ScheduleICMP }, nil},
		{"secure_tcp", "stricter TCP states: 0 no, 1 if memory is short, 3 yes", 3, func(s *Settings) any { return &s.SecureTCP }, nil},
		{"sloppy_sctp", "any SCTP packet but an ABORT may begin a connection", 1, func(s *Settings) any { return &s.SloppySCTP }, nil},
		{"sloppy_tcp", "any TCP packet but a reset may begin a connection", 1, func(s *Settings) any { return &s.SloppyTCP }, nil},
		{"snat_reroute", "no effect: replies are routed by their destination alone", 1, func(s *Settings) any { return &s.SNATReroute }, nil},
		{"sync_persist_mode", "no effect yet: synchronisation is not there", 1, func(s *Settings) any { return &s.SyncPersistMode }, nil},
		{"sync_ports", "no effect yet: synchronisation is not there", anyInt, func(s *Settings) any { return &s.SyncPorts }, notPowerOfTwo},
		{"sync_qlen_max", "no effect yet; 0 is a 32nd of the free pages", anyInt, func(s *Settings) any { return &s.SyncQLenMax }, nil},
		{"sync_refresh_period", "no effect yet: synchronisation is not there", anyInt, func(s *Settings) any { return &s.SyncRefreshPeriod }, nil},
		{"sync_retries", "no effect yet: synchronisation is not there", 3, func(s *Settings) any { return &s.SyncRetries }, nil},
		{"sync_sock_size", "no effect yet: synchronisation is not there", anyInt, func(s *Settings) any { return &s.SyncSockSize }, nil},
		{"sync_threshold", "no effect yet: packets before, and between, two messages", anyInt, func(s *Settings) any { return &s.SyncThreshold }, notThreshold},
		{"sync_version", "no effect yet: synchronisation is not there", 1, func(s *Settings) any { return &s.SyncVersion }, nil},
	}
}

// notPowerOfTwo is the check of sync_ports (proc_do_sync_ports in ip_vs_ctl.c).
func notPowerOfTwo(v Value) string {
	if bits.OnesCount64(uint64(v)) != 1 {
		return fmt.Sprintf("%v is no power of two", v)
	}
	return ""
}

// notThreshold is the check of sync_threshold (proc_do_sync_threshold).
func notThreshold(v Value) string {
	if threshold, period, _ := v.Split(); threshold >= period && period != 0 {
		return fmt.Sprintf("the threshold %d is not below the period %d", threshold, period)
	}
	return ""
}

// Pair reports whether the setting is of two numbers.
func (v *Setting) Pair() bool {
	_, pair := v.at(new(Settings)).(*[2]int)
	return pair
}

// Get returns the setting's value; of those that are on or off, 1 or 0.
func (v *Setting) Get(s *Settings) Value {
	switch at := v.at(s).(type) {
	case *int:
		return Value(*at)
	case *[2]int:
		return Pair(at[0], at[1])
	case *bool:
		if *at {
			return 1
		}
	}
	return 0
}

// Set changes the setting, or refuses a value that it does not take with
// EINVAL. One number changes the first of two.
func (v *Setting) Set(s *Settings, value Value) error {
	numbers := []int{int(value)}
	if first, second, ok := value.Split(); ok {
		numbers = []int{first, second}
	}
	at := v.at(s)
	pair, isPair := at.(*[2]int)
	if len(numbers) == 2 && !isPair {
		return v.refuse(fmt.Sprintf("%v is not one number", value))
	}
	for _, n := range numbers {
		if n < 0 || n > v.Max {
			return v.refuse(fmt.Sprintf("%d is not in 0..%d", n, v.Max))
		}
	}
	if isPair && len(numbers) == 1 {
		numbers = append(numbers, pair[1])
		value = Pair(numbers[0], numbers[1])
	}
	if v.wrong != nil {
		if why := v.wrong(value); why != "" {
			return v.refuse(why)
		}
	}
	switch at := at.(type) {
	case *int:
		*at = numbers[0]
	case *[2]int:
		*at = [2]int{numbers[0], numbers[1]}
	case *bool:
		*at = numbers[0] != 0
	}
	return nil
}

func (v *Setting) refuse(why string) error { return refuse("set", v.Name, syscall.EINVAL, why) }

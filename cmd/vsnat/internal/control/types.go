package control

import (
	"net/netip"

	"vsnat/nat"
)

// Family is an address family.
type Family string

// The address families.
const (
	IPv4 Family = "ipv4"
	IPv6 Family = "ipv6"
)

// FamilyOf returns the family of an address, "" for none.
func FamilyOf(a netip.Addr) Family {
	switch {
	case a.Is4():
		return IPv4
	case a.Is6():
		return IPv6
	}
	return ""
}

// Protocol is a transport protocol. [AnyProtocol] appears only in the
// connection table, in the persistence templates of firewall mark services; so do
// [ICMP] and [ICMPv6], of echo requests that are masqueraded.
type Protocol string

// The protocols that services have.
const (
	TCP         Protocol = "tcp"
	UDP         Protocol = "udp"
	SCTP        Protocol = "sctp"
	AnyProtocol Protocol = "ip"
	ICMP        Protocol = "icmp"
	ICMPv6      Protocol = "icmpv6"
)

// Number returns the IP protocol number, 0 for [AnyProtocol] and for what is
// no protocol.
func (p Protocol) Number() uint8 {
	switch p {
	case TCP:
		return 6
	case UDP:
		return 17
	case SCTP:
		return 132
	}
	return 0
}

// ProtocolOf is the inverse of [Protocol.Number]: [AnyProtocol] for a number
// that is no service's protocol.
func ProtocolOf(number uint8) Protocol {
	for _, p := range []Protocol{TCP, UDP, SCTP} {
		if p.Number() == number {
			return p
		}
	}
	return AnyProtocol
}

// Method is how packets reach a real server.
type Method string

// The forwarding methods. Local is never set by a command: it is what IPVS
// calls a server on the director itself.
const (
	Masq   Method = "masq"
	Local  Method = "local"
	Tunnel Method = "tunnel"
	Direct Method = "direct"
	// Full is FullNAT: the source is rewritten, too. IPVS has no such method.
	Full Method = "full"
	// Outbound appears only in the connection table: of what comes from a network that
	// is masqueraded.
	Outbound Method = "outbound"
)

// TunnelType is the encapsulation towards a server of method [Tunnel].
type TunnelType string

// The tunnel types; "" is IPIP.
const (
	IPIP TunnelType = "ipip"
	GUE  TunnelType = "gue"
	GRE  TunnelType = "gre"
)

// TunnelChecksum is the checksum of the encapsulation.
type TunnelChecksum string

// The tunnel checksums; "" is NoChecksum. RemoteChecksum is GUE's remote
// checksum offload.
const (
	NoChecksum     TunnelChecksum = "nocsum"
	Checksum       TunnelChecksum = "csum"
	RemoteChecksum TunnelChecksum = "remcsum"
)

// ServiceID names a virtual service: family and firewall mark, or protocol,
// address and port. Exactly one of FWMark and Protocol is set; Family may be
// left out where the address tells it and is IPv4 for a mark without one.
type ServiceID struct {
	Family   Family     `json:"family,omitempty"`
	Protocol Protocol   `json:"protocol,omitempty"`
	Address  netip.Addr `json:"address,omitzero"`
	Port     uint16     `json:"port,omitempty"`
	FWMark   uint32     `json:"fwmark,omitempty"`
}

// Service is a virtual service as a command gives it.
type Service struct {
	ServiceID
	// Scheduler is its name as ipvsadm -s takes it; "none" never picks.
	Scheduler string       `json:"scheduler,omitempty"`
	Flags     ServiceFlags `json:"flags,omitempty"`
	// Timeout is how long a persistence template lives, in seconds.
	Timeout uint32 `json:"timeout,omitempty"`
	// Netmask is the persistence granularity: for IPv4 a mask (0xffffff00 is
	// 255.255.255.0), for IPv6 a prefix length.
	Netmask Netmask `json:"netmask,omitempty"`
	// PE is the persistence engine's name, "" for none.
	PE string `json:"pe,omitempty"`
	// MHTableSize is the number of slots of the scheduler mh's table, 0 for the
	// kernel's 4093; LRTHalfLife is the half-life of lrt's response times in
	// milliseconds, 0 for 10,000. ipvsadm knows of neither: its -E sets the
	// default.
	MHTableSize uint32 `json:"mh_table_size,omitempty"`
	LRTHalfLife uint32 `json:"lrt_half_life_ms,omitempty"`
	// ProxyProtocol is "v2" if servers of the methods masq and full are told their
	// client in a header before each TCP stream. In a command "off" is none, and ""
	// when a service is edited what it was before; in an answer "" is none.
	ProxyProtocol ProxyProtocol `json:"proxy_protocol,omitempty"`
	// Life is what becomes of those who use a server that drains, is down or is
	// removed; nil is what the kernel does, and when a service is edited what it was
	// before.
	Life *Life `json:"life,omitempty"`
}

// ProxyProtocol is a version of the PROXY protocol, or none.
type ProxyProtocol string

// The versions.
const (
	ProxyOff ProxyProtocol = "off"
	ProxyV2  ProxyProtocol = "v2"
)

// RealServer is a real server as a command gives it.
type RealServer struct {
	Address    netip.Addr `json:"address,omitzero"`
	Port       uint16     `json:"port,omitempty"`
	Method     Method     `json:"method,omitempty"`
	Weight     int32      `json:"weight"` // 0 is quiesced
	UThreshold uint32     `json:"u_threshold,omitempty"`
	LThreshold uint32     `json:"l_threshold,omitempty"`

	// Pool is the pool that a server of method [Full] gets packets from; "" is the one
	// named default.
	Pool string `json:"pool,omitempty"`

	TunnelType     TunnelType     `json:"tunnel_type,omitempty"`
	TunnelPort     uint16         `json:"tunnel_port,omitempty"`
	TunnelChecksum TunnelChecksum `json:"tunnel_checksum,omitempty"`
}

// Stats are the counters of a service or server since it was added or zeroed,
// and their rates. In a listing they are left out when all are 0.
type Stats struct {
	Conns    uint64 `json:"conns"`
	InPkts   uint64 `json:"in_pkts"`
	OutPkts  uint64 `json:"out_pkts"`
	InBytes  uint64 `json:"in_bytes"`
	OutBytes uint64 `json:"out_bytes"`

	CPS    uint64 `json:"cps"`     // connections a second
	InPPS  uint64 `json:"in_pps"`  // packets a second
	OutPPS uint64 `json:"out_pps"` // packets a second
	InBPS  uint64 `json:"in_bps"`  // bytes a second
	OutBPS uint64 `json:"out_bps"` // bytes a second
}

// ServiceEntry is a service as it stands, with its servers in list order:
// newest first, as the kernel keeps them.
type ServiceEntry struct {
	Service
	Stats      Stats         `json:"stats,omitzero"`
	LifeCounts LifeCounts    `json:"life_counts,omitzero"`
	Servers    []ServerEntry `json:"servers"`
	// Removed are deleted servers that connections or templates refer to, or did
	// some minutes ago.
	Removed []ServerEntry `json:"removed,omitempty"`
}

// ServerEntry is a real server as it stands.
type ServerEntry struct {
	RealServer
	Active     uint32 `json:"active"`
	Inactive   uint32 `json:"inactive"`
	Persistent uint32 `json:"persistent"` // persistence templates
	Stats      Stats  `json:"stats,omitzero"`

	State ServerState `json:"state,omitempty"`
	// Deadline is how many seconds from now what the service's policy has for then
	// begins to happen, 0 if it has begun; nil is never, or not known yet.
	Deadline   *uint32    `json:"deadline,omitempty"`
	LifeCounts LifeCounts `json:"life_counts,omitzero"`
}

// Connection is one entry of the connection table. A persistence template has
// client port 0 and state NONE or ASSURED; the template of a firewall mark
// service has protocol [AnyProtocol] and the mark as virtual address.
type Connection struct {
	Protocol    Protocol       `json:"protocol"`
	Client      netip.AddrPort `json:"client"`
	Virtual     netip.AddrPort `json:"virtual"`
	Destination netip.AddrPort `json:"destination"`
	// Local is the director's own address and port that the destination sees, of
	// methods [Full] and [Outbound].
	Local    netip.AddrPort `json:"local,omitzero"`
	State    string         `json:"state"`   // as /proc/net/ip_vs_conn names it
	Age      uint32         `json:"age"`     // seconds since it was made
	Expires  uint32         `json:"expires"` // seconds left
	Method   Method         `json:"method,omitempty"`
	Template bool           `json:"template,omitempty"`
	FWMark   uint32         `json:"fwmark,omitempty"`
	InPkts   uint32         `json:"in_pkts"`
	InBytes  uint64         `json:"in_bytes"`  // of IP packets from the client
	OutBytes uint64         `json:"out_bytes"` // and of those from the server that passed here
	// Why is how the connection came to its server: scheduled, template, helper,
	// moved, bypass or synced.
	Why    string `json:"why,omitempty"`
	PE     string `json:"pe,omitempty"`
	PEData string `json:"pe_data,omitempty"`
}

// Timeouts are what ipvsadm --set changes, in seconds: of established TCP, of
// TCP after a FIN, and of UDP. In a command 0 leaves a timeout as it is.
type Timeouts struct {
	TCP    uint32 `json:"tcp"`
	TCPFin uint32 `json:"tcp_fin"`
	UDP    uint32 `json:"udp"`
}

// Role is what a synchronisation daemon does.
type Role string

// The roles.
const (
	Master Role = "master"
	Backup Role = "backup"
)

// Daemon is a connection synchronisation daemon. In a command zero values mean
// the default.
type Daemon struct {
	Role      Role       `json:"role"`
	Interface string     `json:"interface,omitempty"`
	SyncID    uint8      `json:"sync_id"`
	MaxLen    uint16     `json:"max_len,omitempty"` // payload bytes of a message
	Group     netip.Addr `json:"group,omitzero"`
	Port      uint16     `json:"port,omitempty"`
	TTL       uint8      `json:"ttl,omitempty"`
}

// Info says who answers.
type Info struct {
	Version     string `json:"version"`      // vsnat's
	IPVSVersion string `json:"ipvs_version"` // of the IPVS it equals: three numbers, dotted
	TableSize   int    `json:"table_size"`   // buckets of the connection table, as IPVS shows it
	PID         int    `json:"pid"`
}

// Setting is one of the director's settings, by the kernel's name below
// net.ipv4.vs. Those that are on or off are 1 or 0, one of two numbers is a string
// such as "3 50".
type Setting struct {
	Name    string    `json:"name"`
	Value   nat.Value `json:"value"`
	Default nat.Value `json:"default"`
	Max     int       `json:"max"` // the least is 0
	Help    string    `json:"help"`
}

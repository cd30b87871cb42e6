package nat

import (
	"fmt"
	"net/netip"
	"time"

	"vsnat/conntrack"
	"vsnat/nat/forward"
	"vsnat/sched"
)

// Addr is an IP address in 16 bytes, network byte order, IPv4 IPv4-mapped.
type Addr = [16]byte

// The IP protocols that virtual services may have.
const (
	ProtoTCP  uint8 = 6
	ProtoUDP  uint8 = 17
	ProtoSCTP uint8 = 132
)

// Protocols returns the protocols that virtual services may have.
func Protocols() []uint8 { return []uint8{ProtoTCP, ProtoUDP, ProtoSCTP} }

// ServiceKey names a virtual service: by protocol, VIP and port (host order; 0
// is all ports that no other service has), or by a firewall mark.
type ServiceKey struct {
	Proto uint8
	Port  uint16
	Addr  Addr
	// Mark, if not 0, names the service of the packets that the mark rules give
	// this mark. The fields above do not matter then; V6 tells its IPv6 service
	// from its IPv4 one.
	Mark uint32
	V6   bool
}

// String returns the key as "tcp 192.0.2.1:80" or "fwmark 7".
func (k ServiceKey) String() string {
	switch {
	case k.Mark != 0 && k.V6:
		return fmt.Sprintf("fwmark %d ipv6", k.Mark)
	case k.Mark != 0:
		return fmt.Sprintf("fwmark %d", k.Mark)
	}
	return fmt.Sprintf("%s %s", protoName(k.Proto), AddrPort(k.Addr, k.Port))
}

// identity is the key without the fields that do not matter.
func (k ServiceKey) identity() ServiceKey {
	if k.Mark != 0 {
		return ServiceKey{Mark: k.Mark, V6: k.V6}
	}
	k.V6 = false
	return k
}

// v6 reports whether the service is one of IPv6.
func (k *ServiceKey) v6() bool {
	if k.Mark != 0 {
		return k.V6
	}
	return !is4(&k.Addr)
}

// Endpoint is an address and port (host order) of one protocol.
type Endpoint struct {
	Proto uint8
	Port  uint16
	Addr  Addr
}

// AddrPort returns addr and port in the standard library's form, an
// IPv4-mapped address as IPv4.
func AddrPort(addr Addr, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(addr).Unmap(), port)
}

func protoName(p uint8) string {
	switch p {
	case ProtoTCP:
		return "tcp"
	case ProtoUDP:
		return "udp"
	case ProtoSCTP:
		return "sctp"
	}
	return fmt.Sprintf("protocol %d", p)
}

// ServiceSpec is what is wanted of a virtual service.
type ServiceSpec struct {
	Key       ServiceKey
	Scheduler string
	Flags     sched.Flags
	// Persistent has all connections of a client, or of a network of clients,
	// go to one server while a template says so.
	Persistent bool
	// OnePacket has every datagram scheduled by itself; it leaves no connection
	// behind, and masquerading servers' answers are not translated. It concerns
	// UDP only.
	OnePacket bool
	// ProxyProtocol has servers of the methods masq and full told their client in a
	// header (PROXY protocol, version 2) before each TCP stream.
	ProxyProtocol Choice
	// Timeout is how many seconds a template outlives the last new connection.
	Timeout uint32
	// Netmask tells the networks of clients that share a template: an IPv4
	// mask such as 0xffffff00, 0 being one template for all clients, or the
	// length of an IPv6 prefix, from 1 to 128. Only persistent services look at it.
	Netmask uint32
	// PE is the name of the persistence engine, "" for none: what tells which
	// packets stay together, besides their client.
	PE string
	// Tuning is for schedulers that can be tuned.
	Tuning Tuning
	// Life is what becomes of those who use a server that drains, is down or is
	// removed; it is not changed in place. nil is what it was when a service is
	// edited, and the zero LifePolicy when one is added.
	Life *LifePolicy
}

// Choice is what is wanted of something that is on or off.
type Choice uint8

// The choices. The zero value is as it was, and off for what is new.
const (
	Unsaid Choice = iota
	Off
	On
)

// Tuning is what a service's scheduler may be told beyond the kernel's flags.
// The zero value is the default in every field, but in an edit that keeps the
// scheduler, where it keeps its tuning; a default by name is read back as
// 0. A value for another scheduler than the service's is refused.
type Tuning struct {
	// MHTableSize is the number of slots of mh's table: 251, 509, 1021, 2039,
	// 4093 (the default), 8191, 16381, 32749, 65521 or 131071.
	MHTableSize int
	// LRTHalfLife is the age at which a response time counts half of a new one
	// with lrt, 10 seconds by default.
	LRTHalfLife time.Duration
}

// ServerKey names a real server within a service.
type ServerKey struct {
	Addr Addr
	Port uint16 // host order
}

// ServerSpec is what is wanted of a real server.
type ServerSpec struct {
	Key    ServerKey
	Method conntrack.Method
	Tunnel forward.Tunnel // for the method Tunnel
	Weight int32
	// Pool is the pool that a server of the method full gets packets from; "" is
	// [DefaultPool].
	Pool string
	// Upper and Lower bound the connections: from Upper on the server gets no
	// new ones until it has fewer than Lower. 0 means no bound.
	Upper, Lower uint32
}

// Counters are what was counted for a server, a service or in total. Bytes are
// lengths of IP packets.
type Counters struct {
	Conns    uint64 // connections scheduled
	InPkts   uint64 // packets from clients
	OutPkts  uint64 // packets from real servers
	InBytes  uint64
	OutBytes uint64
}

func (c *Counters) plus(o *Counters) {
	c.Conns += o.Conns
	c.InPkts += o.InPkts
	c.OutPkts += o.OutPkts
	c.InBytes += o.InBytes
	c.OutBytes += o.OutBytes
}

func (c Counters) minus(o Counters) Counters {
	return Counters{c.Conns - o.Conns, c.InPkts - o.InPkts, c.OutPkts - o.OutPkts, c.InBytes - o.InBytes, c.OutBytes - o.OutBytes}
}

// ServerInfo is a real server as it stands.
type ServerInfo struct {
	ServerSpec
	Active     int32 // connections in an active state
	Inactive   int32 // the others
	Persistent int32 // persistence templates, which are no connections
	Counters   Counters
	Rates      Rates
	// Event is what has befallen the server, 0 for nothing. Down is one of them.
	Event LifeEvent
	// Deadline is when what the service's policy has for then begins to happen, or
	// began, in nanoseconds on the engine's clock; 0 for none, or not known yet.
	Deadline   int64
	LifeCounts LifeCounters
}

// ServiceInfo is a virtual service as it stands, its servers in list order:
// newest first.
type ServiceInfo struct {
	ServiceSpec
	Counters   Counters
	Rates      Rates
	LifeCounts LifeCounters
	Servers    []ServerInfo
	// Removed are deleted servers that connections or templates refer to, or did
	// some minutes ago, by address and port.
	Removed []ServerInfo
}

package nic

// RuleProtocol marks the policy rules that vsnat itself makes (FRA_PROTOCOL, the
// proto of ip-rule(8)).
const RuleProtocol = 118

// Addr is an IP address in 16 bytes, network byte order; an IPv4 address is
// kept IPv4-mapped (RFC 4291 section 2.5.5.2: ten bytes 0, two bytes 0xff). It
// is an alias, so that all rooms share it without importing one another.
type Addr = [16]byte

// HopState says what became of a search for the next hop.
type HopState uint8

// The states of a next hop. The zero value is invalid.
const (
	_             HopState = iota
	HopResolved            // Index, SrcMAC, DstMAC and MTU are valid
	HopUnresolved          // the link-layer address is not known: ask the kernel to resolve NextHop on Index
	HopFailed              // the kernel asked and nobody answered
	HopLocal               // the address is this host's own
	HopNoRoute             // no route, or an unreachable, blackhole or prohibit one
)

// Hop is where a packet to some address goes next.
type Hop struct {
	State   HopState
	Index   int  // egress interface's ifindex
	MTU     int  // of the route, or else of the interface; bytes of IP packet
	NextHop Addr // gateway, or the destination itself when it is on-link
	Src     Addr // the address the host would use as source; all zero if it has none
	SrcMAC  [6]byte
	DstMAC  [6]byte
	Prefix  uint8 // bits of the route's destination, of the address's family; 0 without route
}

// Link is one interface of the namespace.
type Link struct {
	Index  int
	Name   string
	Kind   string // rtnetlink's kind such as "veth" or "bridge"; "" for hardware
	MAC    [6]byte
	MTU    int
	Up     bool // administratively up
	Ether  bool // carries Ethernet frames (ARPHRD_ETHER)
	Loop   bool // loopback
	Master int  // ifindex of the bridge, bond or VRF it is a port of; 0 if none
	// Parent is the ifindex of the link whose frames with the tag VLAN are this
	// one's; 0 if it is no VLAN interface.
	Parent int
	VLAN   uint16
}

// Routes is an immutable snapshot of the kernel's routes, neighbours, links
// and addresses. Its methods are safe for any number of goroutines; Lookup,
// Local and Forwarding allocate nothing.
type Routes interface {
	// Lookup returns the next hop towards dst.
	Lookup(dst Addr) Hop
	// Local reports whether addr is one of the host's own addresses.
	Local(addr Addr) bool
	// Locals returns the host's own addresses, those of whole prefixes such as
	// 127.0.0.0/8 left out, in no order.
	Locals() []Addr
	// Link returns the interface with that ifindex.
	Link(index int) (Link, bool)
	// Links returns all interfaces, in order of ifindex; read only.
	Links() []Link
	// Forwarding reports whether the host itself routes packets of that
	// family that come in on that interface (net.ipv4.conf.IF.forwarding).
	Forwarding(index int, ipv6 bool) bool
}

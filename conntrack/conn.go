// Package conntrack is the connection table: sharded, bounded, in memory
// without pointers. It follows net/netfilter/ipvs/ip_vs_conn.c in what a
// connection is, how it is found and how its timer works. It reads no clock
// and starts no goroutine: the caller says what time it is and advances it.
package conntrack

// Addr is an IP address in 16 bytes, network byte order, IPv4 IPv4-mapped.
type Addr = [16]byte

// ID names a connection record in its shard. 0 is none.
type ID uint32

// Flags are a connection's flags with the kernel's numbers
// (include/uapi/linux/ip_vs.h, IP_VS_CONN_F_*), as the synchronisation
// protocol carries them.
type Flags uint32

// The flags. The lowest three bits hold the forwarding method.
const (
	MethodMask Flags = 0x0007
	Sync       Flags = 0x0020 // created by synchronisation
	Hashed     Flags = 0x0040
	NoOutput   Flags = 0x0080 // no packet from the server was seen (direct, tunnel)
	Inactive   Flags = 0x0100 // counted as inactive at its server
	OutSeq     Flags = 0x0200
	InSeq      Flags = 0x0400
	NoCPort    Flags = 0x0800 // the client's port is not known yet
	Template   Flags = 0x1000 // persistence template
	OnePacket  Flags = 0x2000
	NFCT       Flags = 0x10000
)

// Method is how packets reach the server, in the kernel's numbering
// (IP_VS_CONN_F_FWD_MASK).
type Method uint8

// The forwarding methods.
const (
	Masq   Method = 0
	Local  Method = 1
	Tunnel Method = 2
	Direct Method = 3
	Bypass Method = 4
)

// LayoutVersion is the version of [Conn]'s layout in memory. It changes with
// every change of a field's place or meaning, so that a process never takes
// over a table it cannot read.
const LayoutVersion = 1

// Conn is one connection, 128 bytes: two cache lines, the first with what
// finding and rewriting need. Ports are in host byte order. A Conn is read and
// written only under its shard's lock. Fields under "table" are the table's.
type Conn struct {
	Client, Virtual, Dest             Addr   // CIP, VIP and RIP
	ClientPort, VirtualPort, DestPort uint16 // ports; 0 client port in a template
	Proto                             uint8  // IP protocol number
	State                             uint8  // of the protocol's state table
	Server                            uint32 // the engine's number of the real server; 0 is none
	Flags                             Flags

	Expires  int64  // when the timer fires, nanoseconds on the engine's clock
	Created  int64  // when it was bound, same clock
	Timeout  int64  // nanoseconds; what the timer is armed with
	InPkts   uint32 // packets from the client
	Mark     uint32 // firewall mark
	Control  uint32 // connection that controls this one: shard<<? is the table's; 0 none
	Children uint32 // connections this one controls (n_control)

	id   ID     // table: this record's number in its shard
	next ID     // table: next in the hash chain
	hash uint32 // table: high bits of the hash, compared before the key
	due  uint32 // table: tick the timer wheel has it under
}

// Method returns the forwarding method.
func (c *Conn) Method() Method { return Method(c.Flags & MethodMask) }

// Package conntrack is the connection table: sharded, bounded, in memory
// without pointers. It follows net/netfilter/ipvs/ip_vs_conn.c in what a
// connection is, how it is found and how its timer works. It reads no clock
// and starts no goroutine: the caller says what time it is and advances it.
//
// A connection lives in the shard that [Table.Hash] of its protocol and its
// client's address and port names, whichever way a packet goes. Work on a
// connection is done under that shard's lock. A goroutine holds one shard's
// lock at a time; the shard of [Table.NoCPort] alone may be locked under
// another one's lock.
package conntrack

import "math"

// Addr is an IP address in 16 bytes, network byte order, IPv4 IPv4-mapped.
type Addr = [16]byte

// Ref names a connection in its table: it is its record's number. 0 is none. It
// stays with the connection until the connection is removed; then another may get it.
type Ref uint32

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

	// The others are vsnat's own and never synchronised. Answered: the server's
	// SYN+ACK was seen. GivenUp: a policy for the life of servers has given this UDP
	// flow up, which passes late answers only. AnyDPort: the server may answer from
	// another port than the one that was asked, which then is it. The bits of whyMask hold a [Why].
	Answered Flags = 1 << 31
	GivenUp  Flags = 1 << 30
	AnyDPort Flags = 1 << 29
	// Proxied: a PROXY header precedes the client's stream. ProxyDone: the server has
	// acknowledged it.
	Proxied   Flags = 1 << 28
	ProxyDone Flags = 1 << 27
	// Of the table itself: inUse says that the record is not free, extended that its ext is
	// the number of an [Ext].
	extended Flags = 1 << 26
	inUse    Flags = 1 << 25
	own            = extended | inUse

	whyShift       = 20
	whyMask  Flags = 0xf << whyShift
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

	// The others are vsnat's own and never synchronised. Full rewrites the source
	// too: the server's client is the director. Outbound is not a server's: a machine
	// behind the director reaches what is beyond it, from an address of the director's.
	Full     Method = 5
	Outbound Method = 6
)

// Why says how a connection came to its server.
type Why uint8

// The reasons. The zero value stands for connections of which nobody noted it.
const (
	_             Why = iota
	Scheduled         // the service's scheduler picked the server
	FromTemplate      // a persistence template named it
	FromHelper        // a control connection announced it, and it goes where that goes
	MovedByPolicy     // the server before was in trouble, and the service's policy moved the client
	Bypassed          // no server: it goes where its client sent it (cache_bypass)
	Synced            // another director told of it
	whyEnd
)

var whyNames = [whyEnd]string{
	Scheduled: "scheduled", FromTemplate: "template", FromHelper: "helper",
	MovedByPolicy: "moved", Bypassed: "bypass", Synced: "synced",
}

// String returns the reason's stable name; "" for none.
func (w Why) String() string {
	if w >= whyEnd {
		return "invalid"
	}
	return whyNames[w]
}

// LayoutVersion is the version of [Conn]'s layout in memory. It changes with
// every change of a field's place or meaning, so that a process never takes
// over a table it cannot read.
const LayoutVersion = 4

// jiffy is what a connection's timeout is kept in: the kernel's tick on most
// distributions (HZ 250). 32 bits of them are 198 days.
const jiffy = 4e6

// Conn is one connection as packets need it, in 96 bytes; what they do not ask for is in
// its rest. Records follow each other without a gap, and so begin at byte 0 or 32 of a
// cache line: each touches two, and no address lies across them. Ports are in host byte
// order. A Conn is read and written only under its shard's lock.
//
// What can be told otherwise is not in it: its number follows from where it lies
// ([Table.Ref]), the wheel knows which of its lists a timer is in, and the few entries of
// the index that have no slot are in a list of their own. A mark stands where the
// extension's number does else ([Table.Mark]).
//
// While it is in the table, Client, ClientPort and Proto must not be changed
// (they are what it is hashed by) and Expires is changed by [Shard.Arm] alone.
// VirtualPort may be: that is how the kernel retires a template.
type Conn struct {
	Client, Virtual, Dest             Addr   // CIP, VIP and RIP
	ClientPort, VirtualPort, DestPort uint16 // ports; 0 client port in a template
	Proto                             uint8  // IP protocol number
	State                             uint8  // of the protocol's state table; unused in a template
	Server                            uint32 // the engine's number of the real server; 0 is none
	Flags                             Flags  // those that are set are changed one by one: some are the table's own

	// Expires is when the timer fires, in nanoseconds on the engine's clock; 0 as long
	// as it was never armed. The wheel asks then or earlier.
	Expires int64
	timeout uint32 // what the timer is armed with, in jiffies
	InPkts  uint32 // packets from the client
	// Bytes of IP packets from the client and from the server, but for their upper halves:
	// see [Table.CountIn].
	inBytes, outBytes uint32

	// ext is a number: with the flag extended that of its extension; in a free record
	// that of the next free one; else see inline.go. 0 is none.
	ext uint32
	// Control is the connection that controls this one: its template, or the
	// control connection of a data connection. It may be in any shard. A Ref
	// stored here is one that [Table.Hold] counted; [Shard.Remove] gives it
	// back.
	Control Ref
}

// Method returns the forwarding method.
func (c *Conn) Method() Method { return Method(c.Flags & MethodMask) }

// Why returns how the connection came to its server.
func (c *Conn) Why() Why { return Why(c.Flags & whyMask >> whyShift) }

// SetWhy notes how the connection came to its server.
func (c *Conn) SetWhy(w Why) { c.Flags = c.Flags&^whyMask | Flags(w)<<whyShift }

// Timeout returns what the timer is armed with, in nanoseconds.
func (c *Conn) Timeout() int64 { return int64(c.timeout) * jiffy }

// SetTimeout sets what [Shard.Arm] is to be given next, in nanoseconds: rounded
// up to 4 ms, and between 0 and 198 days.
func (c *Conn) SetTimeout(timeout int64) {
	c.timeout = uint32(min((max(timeout, 0)+jiffy-1)/jiffy, math.MaxUint32))
}

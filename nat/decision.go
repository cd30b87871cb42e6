package nat

import (
	"vsnat/conntrack"
	"vsnat/nat/wire"
	"vsnat/nic"
)

// Decision is what became of one frame, and why. [Engine.Explain] makes one for a
// packet that never was; the worker that judges a frame notes it on its way, in a
// [Record].
type Decision struct {
	At   int64 // on the engine's clock, in nanoseconds
	NIC  int   // ifindex of the NIC that received the frame
	Mark uint32

	// Before is the frame as it came.
	Before Headers
	// From tells whose packet it is: that of a client, of a server, or nobody's.
	From Side

	// Service is the one that the packet was given to, nil for none: packets of a
	// connection ask for none. Rule is how it was found.
	Service *ServiceSpec
	Rule    Rule

	// Found is the connection that the packet belonged to, as it was before; nil for
	// none. If GivenUp is not 0, it did not count.
	Found   *conntrack.Copy
	GivenUp GivenUp
	// Life is what the policy for the life of servers said of it.
	Life *Ruling
	// Template is the persistence template of its client, nil if none was asked for.
	Template *TemplateUse
	// Scheduling is the scheduler's account, nil if it was not asked.
	Scheduling *Scheduling

	// Connection is the connection that the packet belongs to now, nil for none. One
	// of one-packet scheduling has ended when the decision is told.
	Connection *conntrack.Copy
	// Event is what has befallen its server.
	Event LifeEvent

	Verdict Verdict
	// Cause says more of a packet that began no connection.
	Cause Cause
	// To is where the packet goes, and Hop its next hop; of a packet that went
	// nowhere both are zero.
	To  Addr
	Hop nic.Hop
	// Out are the frames that left, or are to leave, and MoreOut how many more did of
	// which a [Record] has no more room.
	Out     []Departure
	MoreOut int

	// Reply is what would become of the server's answer. Only Explain tells it, and
	// only of answers that pass here.
	Reply *Decision
	// Near are services that the packet just missed, if it has none. Only Explain
	// tells them.
	Near []Near
}

// Headers are what a frame's headers say, as far as decisions depend on it.
type Headers struct {
	SrcMAC, DstMAC     [6]byte
	Src, Dst           Addr
	SrcPort, DstPort   uint16 // host order; 0 where the protocol has none
	Proto              uint8  // IP protocol number
	TTL                uint8  // or hop limit
	Length             int    // of the IP packet, in bytes
	TCPFlags           uint8
	ICMPType, ICMPCode uint8 // of ICMP or ICMPv6
}

// headersOf reads a frame. What is not there, or makes no sense, is 0.
func headersOf(frame []byte) (h Headers) {
	eth := wire.Ethernet(frame)
	if !eth.IsValid() {
		return h
	}
	h.SrcMAC, h.DstMAC = eth.Src(), eth.Dst()
	var p wire.Packet
	switch p.Parse(eth) {
	case wire.Parsed, wire.LaterFragment, wire.OtherProtocol:
	default:
		// The end of a segment may lie in another frame.
		if t := eth.Type(); p.ParseQuoted(eth, wire.EthernetLen, t == wire.TypeIPv6) != wire.Parsed || t != wire.TypeIPv4 && t != wire.TypeIPv6 {
			return h
		}
	}
	ip := wire.IP(eth[p.L3:])
	h.Src, h.Dst, h.SrcPort, h.DstPort, h.Proto = p.Src, p.Dst, p.SrcPort, p.DstPort, p.Proto
	h.TTL, h.Length, h.TCPFlags, h.ICMPType, h.ICMPCode = ip.TTL(), ip.TotalLen(), p.TCPFlags, p.ICMPType, p.ICMPCode
	return h
}

// Side is one of the two sides of a connection.
type Side uint8

// The sides. The zero value is neither.
const (
	_ Side = iota
	ClientSide
	ServerSide
)

// Rule is how a service was found (ip_vs_service_find).
type Rule uint8

// The rules, in the order in which they are tried.
const (
	_         Rule = iota
	ByMark         // the packet's firewall mark is the service's
	ByAddress      // address, port and protocol are the service's
	ByFTP          // the port may be that of an FTP data connection
	ByAnyPort      // the service takes all ports that no other service has
)

// String returns the rule's stable name, "" for none.
func (r Rule) String() string {
	if r > ByAnyPort {
		return "invalid"
	}
	return [...]string{"", "mark", "exact", "ftp-fallback", "any-port"}[r]
}

// GivenUp is why a connection did not count for a packet of its client.
type GivenUp uint8

// The reasons. The zero value is none: it counts.
const (
	_              GivenUp = iota
	ByPolicy               // the service's policy for the life of servers, see Decision.Life
	BegunAnew              // its client uses the port again (conn_reuse_mode)
	OnNoWeight             // a SYN, and its server has weight 0 (expire_nodest_conn)
	OnDeleted              // its server was deleted (expire_nodest_conn)
	OnUnattractive         // of a template: its server has weight 0 or was deleted
)

// String returns the reason's stable name, "" for none.
func (g GivenUp) String() string {
	if g > OnUnattractive {
		return "invalid"
	}
	return [...]string{"", "policy", "begun-anew", "server-quiesced", "server-deleted", "server-takes-none"}[g]
}

// Cause says why a packet began no connection, where its verdict's reason does
// not.
type Cause uint8

// The causes. The zero value is none.
const (
	_              Cause = iota
	NoService            // no service takes it
	BeginsNothing        // it belongs to no connection, and is not one that begins one
	FromFTPData          // it comes from FTP's data port
	OtherPort            // only a persistent service takes other ports than its own
	ServiceDeleted       // the service was deleted this moment
	NoneUsable           // the scheduler found no server
)

// String returns the cause's stable name, "" for none.
func (c Cause) String() string {
	if c > NoneUsable {
		return "invalid"
	}
	return [...]string{"", "no-service", "begins-nothing", "from-ftp-data", "other-port", "service-deleted", "no-server"}[c]
}

// Ruling is what a policy for the life of servers said.
type Ruling struct {
	Event    LifeEvent
	Traffic  Traffic
	Action   Action
	Deadline bool // the event's deadline has passed
}

// TemplateUse is what became of a client's persistence template.
type TemplateUse struct {
	// Found is the template as it was, nil if there was none. If GivenUp is not 0, it
	// did not count.
	Found   *conntrack.Copy
	GivenUp GivenUp
	Life    *Ruling
	// Now is the template that names the server now, nil for none.
	Now *conntrack.Copy
}

// Scheduling is how a scheduler came to its pick.
type Scheduling struct {
	Scheduler string
	// Brief says that the scheduler gave no account, as packets waited: nothing but its
	// name is known.
	Brief    bool
	Rule     string // what decides, in one line
	Compared string // what the candidates' values are, "" if nothing is compared
	Greatest bool   // the greatest value wins, else the least
	// Candidates are all servers of the service, in list order.
	Candidates []Candidate
	Picked     int // index of the one picked, or -1
}

// Candidate is one server as its scheduler sees it.
type Candidate struct {
	Key           ServerKey
	Weight        int32 // that the scheduler sees
	Active, Total int32 // connections
	Refusal       string
	Value         float64 // what is compared, if Counts
	Counts        bool
	Note          string
}

// Departure is a frame that leaves.
type Departure struct {
	Port    int // ifindex
	Kind    Kind
	Headers Headers
	// Waits says that it waits for the link-layer address of the next hop.
	Waits bool
}

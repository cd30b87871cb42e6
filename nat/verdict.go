package nat

// Kind is what became of a frame.
type Kind uint8

// The kinds of verdict. The zero value is invalid.
const (
	_ Kind = iota
	// Forward: the frame was rewritten in place and leaves by another port.
	Forward
	// Reply: the frame goes no further; an answer of ours goes out.
	Reply
	// Pass: the frame is not ours; the host's own stack deals with it.
	Pass
	// Hold: the frame was copied aside and waits for a neighbour.
	Hold
	// Dropped: the frame ends here, for the verdict's Reason.
	Dropped
)

// Reason says why a frame was dropped. The set is closed and the names, which
// [Reason.String] returns, are stable: other software may rely on them.
type Reason uint8

// The reasons. NoReason, the zero value, belongs to frames that are not dropped.
const (
	NoReason Reason = iota
	BadIPHeader
	BadIPChecksum
	Truncated
	CutByRing
	Martian
	Fragment
	FragmentOrphan
	BadICMPChecksum
	BadChecksum
	NoConnection
	ServerGone
	TableFull
	NoPort
	ServerIsLocal
	RedirectedHome
	NoRouteOut
	HoldFull
	NeighbourFailed
	Abandoned
	TooBig
	ICMPLimited
	NoAnswer
	NoCallID
	Defence
	HelperWaits
	TxTooBig
	TxNoBuffer
	TxNICDown
	TxFailed
	NumReasons // how many there are
)

var reasonNames = [NumReasons]string{
	NoReason:        "none",
	BadIPHeader:     "bad-ip-header",
	BadIPChecksum:   "bad-ip-checksum",
	Truncated:       "truncated",
	CutByRing:       "cut-by-ring",
	Martian:         "martian-source",
	Fragment:        "fragment",
	FragmentOrphan:  "fragment-orphan",
	BadICMPChecksum: "bad-icmp-checksum",
	BadChecksum:     "bad-checksum",
	NoConnection:    "no-connection",
	ServerGone:      "server-gone",
	TableFull:       "table-full",
	NoPort:          "no-port",
	ServerIsLocal:   "server-is-local",
	RedirectedHome:  "client-is-local",
	NoRouteOut:      "no-route",
	HoldFull:        "hold-full",
	NeighbourFailed: "neighbour-failed",
	Abandoned:       "abandoned",
	TooBig:          "too-big",
	ICMPLimited:     "icmp-limited",
	NoAnswer:        "no-answer",
	NoCallID:        "no-call-id",
	Defence:         "drop-packet",
	HelperWaits:     "helper-waits",
	TxTooBig:        "tx-too-big",
	TxNoBuffer:      "tx-no-buffer",
	TxNICDown:       "tx-nic-down",
	TxFailed:        "tx-failed",
}

var reasonHelp = [NumReasons]string{
	NoReason:        "the frame was not dropped",
	BadIPHeader:     "the IP header is too short, contradicts the frame's length, or has an IPv4-mapped IPv6 address",
	BadIPChecksum:   "the IPv4 header checksum is wrong",
	Truncated:       "the transport header does not fit in the packet",
	CutByRing:       "the frame was longer than there was memory for when it came",
	Martian:         "the source address is one that no other host may have",
	Fragment:        "a fragment that overlaps or contradicts others of its datagram, or is too short",
	FragmentOrphan:  "a fragment whose datagram's first fragment did not come",
	BadICMPChecksum: "an ICMP error about one of our connections with a wrong checksum",
	BadChecksum:     "to be answered in the host's stead or read by a helper, but its transport checksum is wrong",
	NoConnection:    "belongs to no connection, and the host does not forward either",
	ServerGone:      "the connection's real server was deleted",
	NoPort:          "no port of the pool is free towards the destination (see `vsnat pool')",
	TableFull:       "no room for one more connection (vsnat run --max-conns sets the bound)",
	ServerIsLocal:   "the route to the real server leads to this host itself",
	RedirectedHome:  "the route to the client leads to this host itself",
	NoRouteOut:      "no route to the destination, and no answer may be sent",
	HoldFull:        "too many packets wait for a neighbour already",
	NeighbourFailed: "the next hop answers neither ARP nor neighbour discovery",
	Abandoned:       "waited for a neighbour when the NIC that it had come in by, or the director, left",
	TooBig:          "larger than the next link takes, and cannot be fragmented here",
	ICMPLimited:     "an ICMP answer was due, but too many were sent just before",
	NoAnswer:        "must not be answered (a reset, an ICMP error, a broadcast)",
	NoCallID:        "to a service with the persistence engine sip, and no SIP message with a Call-ID",
	Defence:         "would begin a connection: dropped in defence (drop_packet)",
	HelperWaits:     "a helper must see another packet of the connection first; TCP sends it again",
	TxTooBig:        "the egress NIC refused the frame's length",
	TxNoBuffer:      "the egress NIC's queue was full",
	TxNICDown:       "the egress NIC is down or gone",
	TxFailed:        "the kernel refused to send the frame",
}

// String returns the reason's stable name.
func (r Reason) String() string {
	if r >= NumReasons {
		return "invalid"
	}
	return reasonNames[r]
}

// Help returns one line on what the reason means to an operator.
func (r Reason) Help() string {
	if r >= NumReasons {
		return "invalid"
	}
	return reasonHelp[r]
}

// Verdict is the engine's judgement of one received frame.
type Verdict struct {
	Kind   Kind
	Reason Reason // for Dropped
}

var (
	passed    = Verdict{Kind: Pass}
	replied   = Verdict{Kind: Reply}
	forwarded = Verdict{Kind: Forward}
	holding   = Verdict{Kind: Hold}
)

func drop(r Reason) Verdict { return Verdict{Kind: Dropped, Reason: r} }

// undecided stands for the verdict of a frame that was only read yet.
var undecided = Verdict{}

// Package state holds the state machines of connections as IPVS has them
// (net/netfilter/ipvs/ip_vs_proto_tcp.c, ip_vs_proto_udp.c and
// ip_vs_proto_sctp.c): tables of next states, timeouts and names. It knows no
// connection, no lock and no clock.
//
// The tables stand in the kernel's row and column order, with its two-letter
// heads, so that they can be compared by eye.
package state

// The protocols that have states, by IP protocol number.
const (
	protoIP     = 0
	protoTCP    = 6
	protoUDP    = 17
	protoICMP   = 1
	protoICMPv6 = 58
	protoSCTP   = 132
)

// Dir is the way a packet goes, in the kernel's numbering (IP_VS_DIR_*).
type Dir uint8

// The directions.
const (
	Input     Dir = 0 // from the client
	Output    Dir = 1 // from the server
	InputOnly Dir = 2 // from the client, and the server's packets do not pass here
	dirs          = 3
)

// UDP is the only state of UDP.
const UDP uint8 = 0

// Active reports whether a connection in this state counts as active at its
// server. UDP never does; a half-open TCP connection does.
func Active(proto, st uint8) bool {
	switch proto {
	case protoTCP:
		switch TCP(st) {
		case TCPEstablished, TCPSynSent, TCPSynRecv, TCPSynAck:
			return true
		}
	case protoSCTP:
		return SCTP(st) == SCTPEstablished
	}
	return false
}

// Name returns the name that listings show for a state (ip_vs_state_name):
// "ERR!" for what is no state.
func Name(proto, st uint8) string {
	switch {
	case proto == protoTCP && st < TCPStates:
		return tcpNames[st]
	case proto == protoSCTP && st < SCTPStates:
		return sctpNames[st]
	case proto == protoUDP && st == UDP:
		return "UDP"
	case proto == protoIP, (proto == protoICMP || proto == protoICMPv6) && st == 0:
		// Pings that are masqueraded have none.
		return "NONE"
	}
	return "ERR!"
}

// TemplateName returns the name that listings show for a template's state.
func TemplateName(assured bool) string {
	if assured {
		return "ASSURED"
	}
	return "NONE"
}

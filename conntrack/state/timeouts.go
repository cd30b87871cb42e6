package state

const second = int64(1e9)

// Timeouts are how long a connection stays in a state without a packet, in
// nanoseconds. The secure tables do not change them.
type Timeouts struct {
	TCP  [TCPStates]int64
	UDP  int64
	SCTP [SCTPStates]int64
}

// DefaultTimeouts returns the kernel's timeouts.
func DefaultTimeouts() Timeouts {
	return Timeouts{
		TCP: [TCPStates]int64{
			TCPNone:        2 * second,
			TCPEstablished: 15 * 60 * second,
			TCPSynSent:     2 * 60 * second,
			TCPSynRecv:     1 * 60 * second,
			TCPFinWait:     2 * 60 * second,
			TCPTimeWait:    2 * 60 * second,
			TCPClose:       10 * second,
			TCPCloseWait:   60 * second,
			TCPLastAck:     30 * second,
			TCPListen:      2 * 60 * second,
			TCPSynAck:      120 * second,
		},
		UDP: 5 * 60 * second,
		SCTP: [SCTPStates]int64{
			SCTPNone:             2 * second,
			SCTPInit1:            4 * second,
			SCTPInit:             61 * second,
			SCTPCookieSent:       61 * second,
			SCTPCookieReplied:    61 * second,
			SCTPCookieWait:       61 * second,
			SCTPCookie:           61 * second,
			SCTPCookieEchoed:     61 * second,
			SCTPEstablished:      15 * 60 * second,
			SCTPShutdownSent:     61 * second,
			SCTPShutdownReceived: 61 * second,
			SCTPShutdownAckSent:  61 * second,
			SCTPRejected:         4 * second,
			SCTPClosed:           61 * second,
		},
	}
}

// Set changes what ipvsadm --set changes: the timeouts of TCP ESTABLISHED, TCP
// FIN_WAIT and UDP, in nanoseconds. 0 leaves one as it is. Connections take
// notice with their next packet.
func (t *Timeouts) Set(tcp, tcpFin, udp int64) {
	if tcp != 0 {
		t.TCP[TCPEstablished] = tcp
	}
	if tcpFin != 0 {
		t.TCP[TCPFinWait] = tcpFin
	}
	if udp != 0 {
		t.UDP = udp
	}
}

// Of returns the timeout of a state, in nanoseconds; 0 for what is no state.
func (t *Timeouts) Of(proto, st uint8) int64 {
	switch {
	case proto == protoTCP && st < TCPStates:
		return t.TCP[st]
	case proto == protoUDP && st == UDP:
		return t.UDP
	case proto == protoSCTP && st < SCTPStates:
		return t.SCTP[st]
	}
	return 0
}

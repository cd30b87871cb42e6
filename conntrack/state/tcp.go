package state

// TCP is a state of a TCP connection, in the kernel's numbering
// (IP_VS_TCP_S_*), which the synchronisation protocol carries.
type TCP uint8

// The states.
const (
	TCPNone TCP = iota
	TCPEstablished
	TCPSynSent
	TCPSynRecv
	TCPFinWait
	TCPTimeWait
	TCPClose
	TCPCloseWait
	TCPLastAck
	TCPListen
	TCPSynAck

	// TCPStates is the number of TCP states.
	TCPStates = 11
)

var tcpNames = [TCPStates]string{
	TCPNone:        "NONE",
	TCPEstablished: "ESTABLISHED",
	TCPSynSent:     "SYN_SENT",
	TCPSynRecv:     "SYN_RECV",
	TCPFinWait:     "FIN_WAIT",
	TCPTimeWait:    "TIME_WAIT",
	TCPClose:       "CLOSE",
	TCPCloseWait:   "CLOSE_WAIT",
	TCPLastAck:     "LAST_ACK",
	TCPListen:      "LISTEN",
	TCPSynAck:      "SYNACK",
}

// Event is what a TCP segment means to its connection's state.
type Event uint8

// The events, in the order of the tables' rows.
const (
	TCPSyn Event = iota // also SYN+ACK
	TCPFin
	TCPAck
	TCPRst
	TCPOther  // none of these flags
	tcpEvents = 4
)

// TCPEvent returns the event of a segment with these flags, the header's 14th
// byte (RFC 9293, section 3.1). The first match in the order RST, SYN, FIN,
// ACK counts (tcp_state_idx).
func TCPEvent(flags uint8) Event {
	const fin, syn, rst, ack = 0x01, 0x02, 0x04, 0x10
	switch {
	case flags&rst != 0:
		return TCPRst
	case flags&syn != 0:
		return TCPSyn
	case flags&fin != 0:
		return TCPFin
	case flags&ack != 0:
		return TCPAck
	}
	return TCPOther
}

// NextTCP returns the state that follows cur on an event. secure chooses the
// tables of the secure_tcp defence. [TCPOther], and what is no direction,
// event or state, leads to CLOSE.
func NextTCP(secure bool, dir Dir, ev Event, cur TCP) TCP {
	if dir >= dirs || ev >= tcpEvents || cur >= TCPStates {
		return TCPClose
	}
	if secure {
		return tcpSecure[dir][ev][cur]
	}
	return tcpNormal[dir][ev][cur]
}

// tcpTable is a table of next states by direction, event and current state.
type tcpTable [dirs][tcpEvents][TCPStates]TCP

// The column heads of the tables.
const (
	sNO = TCPNone
	sES = TCPEstablished
	sSS = TCPSynSent
	sSR = TCPSynRecv
	sFW = TCPFinWait
	sTW = TCPTimeWait
	sCL = TCPClose
	sCW = TCPCloseWait
	sLA = TCPLastAck
	sLI = TCPListen
	sSA = TCPSynAck
)

// tcpNormal is tcp_states.
var tcpNormal = tcpTable{
	Input: {
		//        sNO, sES, sSS, sSR, sFW, sTW, sCL, sCW, sLA, sLI, sSA
		TCPSyn: {sSR, sES, sES, sSR, sSR, sSR, sSR, sSR, sSR, sSR, sSR},
		TCPFin: {sCL, sCW, sSS, sTW, sTW, sTW, sCL, sCW, sLA, sLI, sTW},
		TCPAck: {sES, sES, sSS, sES, sFW, sTW, sCL, sCW, sCL, sLI, sES},
		TCPRst: {sCL, sCL, sCL, sSR, sCL, sCL, sCL, sCL, sLA, sLI, sSR},
	},
	Output: {
		//        sNO, sES, sSS, sSR, sFW, sTW, sCL, sCW, sLA, sLI, sSA
		TCPSyn: {sSS, sES, sSS, sSR, sSS, sSS, sSS, sSS, sSS, sLI, sSR},
		TCPFin: {sTW, sFW, sSS, sTW, sFW, sTW, sCL, sTW, sLA, sLI, sTW},
		TCPAck: {sES, sES, sSS, sES, sFW, sTW, sCL, sCW, sLA, sES, sES},
		TCPRst: {sCL, sCL, sSS, sCL, sCL, sTW, sCL, sCL, sCL, sCL, sCL},
	},
	InputOnly: {
		//        sNO, sES, sSS, sSR, sFW, sTW, sCL, sCW, sLA, sLI, sSA
		TCPSyn: {sSR, sES, sES, sSR, sSR, sSR, sSR, sSR, sSR, sSR, sSR},
		TCPFin: {sCL, sFW, sSS, sTW, sFW, sTW, sCL, sCW, sLA, sLI, sTW},
		TCPAck: {sES, sES, sSS, sES, sFW, sTW, sCL, sCW, sCL, sLI, sES},
		TCPRst: {sCL, sCL, sCL, sSR, sCL, sCL, sCL, sCL, sLA, sLI, sCL},
	},
}

// tcpSecure is tcp_states_dos, in force while the secure_tcp defence is on: a
// connection counts as established only when the server has answered.
var tcpSecure = tcpTable{
	Input: {
		//        sNO, sES, sSS, sSR, sFW, sTW, sCL, sCW, sLA, sLI, sSA
		TCPSyn: {sSR, sES, sES, sSR, sSR, sSR, sSR, sSR, sSR, sSR, sSA},
		TCPFin: {sCL, sCW, sSS, sTW, sTW, sTW, sCL, sCW, sLA, sLI, sSA},
		TCPAck: {sES, sES, sSS, sSR, sFW, sTW, sCL, sCW, sCL, sLI, sSA},
		TCPRst: {sCL, sCL, sCL, sSR, sCL, sCL, sCL, sCL, sLA, sLI, sCL},
	},
	Output: {
		//        sNO, sES, sSS, sSR, sFW, sTW, sCL, sCW, sLA, sLI, sSA
		TCPSyn: {sSS, sES, sSS, sSA, sSS, sSS, sSS, sSS, sSS, sLI, sSA},
		TCPFin: {sTW, sFW, sSS, sTW, sFW, sTW, sCL, sTW, sLA, sLI, sTW},
		TCPAck: {sES, sES, sSS, sES, sFW, sTW, sCL, sCW, sLA, sES, sES},
		TCPRst: {sCL, sCL, sSS, sCL, sCL, sTW, sCL, sCL, sCL, sCL, sCL},
	},
	InputOnly: {
		//        sNO, sES, sSS, sSR, sFW, sTW, sCL, sCW, sLA, sLI, sSA
		TCPSyn: {sSA, sES, sES, sSR, sSA, sSA, sSA, sSA, sSA, sSA, sSA},
		TCPFin: {sCL, sFW, sSS, sTW, sFW, sTW, sCL, sCW, sLA, sLI, sTW},
		TCPAck: {sES, sES, sSS, sES, sFW, sTW, sCL, sCW, sCL, sLI, sES},
		TCPRst: {sCL, sCL, sCL, sSR, sCL, sCL, sCL, sCL, sLA, sLI, sCL},
	},
}

package state

// SCTP is a state of an SCTP association, in the kernel's numbering
// (IP_VS_SCTP_S_*), which the synchronisation protocol carries.
type SCTP uint8

// The states. In the cookie states an INIT or INIT ACK has passed, in the
// shutdown states a SHUTDOWN or SHUTDOWN ACK.
const (
	SCTPNone SCTP = iota
	SCTPInit1
	SCTPInit
	SCTPCookieSent
	SCTPCookieReplied
	SCTPCookieWait
	SCTPCookie
	SCTPCookieEchoed
	SCTPEstablished
	SCTPShutdownSent
	SCTPShutdownReceived
	SCTPShutdownAckSent
	SCTPRejected
	SCTPClosed

	// SCTPStates is the number of SCTP states.
	SCTPStates = 14
)

var sctpNames = [SCTPStates]string{
	SCTPNone:             "NONE",
	SCTPInit1:            "INIT1",
	SCTPInit:             "INIT",
	SCTPCookieSent:       "C-SENT",
	SCTPCookieReplied:    "C-REPLIED",
	SCTPCookieWait:       "C-WAIT",
	SCTPCookie:           "COOKIE",
	SCTPCookieEchoed:     "C-ECHOED",
	SCTPEstablished:      "ESTABLISHED",
	SCTPShutdownSent:     "S-SENT",
	SCTPShutdownReceived: "S-RECEIVED",
	SCTPShutdownAckSent:  "S-ACK-SENT",
	SCTPRejected:         "REJECTED",
	SCTPClosed:           "CLOSED",
}

// ChunkEvent is what an SCTP packet means to its association's state.
type ChunkEvent uint8

// The events, in the order of the tables' rows.
const (
	ChunkData ChunkEvent = iota // also SACK, HEARTBEAT and all others
	ChunkInit
	ChunkInitAck
	ChunkCookieEcho
	ChunkCookieAck
	ChunkShutdown
	ChunkShutdownAck
	ChunkShutdownComplete
	ChunkError
	ChunkAbort

	chunkEvents = 10
)

// SCTPEvent returns the event of a packet whose first chunk has the type
// first (RFC 9260, section 3.2). An ABORT that follows a COOKIE ECHO or COOKIE
// ACK counts instead of it: second is the type of the second chunk, 0 if there
// is none.
func SCTPEvent(first, second uint8) ChunkEvent {
	const abort, cookieEcho, cookieAck = 6, 10, 11
	if second == abort && (first == cookieEcho || first == cookieAck) {
		return ChunkAbort
	}
	switch first {
	case 1:
		return ChunkInit
	case 2:
		return ChunkInitAck
	case abort:
		return ChunkAbort
	case 7:
		return ChunkShutdown
	case 8:
		return ChunkShutdownAck
	case 9:
		return ChunkError
	case cookieEcho:
		return ChunkCookieEcho
	case cookieAck:
		return ChunkCookieAck
	case 14:
		return ChunkShutdownComplete
	}
	return ChunkData
}

// NextSCTP returns the state that follows cur on an event. What is no
// direction, event or state leads to CLOSED.
func NextSCTP(dir Dir, ev ChunkEvent, cur SCTP) SCTP {
	if dir >= dirs || ev >= chunkEvents || cur >= SCTPStates {
		return SCTPClosed
	}
	return sctpStates[dir][ev][cur]
}

// The column heads of the table.
const (
	cNO = SCTPNone
	cI1 = SCTPInit1
	cIN = SCTPInit
	cCS = SCTPCookieSent
	cCR = SCTPCookieReplied
	cCW = SCTPCookieWait
	cCO = SCTPCookie
	cCE = SCTPCookieEchoed
	cES = SCTPEstablished
	cSS = SCTPShutdownSent
	cSR = SCTPShutdownReceived
	cSA = SCTPShutdownAckSent
	cRJ = SCTPRejected
	cCL = SCTPClosed
)

// sctpStates is the table of next states by direction, event and current
// state (sctp_states).
var sctpStates = [dirs][chunkEvents][SCTPStates]SCTP{
	Input: {
		// cNO, cI1, cIN, cCS, cCR, cCW, cCO, cCE, cES, cSS, cSR, cSA, cRJ, cCL
		ChunkData:             {cES, cI1, cIN, cCS, cCR, cCW, cCO, cCE, cES, cSS, cSR, cSA, cRJ, cCL},
		ChunkInit:             {cI1, cIN, cIN, cCS, cCR, cCW, cCO, cCE, cES, cSS, cSR, cSA, cIN, cIN},
		ChunkInitAck:          {cCW, cCW, cCW, cCS, cCR, cCO, cCO, cCE, cES, cSS, cSR, cSA, cRJ, cCL},
		ChunkCookieEcho:       {cCR, cIN, cIN, cCR, cCR, cCW, cCO, cCE, cES, cSS, cSR, cSA, cRJ, cCL},
		ChunkCookieAck:        {cES, cI1, cIN, cCS, cCR, cCW, cCO, cES, cES, cSS, cSR, cSA, cRJ, cCL},
		ChunkShutdown:         {cSR, cI1, cIN, cCS, cCR, cCW, cCO, cCE, cSR, cSS, cSR, cSA, cRJ, cCL},
		ChunkShutdownAck:      {cCL, cIN, cIN, cCS, cCR, cCW, cCO, cCE, cES, cCL, cSR, cCL, cRJ, cCL},
		ChunkShutdownComplete: {cCL, cCL, cCL, cCS, cCR, cCW, cCO, cCE, cES, cSS, cSR, cCL, cRJ, cCL},
		ChunkError:            {cCL, cI1, cIN, cCS, cCR, cCW, cCO, cCL, cES, cSS, cSR, cSA, cRJ, cCL},
		ChunkAbort:            {cCL, cCL, cCL, cCL, cCL, cRJ, cCL, cCL, cCL, cCL, cCL, cCL, cCL, cCL},
	},
	Output: {
		// cNO, cI1, cIN, cCS, cCR, cCW, cCO, cCE, cES, cSS, cSR, cSA, cRJ, cCL
		ChunkData:             {cES, cI1, cIN, cCS, cCR, cCW, cCO, cCE, cES, cSS, cSR, cSA, cRJ, cCL},
		ChunkInit:             {cCW, cCW, cCW, cCW, cCW, cCW, cCW, cCW, cES, cCW, cCW, cCW, cCW, cCW},
		ChunkInitAck:          {cCS, cCS, cCS, cCS, cCR, cCW, cCO, cCE, cES, cSS, cSR, cSA, cRJ, cCL},
		ChunkCookieEcho:       {cCE, cCE, cCE, cCE, cCE, cCE, cCE, cCE, cES, cSS, cSR, cSA, cRJ, cCL},
		ChunkCookieAck:        {cES, cES, cES, cES, cES, cES, cES, cES, cES, cSS, cSR, cSA, cRJ, cCL},
		ChunkShutdown:         {cSS, cSS, cSS, cSS, cSS, cSS, cSS, cSS, cSS, cSS, cSR, cSA, cRJ, cCL},
		ChunkShutdownAck:      {cSA, cSA, cSA, cSA, cSA, cCW, cCO, cCE, cES, cSA, cSA, cSA, cRJ, cCL},
		ChunkShutdownComplete: {cCL, cI1, cIN, cCS, cCR, cCW, cCO, cCE, cES, cSS, cSR, cSA, cRJ, cCL},
		ChunkError:            {cCL, cCL, cCL, cCL, cCL, cCW, cCO, cCE, cES, cSS, cSR, cSA, cRJ, cCL},
		ChunkAbort:            {cCL, cRJ, cCL, cCL, cCL, cCL, cCL, cCL, cCL, cCL, cCL, cCL, cCL, cCL},
	},
	InputOnly: {
		// cNO, cI1, cIN, cCS, cCR, cCW, cCO, cCE, cES, cSS, cSR, cSA, cRJ, cCL
		ChunkData:             {cES, cI1, cIN, cCS, cCR, cES, cCO, cCE, cES, cSS, cSR, cSA, cRJ, cCL},
		ChunkInit:             {cI1, cIN, cIN, cIN, cIN, cIN, cCO, cCE, cES, cSS, cSR, cSA, cIN, cIN},
		ChunkInitAck:          {cCE, cCE, cCE, cCE, cCE, cCE, cCO, cCE, cES, cSS, cSR, cSA, cRJ, cCL},
		ChunkCookieEcho:       {cES, cES, cES, cES, cES, cES, cCO, cCE, cES, cSS, cSR, cSA, cRJ, cCL},
		ChunkCookieAck:        {cES, cI1, cIN, cES, cES, cCW, cES, cES, cES, cSS, cSR, cSA, cRJ, cCL},
		ChunkShutdown:         {cSR, cI1, cIN, cCS, cCR, cCW, cCO, cCE, cSR, cSS, cSR, cSA, cRJ, cCL},
		ChunkShutdownAck:      {cCL, cIN, cIN, cCS, cCR, cCW, cCO, cCE, cCL, cCL, cSR, cCL, cRJ, cCL},
		ChunkShutdownComplete: {cCL, cCL, cCL, cCL, cCL, cCW, cCO, cCE, cES, cSS, cCL, cCL, cRJ, cCL},
		ChunkError:            {cCL, cI1, cIN, cCS, cCR, cCW, cCO, cCE, cES, cSS, cSR, cSA, cRJ, cCL},
		ChunkAbort:            {cCL, cCL, cCL, cCL, cCL, cRJ, cCL, cCL, cCL, cCL, cCL, cCL, cCL, cCL},
	},
}

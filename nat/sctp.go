package nat

import (
	"vsnat/conntrack"
	"vsnat/conntrack/state"
	"vsnat/nat/wire"
)

// SCTP, as ip_vs_proto_sctp.c has it: what a packet means to its association is
// told by its first chunk.

// sctpEvent returns what the packet means to its association's state; ok is false
// if it has not even the header of a chunk.
func (j *job) sctpEvent() (ev state.ChunkEvent, ok bool) {
	first, second, ok := wire.SCTP(j.l4).Chunks()
	return state.SCTPEvent(first, second), ok
}

// begins reports whether the packet is one that begins a connection, were there
// none: a SYN, or an INIT (is_new_conn). No datagram says so.
func (w *Worker) begins(j *job) bool {
	switch w.pkt.Proto {
	case ProtoTCP:
		return w.pkt.TCPFlags&wire.SYN != 0
	case ProtoSCTP:
		ev, ok := j.sctpEvent()
		return ok && ev == state.ChunkInit
	}
	return false
}

// ends reports whether the packet ends its connection at once: a reset, or an
// ABORT (is_tcp_reset, is_sctp_abort).
func (w *Worker) ends(j *job) bool {
	switch w.pkt.Proto {
	case ProtoTCP:
		return w.pkt.TCPFlags&wire.RST != 0
	case ProtoSCTP:
		first, _, _ := wire.SCTP(j.l4).Chunks()
		return first == wire.SCTPAbort
	}
	return false
}

// schedulable reports whether a packet without connection may begin one
// (tcp_conn_schedule, sctp_conn_schedule and udp_conn_schedule). An SCTP packet
// without a chunk may not, and the host is not asked either: it is torn.
func (w *Worker) schedulable(j *job) (may, torn bool) {
	if j.aboutError {
		return true, false
	}
	set := &w.snap.settings
	switch w.pkt.Proto {
	case ProtoTCP:
		return !w.ends(j) && (set.SloppyTCP || w.begins(j)), false
	case ProtoSCTP:
		first, _, ok := wire.SCTP(j.l4).Chunks()
		return ok && first != wire.SCTPAbort && (set.SloppySCTP || first == wire.SCTPInit), !ok
	}
	return true, false
}

// completeSCTP computes the checksum of an SCTP packet that was left to the NIC to
// complete: a packet socket has no way to ask for a CRC32c.
func (j *job) completeSCTP() {
	if s := wire.SCTP(j.l4); j.partial() && s.IsValid() {
		s.SetChecksum(s.CalculateChecksum())
		j.f.VNet().Clear()
	}
}

// cannotRewrite reports whether the packet is the first fragment of an SCTP packet
// whose port would change: the checksum is over bytes that are not here.
func (w *Worker) cannotRewrite(proto uint8, from, to uint16) bool {
	return proto == ProtoSCTP && from != to && w.pkt.Frag
}

// refusal writes what a host says to the packet that has no such connection, a
// reset or an ABORT, and returns its length; 0 is nothing.
func (w *Worker) refusal(room []byte, j *job) int {
	if w.pkt.Proto == ProtoSCTP {
		return wire.BuildSCTPRefusal(room, j.ip)
	}
	return wire.BuildTCPReset(room, j.ip)
}

// onward writes what takes the packet's place on its way to end the connection
// there, and returns its length; 0 is nothing.
func (w *Worker) onward(room []byte, j *job, src *Addr, srcPort uint16, to *Addr, toPort uint16) int {
	if w.pkt.Proto == ProtoSCTP {
		return wire.BuildSCTPAbortOnward(room, j.ip, src, srcPort, to, toPort)
	}
	return wire.BuildTCPResetOnward(room, j.ip, src, srcPort, to, toPort)
}

// close puts a TCP connection or an SCTP association in the state that a reset
// brings it to, and reports whether it was not there yet.
func (w *Worker) close(c *conntrack.Conn) bool {
	to := uint8(state.TCPClose)
	if c.Proto == ProtoSCTP {
		to = uint8(state.SCTPClosed)
	}
	was := c.State
	c.State = to
	c.SetTimeout(w.e.timeouts.Load().Of(c.Proto, to))
	return was != to
}

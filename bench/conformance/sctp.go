package conformance

import (
	"encoding/binary"

	"vsnat/nat"
	"vsnat/nat/wire"
)

// associate begins an SCTP association, and often completes its handshake.
func (g *generator) associate(u used) {
	if g.chance(5) {
		g.packet(FromClient, u, pick(g, []uint8{wire.SCTPData, wire.SCTPCookieEcho, wire.SCTPAbort, wire.SCTPShutdownAck, 200}))
		return
	}
	g.packet(FromClient, u, wire.SCTPInit)
	if g.chance(75) {
		g.packet(FromServer, u, wire.SCTPInitAck)
		g.packet(FromClient, u, wire.SCTPCookieEcho)
		g.packet(FromServer, u, wire.SCTPCookieAck)
	}
}

// chunk sends a packet of an association that was used lately.
func (g *generator) chunk(from Op, u used) {
	switch n := g.r.IntN(100); {
	case n < 15 && from == FromClient:
		g.packet(from, u, wire.SCTPInit)
	case n < 40:
		g.packet(from, u, wire.SCTPData)
	case n < 50:
		g.packet(from, u, wire.SCTPAbort)
	case n < 85:
		g.packet(from, u, uint8(g.r.IntN(16)))
	default:
		// The whole of an orderly end, and another association of the same name.
		g.packet(FromClient, u, wire.SCTPShutdown)
		g.packet(FromServer, u, wire.SCTPShutdownAck)
		g.packet(FromClient, u, wire.SCTPShutdownComplete)
		if g.chance(50) {
			g.packet(FromClient, u, wire.SCTPInit)
		}
	}
}

// begins reports whether the packet begins a connection, and so may end another.
func (p *Packet) begins() bool {
	switch p.Proto {
	case nat.ProtoTCP:
		return p.Flags&wire.SYN != 0
	case nat.ProtoSCTP:
		return p.Flags == wire.SCTPInit
	}
	return false
}

// chunks returns the packet from its common header on, without ports and checksum:
// the first chunk with the payload, and the one that follows.
func (p *Packet) chunks() []byte {
	value := make([]byte, p.Length)
	if p.Flags == wire.SCTPInit && len(value) < 16 {
		value = make([]byte, 16)
	}
	b := make([]byte, wire.SCTPLen, wire.SCTPLen+len(value)+12)
	binary.BigEndian.PutUint32(b[4:], 7) // verification tag
	b = append(b, p.Flags, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(wire.SCTPChunkLen+len(value)))
	b = append(append(b, value...), make([]byte, -len(value)&3)...)
	if p.Next != 0 {
		b = append(b, p.Next, 0, 0, wire.SCTPChunkLen)
	}
	return b
}

// unanswered reports whether p, an answer of the director's own to the step's
// packet, is one that only one side gives: a refusal by SCTP, or of the protocol, or one
// from an address outside. The kernel sends none from an address that is not its own.
func (s *Step) unanswered(p *wire.Packet) bool {
	return (s.Packet.Proto == nat.ProtoSCTP || s.Packet.ESP) && refusedBySCTP(p) ||
		s.Op == FromClient && outside.Contains(s.Packet.Virtual.Addr())
}

// refusedBySCTP reports whether the packet, which left where one came in, says that
// the host has no such association. A kernel without SCTP says that it does not know
// the protocol, to every packet; vsnat answers as one that has SCTP.
func refusedBySCTP(p *wire.Packet) bool {
	switch p.Proto {
	case nat.ProtoSCTP:
		return true
	case wire.ProtoICMP:
		return p.ICMPType == wire.ICMPv4DstUnreachable && p.ICMPCode == 2
	case wire.ProtoICMPv6:
		return p.ICMPType == wire.ICMPv6ParamProblem && p.ICMPCode == 1
	}
	return false
}

// chunkNames are those of the chunks that mean something to IPVS.
var chunkNames = map[uint8]string{
	wire.SCTPInit: "INIT", wire.SCTPInitAck: "INIT ACK", wire.SCTPAbort: "ABORT", wire.SCTPShutdown: "SHUTDOWN",
	wire.SCTPShutdownAck: "SHUTDOWN ACK", wire.SCTPError: "ERROR", wire.SCTPCookieEcho: "COOKIE ECHO",
	wire.SCTPCookieAck: "COOKIE ACK", wire.SCTPShutdownComplete: "SHUTDOWN COMPLETE", wire.SCTPData: "DATA",
}

// Package tftp is the helper for TFTP (RFC 1350), whose server answers a request
// from a port of its own choice: the connection goes there from then on, and the
// client sees the port that it had asked.
package tftp

import (
	"encoding/binary"

	"vsnat/nat/alg"
)

// Helper is the helper for TFTP.
type Helper struct{}

// Name returns "tftp".
func (Helper) Name() string { return "tftp" }

// Proto returns UDP.
func (Helper) Proto() uint8 { return 17 }

// Ports returns 69.
func (Helper) Ports() []uint16 { return []uint16{69} }

// DataPorts returns that clients use no other port than the service's.
func (Helper) DataPorts() alg.DataPorts { return alg.NoData }

// The packets that begin a transfer (RFC 1350, section 5).
const (
	readRequest  = 1
	writeRequest = 2
)

// Packet looks at a packet. The state is the server's port for requests, as of
// the first packet.
func (Helper) Packet(s *alg.Segment) {
	if s.FromServer || len(s.Payload) < 2 {
		return
	}
	asked := binary.BigEndian.Uint16(s.State[:])
	if asked == 0 {
		asked = s.Conn.DestPort
		binary.BigEndian.PutUint16(s.State[:], asked)
	}
	switch binary.BigEndian.Uint16(s.Payload) {
	case readRequest, writeRequest:
		s.ServerPort, s.AwaitPort = asked, true
	}
}

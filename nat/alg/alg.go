// Package alg is what a helper for an application protocol is: one that reads
// what the two ends of a connection say to each other, because they tell each
// other addresses and ports that the other side of the director does not know.
// docs/helpers.md says how to write one.
//
// A helper sees the payload of one packet at a time, in a [Segment], under the
// lock of its connection's shard. It may replace bytes, expect a connection,
// refuse what it was told, or have the sender send something again. It keeps
// [State] with the connection, and lines that came in pieces in [Lines]. It
// does no I/O, reads no clock, keeps no pointer, allocates nothing, and takes
// any bytes.
package alg

import "vsnat/conntrack"

// Helper reads and changes the payload of the connections that it is attached
// to: those to one of its ports, masquerading, one after the other and from any
// number of workers. The zero state is that of a new connection.
type Helper interface {
	// Name is the helper's stable name.
	Name() string
	// Proto is the IP protocol whose connections it is for, TCP or UDP.
	Proto() uint8
	// Ports are the virtual ports that it is attached to by default.
	Ports() []uint16
	// DataPorts says which connections it expects of clients.
	DataPorts() DataPorts
	// Packet looks at a packet of the connection, whatever it carries.
	Packet(s *Segment)
}

// DataPorts are the ports that a helper's expected connections have, other than
// the service's own.
type DataPorts uint8

// The data ports. The zero value is none: what is expected goes to the service's
// port, and only the server's port is another.
const (
	NoData DataPorts = iota
	// PassiveData: clients connect to any unprivileged port of the VIP, and to them
	// connects the port below the service's.
	PassiveData
)

// State is what a helper keeps with a connection.
type State = [16]byte

// MaxText is the longest replacement in bytes.
const MaxText = 64

// MaxExpected is how many connections one packet may have expected.
const MaxExpected = 4

// Expectation is a connection that the two ends have agreed upon, between the
// client, the VIP and the real server of the one that controls it. It goes to
// that server without being scheduled. Ports are in host byte order.
type Expectation struct {
	// ClientPort is the client's; 0 is any: the client opens the connection, and
	// shows the port.
	ClientPort uint16
	// VirtualPort is the VIP's, ServerPort the real server's.
	VirtualPort, ServerPort uint16
}

// Segment is one packet of a connection on its way through, before its addresses
// are changed. The first fields are given; what the helper wants is in the
// others, which the methods set.
type Segment struct {
	// FromServer tells the packet's direction.
	FromServer bool
	// Open says that the connection is established. For UDP it is always set.
	Open bool
	// Begins says that the packet begins a connection: a SYN.
	Begins bool
	// Conn is the connection, Ref its reference; read only.
	Conn *conntrack.Conn
	Ref  conntrack.Ref
	// State is the helper's.
	State *State
	// Lines keeps lines that came in pieces.
	Lines *Lines
	// Now is the time in nanoseconds on the engine's clock.
	Now int64
	// Taken reports whether a virtual port of the connection's VIP is a service's,
	// whose clients must not be taken away.
	Taken func(port uint16) bool
	// Payload is what the packet carries; read only. It ends where the packet
	// does. Of a super-frame it is that of all its segments.
	Payload []byte

	// Seq is the sequence number of the first byte of Payload, Ack what the packet
	// acknowledges if HasAck is set, both in TCP and as its sender wrote them.
	Seq, Ack uint32
	HasAck   bool
	// This is how this direction's stream was resized, Other the one that is
	// acknowledged. A helper that replaces bytes by another number of bytes calls
	// This.Resize with the sequence number of the first of them.
	This, Other *conntrack.SeqAdj

	// Keep is how many bytes of Payload go on, -1 for all.
	Keep int
	// Replaced says that of these the Old bytes from Off become the New first of
	// Text.
	Replaced      bool
	Off, Old, New int
	Text          [MaxText]byte
	// SeqTo replaces Seq if MoveSeq is set, still as the packet's sender counts: the
	// first bytes are gone. AckTo is the acknowledgment that the receiver gets, in
	// its own counting, if MoveAck is set.
	SeqTo, AckTo     uint32
	MoveSeq, MoveAck bool
	// Expected are Expects connections.
	Expected [MaxExpected]Expectation
	Expects  int
	// Refused counts what the helper was told and did not believe.
	Refused int
	// ServerPort is where the connection goes from this packet on, 0 for where it
	// went. AwaitPort has the server answer from any port, which then is it.
	ServerPort uint16
	AwaitPort  bool
}

// Reset makes s the segment of a new packet, of which nothing is given yet.
func (s *Segment) Reset() {
	s.Payload, s.This, s.Other = nil, nil, nil
	s.Seq, s.Ack, s.HasAck = 0, 0, false
	s.Keep, s.Replaced, s.MoveSeq, s.MoveAck = -1, false, false, false
	s.Expects, s.Refused, s.ServerPort, s.AwaitPort = 0, 0, 0, false
}

// Replace has n bytes of the payload from off replaced by text, at most
// [MaxText] bytes. A packet has one replacement: a second one takes the first
// one's place.
func (s *Segment) Replace(off, n int, text []byte) {
	s.Replaced, s.Off, s.Old = true, off, n
	s.New = copy(s.Text[:], text)
}

// Cut has only the first n bytes of the payload go on; with 0, nothing of the
// packet does. TCP's sender sends the rest again.
func (s *Segment) Cut(n int) { s.Keep = n }

// Expect has a connection expected. It reports false when the packet has too
// many already.
func (s *Segment) Expect(e Expectation) bool {
	if s.Expects == len(s.Expected) {
		return false
	}
	s.Expected[s.Expects] = e
	s.Expects++
	return true
}

// Refuse counts that the helper does not believe what the packet says. It goes
// on as it is.
func (s *Segment) Refuse() { s.Refused++ }

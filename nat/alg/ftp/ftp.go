// Package ftp is the helper for FTP: it lets data connections through that
// control connections announce with PORT, EPRT, and the answers to PASV and
// EPSV (RFC 959, RFC 2428). It does what the kernel's ip_vs_ftp with connection
// tracking does, to the byte, and beyond it: commands and replies in pieces,
// several in one packet, replies that come again. Only the client's own address,
// and the real server's or the VIP, are believed.
package ftp

import (
	"encoding/binary"
	"strconv"

	"vsnat/conntrack"
	"vsnat/nat/alg"
)

// Helper is the helper for FTP.
type Helper struct{}

// Name returns "ftp".
func (Helper) Name() string { return "ftp" }

// Proto returns TCP.
func (Helper) Proto() uint8 { return 6 }

// Ports returns 21.
func (Helper) Ports() []uint16 { return []uint16{21} }

// DataPorts returns that clients open data connections to any port.
func (Helper) DataPorts() alg.DataPorts { return alg.PassiveData }

// Packet looks at a packet of a control connection.
func (Helper) Packet(s *alg.Segment) {
	st := (*state)(s.State)
	switch {
	case s.Begins:
		s.Lines.Free(s.Ref, false)
		s.Lines.Free(s.Ref, true)
		*st = state{}
		st.setIn(s.Seq)
	case s.FromServer:
		st.fromServer(s)
	default:
		st.fromClient(s)
	}
}

// state is what the helper keeps with a control connection.
//
// Both streams are read in their order: what comes before something that was lost
// on the way here is not let through, and TCP sends it again.
//
// A change of a reply is remembered until another is made: the packet may come
// again, in other pieces. Only one change is on its way at a time, so that one
// record of the resizing is enough: what would make another has to wait, that is,
// is lost, until the client has acknowledged the one before.
type state alg.State

// What stands where in the state.
const (
	awaited  = 0 // how many answers are to come: low half to PASV, high half to EPSV
	flags    = 1
	changeN  = 2  // how many bytes are changed, 0 for none
	portAt   = 3  // 2 bytes: port of the change
	nextIn   = 5  // 2 bytes: low part of how far the client's stream was read
	nextOut  = 7  // 3 bytes: the same of the server's
	changeAt = 10 // 4 bytes: sequence number of the first byte that is changed
	floorAt  = 14 // 2 bytes: how far before that the change before ended, 0 for none
)

// The flags.
const (
	settled    = 1 << iota // the client has all of the change
	addrOnly               // the change is of the address and the comma behind it
	extended               // the change is of the form of RFC 2428
	skipping               // within a reply of no interest
	knowsIn                // nextIn is known
	knowsOut               // nextOut is known
	commandCut             // a command came in part, and is in Lines
	replyCut               // the same of a reply
)

func (st *state) is(flag uint8) bool { return st[flags]&flag != 0 }

func (st *state) set(flag uint8, on bool) {
	st[flags] &^= flag
	if on {
		st[flags] |= flag
	}
}

func (st *state) port() uint16  { return binary.BigEndian.Uint16(st[portAt:]) }
func (st *state) at() uint32    { return binary.BigEndian.Uint32(st[changeAt:]) }
func (st *state) end() uint32   { return st.at() + uint32(st[changeN]) }
func (st *state) changes() bool { return st[changeN] != 0 }
func (st *state) open() bool    { return st.changes() && !st.is(settled) }

// How many answers to come are counted of a kind.
const (
	pasv       = 0 // shift
	epsv       = 4
	maxAwaited = 15
)

func (st *state) awaits(kind int) int { return int(st[awaited] >> kind & maxAwaited) }

func (st *state) await(kind, more int) {
	n := min(st.awaits(kind)+more, maxAwaited)
	st[awaited] = st[awaited]&^(maxAwaited<<kind) | uint8(n<<kind)
}

// The distance in bytes from how far a stream was read to a sequence number,
// right up to 32 KiB and 8 MiB: as much as is on its way at once.

func (st *state) pastIn(seq uint32) int {
	return int(int16(uint16(seq) - binary.BigEndian.Uint16(st[nextIn:])))
}

func (st *state) pastOut(seq uint32) int {
	return int(int32(seq<<8-binary.BigEndian.Uint32(st[nextOut-1:])<<8) >> 8)
}

func (st *state) setIn(seq uint32) {
	binary.BigEndian.PutUint16(st[nextIn:], uint16(seq))
	st.set(knowsIn, true)
}

func (st *state) setOut(seq uint32) {
	st[nextOut], st[nextOut+1], st[nextOut+2] = byte(seq>>16), byte(seq>>8), byte(seq)
	st.set(knowsOut, true)
}

// text is what the announcement becomes.
func (st *state) text(b []byte, c *conntrack.Conn) []byte {
	if st.is(extended) {
		b = append(b, "|||"...)
		b = strconv.AppendUint(b, uint64(st.port()), 10)
		return append(b, '|')
	}
	b = append(appendNumbers(b, &c.Virtual), ',')
	if st.is(addrOnly) {
		return b
	}
	b = strconv.AppendUint(b, uint64(st.port()>>8), 10)
	b = append(b, ',')
	return strconv.AppendUint(b, uint64(st.port()&0xff), 10)
}

// change begins a change of n bytes of the server's stream.
func (st *state) change(s *alg.Segment, seq uint32, n int, kind uint8, port uint16) {
	since := uint32(0)
	if st.changes() {
		since = min(seq-st.end(), 0xffff)
	}
	binary.BigEndian.PutUint16(st[floorAt:], uint16(since))
	binary.BigEndian.PutUint32(st[changeAt:], seq)
	binary.BigEndian.PutUint16(st[portAt:], port)
	st[changeN] = uint8(n)
	st[flags] = st[flags]&^(settled|addrOnly|extended) | kind
	var room [alg.MaxText]byte
	s.This.Resize(seq, int32(len(st.text(room[:0], s.Conn))-n))
}

// apply changes what the packet has of the bytes that are changed. The packet
// with the first of them gets all of the new text. From others they are taken,
// but for the text's last byte in front, which the client has: so the packet is
// never empty, and is acknowledged.
func (st *state) apply(s *alg.Segment) {
	if !st.changes() {
		return
	}
	size := int64(len(s.Payload))
	if s.Keep >= 0 {
		size = int64(s.Keep)
	}
	off, n := int64(int32(st.at()-s.Seq)), int64(st[changeN])
	if st.is(settled) && off < -(1<<20) {
		st[changeN] = 0 // long over
		return
	}
	if floor := int64(binary.BigEndian.Uint16(st[floorAt:])); size > 0 && floor > 0 && off-floor > 0 {
		// The client has all that there is before the floor; the change that was made
		// there is not known any more.
		old := min(off-floor, size)
		s.Replace(0, int(old), s.Payload[old-1:old])
		s.SeqTo, s.MoveSeq = s.Seq+uint32(off-floor)-1, true
		if off < size {
			s.Cut(int(off))
		}
		return
	}
	if size == 0 || off >= size || off+n <= 0 {
		return
	}
	var room [alg.MaxText]byte
	text := st.text(room[:0], s.Conn)
	if off >= 0 {
		s.Replace(int(off), int(min(n, size-off)), text)
		return
	}
	s.Replace(0, int(min(off+n, size)), text[len(text)-1:])
	s.SeqTo, s.MoveSeq = st.end()-1, true
}

func is6(a *conntrack.Addr) bool { return [12]byte(a[:12]) != [12]byte{10: 0xff, 11: 0xff} }

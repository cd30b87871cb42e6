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
		s.Lines.Free(s.Conn.Ref(), st[inLine])
		s.Lines.Free(s.Conn.Ref(), st[outLine])
		*st = state{}
	case s.FromServer:
		st.fromServer(s)
	default:
		st.fromClient(s)
	}
}

// state is what the helper keeps with a control connection.
//
// A change of a reply is remembered until another is made: the packet may come
// again, in other pieces. Only one change is on its way at a time, so that one
// record of the resizing is enough: what would make another has to wait, that is,
// is lost, until the client has acknowledged the one before.
type state alg.State

// Where what stands in the state.
const (
	pasv     = 0 // how many answers to PASV are to come
	epsv     = 1 // and to EPSV
	inLine   = 2 // number in Lines of a command in pieces
	outLine  = 3 // and of a reply
	next     = 4 // the server's stream was read up to this sequence number
	changeAt = 8 // sequence number of the first byte that is changed
	changeN  = 12
	flags    = 13
	portAt   = 14 // port of the change
)

// The flags.
const (
	settled  = 1 << iota // the client has all of the change
	addrOnly             // the change is of the address and the comma behind it
	extended             // the change is of the form of RFC 2428
	skipping             // within a reply of no interest
	reading              // next is known
)

func (st *state) is(flag uint8) bool { return st[flags]&flag != 0 }

func (st *state) set(flag uint8, on bool) {
	st[flags] &^= flag
	if on {
		st[flags] |= flag
	}
}

func (st *state) u32(at int) uint32      { return binary.BigEndian.Uint32(st[at:]) }
func (st *state) put32(at int, v uint32) { binary.BigEndian.PutUint32(st[at:], v) }
func (st *state) port() uint16           { return binary.BigEndian.Uint16(st[portAt:]) }
func (st *state) awaits() bool           { return st[pasv]|st[epsv] != 0 }
func (st *state) changes() bool          { return st[changeN] != 0 }
func (st *state) open() bool             { return st.changes() && !st.is(settled) }
func (st *state) beyond(seq uint32) bool { return int32(seq-st.u32(next)) > 0 }

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
	st.put32(changeAt, seq)
	st[changeN] = uint8(n)
	st[flags] = st[flags]&^(settled|addrOnly|extended) | kind
	binary.BigEndian.PutUint16(st[portAt:], port)
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
	size := len(s.Payload)
	if s.Keep >= 0 {
		size = s.Keep
	}
	off, n := int64(int32(st.u32(changeAt)-s.Seq)), int64(st[changeN])
	if st.is(settled) && off < -(1<<20) {
		st[changeN] = 0 // long over
		return
	}
	if size == 0 || off >= int64(size) || off+n <= 0 {
		return
	}
	var room [alg.MaxText]byte
	text := st.text(room[:0], s.Conn)
	if off >= 0 {
		s.Replace(int(off), int(min(n, int64(size)-off)), text)
		return
	}
	s.Replace(0, int(min(off+n, int64(size))), text[len(text)-1:])
	s.SeqTo, s.MoveSeq = st.u32(changeAt)+uint32(n)-1, true
}

func is6(a *conntrack.Addr) bool { return [12]byte(a[:12]) != [12]byte{10: 0xff, 11: 0xff} }

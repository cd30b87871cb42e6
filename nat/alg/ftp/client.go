package ftp

import (
	"bytes"

	"vsnat/nat/alg"
)

// bulk is what no packet with commands is longer than. What is longer is not made to
// wait for what was lost before it: something else than FTP may use the port.
const bulk = 1024

// fromClient looks at a packet from the client: at what it acknowledges, and for
// commands (ip_vs_ftp_in).
func (st *state) fromClient(s *alg.Segment) {
	st.clientHas(s)
	if !s.Open || len(s.Payload) == 0 {
		return
	}
	if !st.is(knowsIn) {
		st.setIn(s.Seq)
	}
	late := -st.pastIn(s.Seq)
	switch {
	case late < 0 && len(s.Payload) > bulk:
		st.set(commandCut, false)
		late = 0
	case late < 0:
		s.Cut(0) // not before what was lost on the way here
		return
	case late >= len(s.Payload):
		return // came again
	}
	st.setIn(s.Seq + uint32(len(s.Payload)))
	fresh := s.Payload[late:]
	var l alg.Line
	if st.is(commandCut) && s.Lines.Load(s.Ref, false, &l) {
		part, ended := oneLine(fresh)
		before := s.Expects + s.Refused
		if fresh = fresh[len(part):]; l.N+len(part) <= alg.MaxLine {
			l.N += copy(l.Text[l.N:], part)
			if st.commands(s, l.Text[:l.N]) == 0 && !ended {
				s.Lines.Save(s.Ref, false, &l, s.Now)
				return
			}
		}
		s.Lines.Free(s.Ref, false)
		if before == s.Expects+s.Refused && late == 0 {
			announced(s, part, is6(&s.Conn.Client)) // at the beginning of a packet, as in the kernel
		}
	}
	tail := st.commands(s, fresh)
	keep := tail >= 0 && len(fresh)-tail <= alg.MaxLine
	if st.set(commandCut, keep); keep {
		l.N = copy(l.Text[:], fresh[tail:])
		s.Lines.Save(s.Ref, false, &l, s.Now)
	}
}

// oneLine returns the first line of b, and whether its end is there.
func oneLine(b []byte) (line []byte, ended bool) {
	if n := bytes.IndexByte(b, '\n'); n >= 0 {
		return b[:n+1], true
	}
	return b, false
}

// clientHas follows what the client has of the server's stream.
func (st *state) clientHas(s *alg.Segment) {
	if !s.HasAck {
		return
	}
	ack := s.Other.Ack(s.Ack)
	if st.open() {
		var room [alg.MaxText]byte
		switch has := int64(int32(s.Ack - s.Other.Seq(st.at()))); {
		case has <= 0:
		case has < int64(len(st.text(room[:0], s.Conn))):
			ack = st.at() // a part of the text is none of the server's bytes
		case st.pastOut(st.end()) > 0:
			// It has the text before the server has sent all of what that stands for.
			if more := st.pastOut(ack); more > 0 {
				ack -= uint32(more)
			}
		default:
			st.set(settled, true)
		}
		s.AckTo, s.MoveAck = ack, ack != s.Other.Ack(s.Ack)
	}
	if st.is(knowsOut) && st.pastOut(ack) > 0 {
		// It got that by another way.
		st.setOut(ack)
		st.replyDone(s, true)
	}
}

// commands looks for commands. It returns where the last line begins, if that
// may become one, else -1.
//
// As in the kernel, PASV and EPSV are found anywhere. PORT and EPRT must begin a
// line: in the kernel, the packet.
func (st *state) commands(s *alg.Segment, b []byte) (tail int) {
	v6 := is6(&s.Conn.Client)
	for i, c := range b {
		switch {
		case c|0x20 == 'p' && !v6 && fold(b[i:], "PASV\r\n") == yes:
			st.await(pasv, 1)
		case c|0x20 == 'e' && epsvCommand(b[i:], v6) == yes:
			st.await(epsv, 1)
		}
	}
	for at := 0; at < len(b); {
		line, ended := oneLine(b[at:])
		r := announced(s, line, v6)
		if !ended {
			if r == more || fold(line, "PASV\r\n") == more && !v6 || epsvCommand(line, v6) == more {
				return at
			}
			break
		}
		at += len(line)
	}
	return -1
}

// fold tells whether b begins with the word, in letters of either case.
func fold(b []byte, word string) result {
	n := min(len(b), len(word))
	switch {
	case !bytes.EqualFold(b[:n], []byte(word[:n])):
		return no
	case n < len(word):
		return more
	}
	return yes
}

// epsvCommand tells whether b begins with EPSV, without argument or with that of
// the family. EPSV ALL asks for nothing.
func epsvCommand(b []byte, v6 bool) result {
	// The kernel wants six bytes.
	for _, word := range [...]string{"EPSV\r\n", "EPSV 1\r", "EPSV 2\r"} {
		if v6 == (word[5] == '1') && word[4] == ' ' {
			continue
		}
		if r := fold(b, word); r != no {
			return r
		}
	}
	return no
}

// announced looks at a command that announces where the client waits for data.
func announced(s *alg.Segment, line []byte, v6 bool) result {
	var a announcement
	r := no
	if !v6 {
		r = portForm.read(line, v6, &a)
	}
	if r == no {
		r = eprtForm.read(line, v6, &a)
	}
	if r != yes {
		return r
	}
	c := s.Conn
	if a.addr != c.Client || a.port == 0 || c.VirtualPort < 2 || c.DestPort < 2 ||
		!s.Expect(alg.Expectation{ClientPort: a.port, VirtualPort: c.VirtualPort - 1, ServerPort: c.DestPort - 1}) {
		s.Refuse()
	}
	return yes
}

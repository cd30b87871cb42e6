package ftp

import (
	"bytes"

	"vsnat/nat/alg"
)

// fromServer looks at a packet from the server: at what it acknowledges, and for
// the answers to PASV and EPSV (ip_vs_ftp_out).
func (st *state) fromServer(s *alg.Segment) {
	if s.HasAck && st.is(knowsIn) && st.pastIn(s.Other.Ack(s.Ack)) > 0 {
		// It got that by another way.
		st.setIn(s.Other.Ack(s.Ack))
		st.set(commandCut, false)
	}
	end := s.Seq + uint32(len(s.Payload))
	if !s.Open || st[awaited] == 0 {
		if !st.is(knowsOut) || st.pastOut(end) > 0 {
			st.setOut(end)
			st.replyDone(s, true)
		}
		st.apply(s)
		return
	}
	if !st.is(knowsOut) {
		st.setOut(s.Seq)
	}
	late := -st.pastOut(s.Seq)
	switch {
	case late < 0:
		if len(s.Payload) > 0 {
			s.Cut(0) // not before what was lost on the way here
		}
		return
	case late < len(s.Payload):
		read := st.replies(s, late)
		st.setOut(s.Seq + uint32(read))
		if read < len(s.Payload) {
			s.Cut(read)
		}
	}
	st.apply(s)
}

// replies reads the server's stream from there in the packet, and returns how far
// it came: to the end, or to what has to wait.
func (st *state) replies(s *alg.Segment, at int) int {
	for at < len(s.Payload) && st[awaited] != 0 {
		var l alg.Line
		part, ended := oneLine(s.Payload[at:])
		had := 0
		text := part
		switch {
		case st.is(replyCut) && s.Lines.Load(s.Ref, true, &l):
			had = l.N
			l.N += copy(l.Text[had:], part)
			text = l.Text[:l.N]
			if had+len(part) > alg.MaxLine {
				s.Refuse()
				st.replyDone(s, ended)
				at += len(part)
				continue
			}
		case st.is(skipping) && at > 0:
			// At the beginning of a packet the kernel takes any reply for one.
			st.set(skipping, !ended)
			at += len(part)
			continue
		}
		if !st.reply(s, text, had, at, ended, &l) {
			return at
		}
		at += len(part)
	}
	return len(s.Payload)
}

// replyDone ends a reply, of which maybe not all has come.
func (st *state) replyDone(s *alg.Segment, ended bool) {
	if st.is(replyCut) {
		s.Lines.Free(s.Ref, true)
	}
	st.set(replyCut, false)
	st.set(skipping, !ended)
}

// reply looks at a reply, or at what there is of it. had bytes of text came
// before the packet, what follows stands there at at. l is for keeping it. It
// reports false if the reply has to wait.
func (st *state) reply(s *alg.Segment, text []byte, had, at int, ended bool, l *alg.Line) bool {
	var a announcement
	f, kind, r := &pasvForm, pasv, no
	if st.awaits(pasv) > 0 {
		r = f.read(text, false, &a)
	}
	if r == no && st.awaits(epsv) > 0 {
		f, kind = &epsvForm, epsv
		r = f.read(text, is6(&s.Conn.Client), &a)
	}
	seq := s.Seq + uint32(at) + uint32(a.start-had) // of the announcement
	switch {
	case r == yes:
		if !st.passive(s, f, &a, text, a.start < had, seq) {
			return false
		}
		st.await(kind, -1)
		st.replyDone(s, ended)
	case r == no || ended:
		st.replyDone(s, ended)
	case len(text) > alg.MaxLine:
		s.Refuse()
		st.replyDone(s, false)
	default:
		if !f.extended && a.start >= had && !st.begun(s, text[a.start:], seq) {
			return false
		}
		l.N = copy(l.Text[:], text)
		s.Lines.Save(s.Ref, true, l, s.Now)
		st.set(replyCut, true)
	}
	return true
}

// passive deals with an announcement of the server. begun says that its first
// bytes are gone. It reports false if it has to wait.
func (st *state) passive(s *alg.Segment, f *form, a *announcement, text []byte, begun bool, seq uint32) bool {
	c := s.Conn
	own := !a.hasAddr || a.addr == c.Dest
	// A server may be set up to announce the VIP itself.
	virtual := a.hasAddr && a.addr == c.Virtual
	changing := begun && st.changes() && st.is(addrOnly) && st.at() == seq
	switch {
	case s.Expects == len(s.Expected):
		return false
	case a.port == 0, !own && !virtual, s.Taken(a.port),
		begun && own && a.hasAddr != changing && a.addr != c.Virtual, // cannot be put right any more
		begun && !own && changing:
		s.Refuse()
		return true
	}
	if own && !begun {
		kind := uint8(0)
		if f.extended {
			kind = extended
		}
		var room [alg.MaxText]byte
		try := *st
		try[flags] = try[flags]&^(addrOnly|extended) | kind
		try[portAt], try[portAt+1] = byte(a.port>>8), byte(a.port)
		if old := text[a.start:a.end]; !bytes.Equal(try.text(room[:0], c), old) {
			switch {
			case len(old) > 255:
				s.Refuse()
				return true
			case st.open():
				return false
			}
			st.change(s, seq, len(old), kind, a.port)
		}
	}
	return s.Expect(alg.Expectation{VirtualPort: a.port, ServerPort: a.port})
}

// begun deals with an announcement of which only the beginning is there. The
// client gets the whole of the VIP for the first byte of the server's address; the
// others are taken out when they come. It reports false if it has to wait.
func (st *state) begun(s *alg.Segment, digits []byte, seq uint32) bool {
	var room [alg.MaxText]byte
	own := append(appendNumbers(room[:0], &s.Conn.Dest), ',')
	n := min(len(own), len(digits))
	if !bytes.Equal(own[:n], digits[:n]) || s.Conn.Dest == s.Conn.Virtual {
		return true // not the server's address: refused when its end comes
	}
	if st.open() {
		return false
	}
	st.change(s, seq, len(own), addrOnly, 0)
	return true
}

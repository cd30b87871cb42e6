package ftp

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"vsnat/conntrack"
	"vsnat/nat/alg"
)

// FuzzPackets has both ends of a control connection send anything, in any order and
// with any numbers. What the helper wants must be within the packet and within the
// rules of package alg.
func FuzzPackets(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x00PASV\r\n"), []byte("\x00\x00\x00\x06\x01227 (10,0,0,5,1,2)\r\n"), []byte("\x00\x20\x00\x00\x00PORT 192,0,2,7,1,2\r\n"), false)
	f.Add([]byte("\x00\x00\x00\x00\x00EPSV\r"), []byte("\x00\x00\x00\x05\x00\nPAS"), []byte("\x00\x00\x00\x06\x01229 (|||99|)\r\n22"), true)
	f.Add([]byte("\x00\x00\x00\x00\x00PASV\r\nPASV\r\n"), []byte("\x00\x00\x00\x06\x01227 (10,0,"), []byte("\x00\x00\x00\x06\x010,5,1,2)\n227 (10,0,0,5,1,2)\n"), false)
	f.Fuzz(func(t *testing.T, a, b, c []byte, v6 bool) {
		addr := func(s string) conntrack.Addr { return netip.MustParseAddr(s).As16() }
		conn := conntrack.Conn{
			Client: addr("192.0.2.7"), Virtual: addr("192.0.2.1"), Dest: addr("10.0.0.5"), ClientPort: 40000, VirtualPort: 21, DestPort: 21,
		}
		if v6 {
			conn.Client, conn.Virtual, conn.Dest = addr("2001:db8::7"), addr("2001:db8::1"), addr("fd00::5")
		}
		var st alg.State
		var lines alg.Lines
		var adj [2]conntrack.SeqAdj
		s := alg.Segment{Conn: &conn, State: &st, Lines: &lines, Taken: func(port uint16) bool { return port == 80 }}
		// Each packet is the low half of its sequence number, what it acknowledges, and a
		// byte of bits; they come twice, and once more in two pieces.
		packet := func(p []byte, from, to int) {
			if len(p) < 5 {
				return
			}
			to = min(to, len(p)-5)
			s.Reset()
			s.Now++
			s.FromServer, s.Begins, s.Open, s.HasAck = p[4]&1 != 0, p[4]&14 == 14, p[4]&16 == 0, p[4]&32 == 0
			s.This, s.Other = &adj[p[4]&1], &adj[1-p[4]&1]
			s.Seq, s.Ack = uint32(binary.BigEndian.Uint16(p))+uint32(from), uint32(binary.BigEndian.Uint16(p[2:]))
			s.Payload = p[5+from : 5+to]
			Helper{}.Packet(&s)
			keep := len(s.Payload)
			if s.Keep >= 0 {
				if s.Keep > keep {
					t.Fatalf("keeps %d of %d bytes", s.Keep, keep)
				}
				keep = s.Keep
			}
			if s.Replaced && (s.Off < 0 || s.Old < 0 || s.Off+s.Old > keep || s.New > alg.MaxText) {
				t.Fatalf("replaces %d bytes at %d of %d by %d", s.Old, s.Off, keep, s.New)
			}
			for _, e := range s.Expected[:s.Expects] {
				if e.VirtualPort == 0 || e.ServerPort == 0 || e.ClientPort == 0 && e.VirtualPort == 80 {
					t.Fatalf("expects %+v", e)
				}
			}
		}
		for _, p := range [][]byte{a, b, c, a, b, c} {
			packet(p, 0, len(p))
		}
		for _, p := range [][]byte{c, b, a} {
			if half := (len(p) - 5) / 2; half > 0 {
				packet(p, 0, half)
				packet(p, half, len(p))
			}
		}
	})
}

package wire

import (
	"encoding/binary"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// sctp4 is an IPv4 packet from 10.0.0.10:40000 to 10.1.0.100:3868 with tag 7 and
// these chunks.
func sctp4(chunks ...byte) IP {
	b := make(IPv4, IPv4MinLen+SCTPLen+len(chunks))
	b.Encode(&IPv4Fields{
		TOS: 0x03, TotalLen: len(b), TTL: 9, Protocol: ProtoSCTP, Src: [4]byte{10, 0, 0, 10}, Dst: [4]byte{10, 1, 0, 100},
	})
	s := SCTP(b.Payload())
	binary.BigEndian.PutUint16(s, 40000)
	binary.BigEndian.PutUint16(s[2:], 3868)
	binary.BigEndian.PutUint32(s[4:], 7)
	copy(s[SCTPLen:], chunks)
	s.SetChecksum(s.CalculateChecksum())
	return IP(b)
}

// chunk is a chunk of that type with a value.
func chunk(typ uint8, value ...byte) []byte {
	n := SCTPChunkLen + len(value)
	return append(append([]byte{typ, 0, byte(n >> 8), byte(n)}, value...), make([]byte, -n&3)...)
}

// The rules of RFC 9260, section 8.4, as net/sctp has them.
func TestBuildSCTPRefusal(t *testing.T) {
	init := chunk(SCTPInit, 0, 0, 0, 9, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1)
	join := func(list ...[]byte) (all []byte) {
		for _, c := range list {
			all = append(all, c...)
		}
		return all
	}
	for _, tt := range []struct {
		name       string
		chunks     []byte
		typ, flags uint8 // 0 is no answer
		tag        uint32
	}{
		{"DATA", chunk(SCTPData, make([]byte, 13)...), SCTPAbort, 1, 7},
		{"INIT", init, SCTPAbort, 0, 9},
		{"INIT cut short", chunk(SCTPInit, 0, 0, 0, 9), 0, 0, 0},
		{"INIT behind another chunk", join(chunk(SCTPData, 1), init), 0, 0, 0},
		{"INIT ACK", chunk(SCTPInitAck, init[4:]...), SCTPAbort, 1, 7},
		{"COOKIE ECHO", chunk(SCTPCookieEcho, 1, 2, 3), SCTPAbort, 1, 7},
		{"COOKIE ACK", chunk(SCTPCookieAck), 0, 0, 0},
		{"SHUTDOWN ACK", chunk(SCTPShutdownAck), SCTPShutdownComplete, 1, 7},
		{"SHUTDOWN COMPLETE", chunk(SCTPShutdownComplete), 0, 0, 0},
		{"ABORT", chunk(SCTPAbort), 0, 0, 0},
		{"ABORT behind DATA", join(chunk(SCTPData, 1), chunk(SCTPAbort)), 0, 0, 0},
		{"stale cookie", chunk(SCTPError, 0, 3, 0, 8, 0, 0, 0, 0), 0, 0, 0},
		{"another error", chunk(SCTPError, 0, 1, 0, 8, 0, 0, 0, 0), SCTPAbort, 1, 7},
		{"no chunk", nil, 0, 0, 0},
		{"a chunk of length 3", []byte{SCTPData, 0, 0, 3}, 0, 0, 0},
		{"a chunk longer than the packet", []byte{SCTPData, 0, 0, 200, 1}, 0, 0, 0},
	} {
		orig := sctp4(tt.chunks...)
		dst := make([]byte, 100)
		n := BuildSCTPRefusal(dst, orig)
		if tt.typ == 0 {
			if n != 0 {
				t.Errorf("%s: answered with %x", tt.name, dst[:n])
			}
			continue
		}
		checkSCTP(t, tt.name, dst[:n], &layers.SCTP{SrcPort: 3868, DstPort: 40000, VerificationTag: tt.tag},
			[2]string{"10.1.0.100", "10.0.0.10"}, []byte{tt.typ, tt.flags, 0, 4})
		if got := BuildSCTPRefusal(dst[:n-1], orig); got != 0 {
			t.Errorf("%s: %d bytes written to %d", tt.name, got, n-1)
		}
	}
}

// checkSCTP reads an answer with gopacket and compares it.
func checkSCTP(t *testing.T, name string, got []byte, want *layers.SCTP, addrs [2]string, chunks []byte) {
	t.Helper()
	p := gopacket.NewPacket(got, layers.LayerTypeIPv4, gopacket.Default)
	ip, _ := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	s, _ := p.Layer(layers.LayerTypeSCTP).(*layers.SCTP)
	if ip == nil || s == nil {
		t.Fatalf("%s: %x is no SCTP packet", name, got)
	}
	if ip.SrcIP.String() != addrs[0] || ip.DstIP.String() != addrs[1] || ip.TTL != 64 || ip.TOS != 0 ||
		!IPv4(got).ChecksumOK() || int(ip.Length) != len(got) {
		t.Errorf("%s: IP header %+v", name, ip)
	}
	if s.SrcPort != want.SrcPort || s.DstPort != want.DstPort || s.VerificationTag != want.VerificationTag ||
		string(s.Payload) != string(chunks) {
		t.Errorf("%s: %+v, want %+v", name, s, want)
	}
	if b := SCTP(IPv4(got).Payload()); b.Checksum() != naiveCRC32c(b) {
		t.Errorf("%s: checksum %#08x", name, b.Checksum())
	}
}

func TestBuildSCTPAbortOnward(t *testing.T) {
	dst := make([]byte, 100)
	src, to := Mapped([4]byte{192, 0, 2, 1}), Mapped([4]byte{10, 2, 0, 11})
	n := BuildSCTPAbortOnward(dst, sctp4(chunk(SCTPData, 1, 2, 3)...), &src, 1000, &to, 2000)
	checkSCTP(t, "DATA", dst[:n], &layers.SCTP{SrcPort: 1000, DstPort: 2000, VerificationTag: 7},
		[2]string{"192.0.2.1", "10.2.0.11"}, []byte{SCTPAbort, 0, 0, 4})
	if n := BuildSCTPAbortOnward(dst, sctp4(chunk(SCTPAbort)...), &src, 1000, &to, 2000); n != 0 {
		t.Error("an ABORT is followed by another")
	}
	part := sctp4(chunk(SCTPData, 1)...)
	IPv4(part).SetFragment(len(part), 0, true)
	if BuildSCTPRefusal(dst, part) != 0 || BuildSCTPAbortOnward(dst, part, &src, 1, &to, 2) != 0 {
		t.Error("a fragment is answered")
	}
}

// The same over IPv6, and behind an extension header.
func TestBuildSCTPRefusal6(t *testing.T) {
	src, to := [16]byte{0x20, 1, 15: 1}, [16]byte{0x20, 1, 15: 2}
	body := IPv4(sctp4(chunk(SCTPData, 1, 2, 3)...)).Payload()
	options := []byte{ProtoSCTP, 0, 1, 4, 0, 0, 0, 0} // PadN
	for _, ext := range [][]byte{nil, options} {
		orig := make([]byte, IPv6Len, 200)
		next := ProtoSCTP
		if ext != nil {
			next = extDestOpts
		}
		IPv6(orig).Encode(&IPv6Fields{TrafficClass: 3, PayloadLen: len(ext) + len(body), NextHeader: next, HopLimit: 9, Src: src, Dst: to})
		orig = append(append(orig, ext...), body...)
		dst := make([]byte, 100)
		n := BuildSCTPRefusal(dst, orig)
		p := gopacket.NewPacket(dst[:n], layers.LayerTypeIPv6, gopacket.Default)
		ip, _ := p.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
		s, _ := p.Layer(layers.LayerTypeSCTP).(*layers.SCTP)
		if ip == nil || s == nil || [16]byte(ip.SrcIP) != to || [16]byte(ip.DstIP) != src || ip.TrafficClass != 0 || ip.HopLimit != 64 ||
			s.SrcPort != 3868 || s.DstPort != 40000 || s.VerificationTag != 7 || string(s.Payload) != "\x06\x01\x00\x04" ||
			s.Checksum == 0 || SCTP(ip.Payload).Checksum() != naiveCRC32c(ip.Payload) {
			t.Errorf("%x is answered with %x", orig, dst[:n])
		}
		if n = BuildSCTPAbortOnward(dst, orig, &to, 1, &src, 2); n != IPv6Len+sctpAnswerLen || SCTP(dst[IPv6Len:n]).DstPort() != 2 {
			t.Errorf("onward: %x", dst[:n])
		}
	}
}

package wire

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// unhex reads bytes written in hexadecimal, blanks ignored.
func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// The packets below were recorded on Linux 6.1.176 with IPVS: client 10.0.0.10,
// virtual address 10.1.0.100, server 10.2.0.12.
const (
	recordedSYN = `4500 003c d6ca 4000 3f06 5083 0a00 000a 0a01 0064 a804 0050 09e0 3243 0000 0000
		a002 faf0 5ab1 0000 0204 05b4 0402 080a 3dfa bb7d 0000 0000 0103 0307`
	recordedPortUnreachable = `45c0 0058 8444 0000 4001 e132 0a01 0064 0a00 000a 0303 119a 0000 0000` + recordedSYN

	recordedTTL1 = `4500 0039 7f41 0000 0111 2605 0a00 000a 0a01 0064 91f5 0035 0025 7769 1234 0100
		0001 0000 0000 0000 0765 7861 6d70 6c65 0363 6f6d 0000 0100 01`
	recordedTimeExceeded = `45c0 0055 86a8 0000 4001 ded1 0a01 0064 0a00 000a 0b00 09a5 0000 0000` + recordedTTL1

	// 1448 times "u" follow; the time to live was decremented before the answer.
	recordedTooLong = `4500 05dc 6ab0 4000 3e06 b7fd 0a00 000a 0a01 0064 8b9a 0007 97fc da8c 5d18 0366
		8010 01f6 3f27 0000 0101 080a 3dfa 04e0 1cc6 2d10`
	recordedFragNeeded = `45c0 0240 792e 0000 4001 ea60 0a01 0064 0a00 000a 0304 79b7 0000 03e8` + recordedTooLong

	recordedMidstream = `4500 0037 af77 4000 3f06 77db 0a00 000a 0a01 0064 c2dc 0007 c69a c7c0 df6b 48fd
		8018 01f6 7bfb 0000 0101 080a 3123 312a 2fd1 f513 7477 6f`
	recordedReset = `4500 0028 0000 4000 4006 2662 0a01 0064 0a00 000a 0007 c2dc df6b 48fd 0000 0000
		5004 0000 b025 0000`

	recordedSYNToServer = `4500 003c addf 4000 3e06 7ac5 0a00 000a 0a02 000c 80e0 0051 3aa8 ef4e 0000 0000
		a002 faf0 6832 0000 0204 05b4 0402 080a 3df9 e7a3 0000 0000 0103 0307`
	recordedRefusal = `4500 0028 0000 4000 4006 26b9 0a02 000c 0a00 000a 0051 80e0 0000 0000 3aa8 ef4f
		5014 0000 f08f 0000`
)

func TestBuildICMPv4ErrorAsRecorded(t *testing.T) {
	long := bytes.Repeat([]byte("u"), 1448)
	for _, tt := range []struct {
		name       string
		typ, code  uint8
		rest       uint32
		orig, want []byte
	}{
		{"no real server", 3, 3, 0, unhex(t, recordedSYN), unhex(t, recordedPortUnreachable)},
		{"time to live 1", 11, 0, 0, unhex(t, recordedTTL1), unhex(t, recordedTimeExceeded)},
		{
			"too long, cut to 576", 3, 4, 1000,
			append(unhex(t, recordedTooLong), long...),
			append(unhex(t, recordedFragNeeded), long...)[:ICMPv4ErrorMax],
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id := IPv4(tt.want).ID()
			src := [4]byte{10, 1, 0, 100}
			padded := append(bytes.Clone(tt.orig), 1, 2, 3, 4)
			dst := bytes.Repeat([]byte{0xaa}, 2000)
			n := BuildICMPv4Error(dst, src, id, tt.typ, tt.code, tt.rest, padded)
			if !bytes.Equal(dst[:n], tt.want) {
				t.Errorf("built %x\n want %x", dst[:n], tt.want)
			}
			if !bytes.Equal(dst[n:], bytes.Repeat([]byte{0xaa}, 2000-n)) {
				t.Error("wrote behind the packet")
			}
			// In the memory of the original.
			buf := append(padded, make([]byte, 100)...)
			n = BuildICMPv4Error(buf, src, id, tt.typ, tt.code, tt.rest, buf[:len(tt.orig)])
			if !bytes.Equal(buf[:n], tt.want) {
				t.Errorf("in place: built %x\n want %x", buf[:n], tt.want)
			}
		})
	}
}

func TestBuildTCPReset4AsRecorded(t *testing.T) {
	for _, tt := range []struct{ name, orig, want string }{
		{"midstream", recordedMidstream, recordedReset},
		{"SYN", recordedSYNToServer, recordedRefusal},
	} {
		t.Run(tt.name, func(t *testing.T) {
			orig, want := unhex(t, tt.orig), unhex(t, tt.want)
			dst := bytes.Repeat([]byte{0xaa}, 100)
			n := BuildTCPReset4(dst, append(bytes.Clone(orig), 1, 2, 3))
			if !bytes.Equal(dst[:n], want) {
				t.Errorf("built %x\n want %x", dst[:n], want)
			}
			if n = BuildTCPReset4(orig, orig); !bytes.Equal(orig[:n], want) {
				t.Errorf("in place: built %x\n want %x", orig[:n], want)
			}
		})
	}
}

// answerable returns an IPv4 packet that may be answered.
func answerable(proto uint8, l4 []byte) IPv4 {
	b := make(IPv4, IPv4MinLen+len(l4))
	b.Encode(&IPv4Fields{TotalLen: len(b), TTL: 9, TOS: 0xff, Protocol: proto, Src: [4]byte{10, 0, 0, 1}, Dst: [4]byte{10, 0, 0, 2}})
	copy(b[IPv4MinLen:], l4)
	return b
}

func TestBuildICMPv4ErrorRefuses(t *testing.T) {
	frag := func(off int, mf uint16) IPv4 {
		b := answerable(ProtoUDP, make([]byte, 8))
		b.Encode(&IPv4Fields{TotalLen: len(b), Protocol: ProtoUDP, Flags: mf, FragmentOffset: off, Src: b.Src(), Dst: b.Dst()})
		return b
	}
	from := func(src, dst [4]byte) IPv4 {
		b := answerable(ProtoUDP, make([]byte, 8))
		b.SetSrc(src)
		b.SetDst(dst)
		return b
	}
	host := [4]byte{10, 0, 0, 1}
	for _, tt := range []struct {
		name string
		orig IPv4
		room int
		want int
	}{
		{"a datagram", answerable(ProtoUDP, make([]byte, 8)), 576, 56},
		{"no payload", answerable(ProtoUDP, nil), 576, 48},
		{"first fragment", frag(0, IPv4MoreFragments), 576, 56},
		{"later fragment", frag(8, 0), 576, 0},
		{"echo", answerable(ProtoICMP, []byte{8, 0, 0, 0, 0, 0, 0, 0}), 576, 56},
		{"unreachable", answerable(ProtoICMP, []byte{3, 0, 0, 0, 0, 0, 0, 0}), 576, 0},
		{"redirect", answerable(ProtoICMP, []byte{5, 0, 0, 0, 0, 0, 0, 0}), 576, 0},
		{"unknown ICMP type", answerable(ProtoICMP, []byte{19, 0, 0, 0, 0, 0, 0, 0}), 576, 0},
		{"highest known ICMP type", answerable(ProtoICMP, []byte{18, 0, 0, 0, 0, 0, 0, 0}), 576, 56},
		{"ICMP without a type", answerable(ProtoICMP, nil), 576, 0},
		{"from nobody", from([4]byte{0, 0, 0, 0}, host), 576, 0},
		{"from loopback", from([4]byte{127, 0, 0, 1}, host), 576, 0},
		{"from multicast", from([4]byte{224, 0, 0, 1}, host), 576, 0},
		{"from broadcast", from([4]byte{255, 255, 255, 255}, host), 576, 0},
		{"from 240/4", from([4]byte{250, 1, 2, 3}, host), 576, 56},
		{"to multicast", from(host, [4]byte{239, 255, 0, 1}), 576, 0},
		{"to broadcast", from(host, [4]byte{255, 255, 255, 255}), 576, 0},
		{"room for headers only", answerable(ProtoUDP, make([]byte, 8)), 47, 0},
		{"room for the quoted header", answerable(ProtoUDP, make([]byte, 8)), 48, 48},
		{"no room", answerable(ProtoUDP, make([]byte, 8)), 0, 0},
	} {
		dst := make([]byte, tt.room)
		if got := BuildICMPv4Error(dst, [4]byte{10, 0, 0, 9}, 1, 3, 3, 0, tt.orig); got != tt.want {
			t.Errorf("%s: %d bytes, want %d", tt.name, got, tt.want)
		}
		if tt.want > 0 && dst[ip4TOS] != tosInternet|tosMask && tt.orig.TOS() == 0xff {
			t.Errorf("%s: TOS %#02x", tt.name, dst[ip4TOS])
		}
		if tt.want == 0 && !bytes.Equal(dst, make([]byte, tt.room)) {
			t.Errorf("%s: refused, but wrote %x", tt.name, dst)
		}
	}
}

func TestReset(t *testing.T) {
	data := []byte("12345")
	for _, tt := range []struct {
		name string
		in   uint8
		want TCPFields
	}{
		{"ACK", ACK, TCPFields{Seq: 7000, Flags: RST}},
		{"SYN+ACK", SYN | ACK, TCPFields{Seq: 7000, Flags: RST}},
		{"SYN with data", SYN, TCPFields{Ack: 4 + 1, Flags: RST | ACK}},
		{"FIN with data", FIN, TCPFields{Ack: 4 + 1, Flags: RST | ACK}},
		{"SYN+FIN", SYN | FIN, TCPFields{Ack: 4 + 2, Flags: RST | ACK}},
		{"no flags", 0, TCPFields{Ack: 4, Flags: RST | ACK}},
		{"RST", RST, TCPFields{}},
		{"RST+ACK", RST | ACK, TCPFields{}},
	} {
		seg := make(TCP, TCPMinLen)
		seg.Encode(&TCPFields{SrcPort: 1, DstPort: 2, Seq: 0xffffffff, Ack: 7000, Flags: tt.in, Window: 9})
		seg = append(seg, data...)
		got, ok := reset(seg)
		if tt.in&RST != 0 {
			if ok {
				t.Errorf("%s: answered", tt.name)
			}
			continue
		}
		tt.want.SrcPort, tt.want.DstPort = 2, 1
		if !ok || got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func TestBuildTCPResetRefuses(t *testing.T) {
	seg := make(TCP, TCPMinLen)
	seg.Encode(&TCPFields{SrcPort: 1, DstPort: 2, Flags: SYN})
	good := answerable(ProtoTCP, seg)
	dst := make([]byte, 100)
	if n := BuildTCPReset4(dst, good); n != 40 || IPv4(dst).TOS() != 0xfc {
		t.Fatalf("good: %d bytes, TOS %#02x", n, IPv4(dst).TOS())
	}
	if n := BuildTCPReset4(dst[:39], good); n != 0 {
		t.Errorf("39 bytes of room: %d", n)
	}
	for name, spoil := range map[string]func(b IPv4){
		"protocol":       func(b IPv4) { b[ip4Protocol] = ProtoUDP },
		"first fragment": func(b IPv4) { b[ip4FlagsOff] = 0x20 },
		"later fragment": func(b IPv4) { b[ip4FlagsOff+1] = 1 },
		"broadcast":      func(b IPv4) { b.SetDst([4]byte{255, 255, 255, 255}) },
		"data offset":    func(b IPv4) { b[IPv4MinLen+tcpDataOff] = 0x60 },
		"cut header":     func(b IPv4) { b[ip4TotalLen+1] = 39 },
	} {
		b := bytes.Clone(good)
		spoil(b)
		if n := BuildTCPReset4(dst, b); n != 0 {
			t.Errorf("%s: answered with %d bytes", name, n)
		}
		if n := BuildTCPReset4Onward(dst, b, [4]byte{10}, 1, [4]byte{11}, 2); n != 0 {
			t.Errorf("%s: sent on as %d bytes", name, n)
		}
	}
}

func TestBuildTCPResetOnward(t *testing.T) {
	src, to := [4]byte{10, 1, 0, 100}, [4]byte{10, 2, 0, 11}
	src6, to6 := [16]byte{0x20, 1, 15: 1}, [16]byte{0x20, 1, 15: 2}
	for _, tt := range []struct {
		name string
		seg  TCPFields
		want TCPFields // none if no port is set
	}{
		{"data", TCPFields{Seq: 7, Ack: 9, Flags: ACK | PSH}, TCPFields{SrcPort: 80, DstPort: 8080, Seq: 7, Ack: 9, Flags: RST | ACK}},
		{"SYN+ACK", TCPFields{Seq: 7, Ack: 9, Flags: SYN | ACK}, TCPFields{SrcPort: 80, DstPort: 8080, Seq: 7, Ack: 9, Flags: RST | ACK}},
		{"FIN without ACK", TCPFields{Seq: 7, Ack: 9, Flags: FIN}, TCPFields{SrcPort: 80, DstPort: 8080, Seq: 7, Flags: RST}},
		{"reset", TCPFields{Seq: 7, Flags: RST}, TCPFields{}},
	} {
		seg := make(TCP, TCPMinLen+5)
		seg.Encode(&tt.seg)
		orig := answerable(ProtoTCP, seg)
		dst := make([]byte, 40)
		n := BuildTCPReset4Onward(dst, orig, src, 80, to, 8080)
		if tt.want.SrcPort == 0 {
			if n != 0 {
				t.Errorf("%s: %d bytes", tt.name, n)
			}
			continue
		}
		want := make(TCP, TCPMinLen)
		want.Encode(&tt.want)
		ip := IPv4(dst)
		want.SetChecksum(TCP(ip.Payload()).Checksum())
		if n != 40 || ip.Src() != src || ip.Dst() != to || !bytes.Equal(ip.Payload(), want) {
			t.Errorf("%s: %x", tt.name, dst[:n])
		}
		if !ip.ChecksumOK() || !l4Right(ProtoTCP, ip.Payload(), pseudo4(ip, TCPMinLen)) {
			t.Errorf("%s: wrong checksums: %x", tt.name, dst[:n])
		}
		if n := BuildTCPReset4Onward(dst[:39], orig, src, 80, to, 8080); n != 0 {
			t.Errorf("%s: 39 bytes of room: %d", tt.name, n)
		}

		orig6 := IP(answer6(ProtoTCP, [16]byte{0x20, 1, 15: 9}, seg))
		dst6 := make([]byte, 60)
		if n := BuildTCPResetOnward(dst6, orig6, &src6, 80, &to6, 8080); n != 60 {
			t.Fatalf("%s: %d bytes over IPv6", tt.name, n)
		}
		ip6 := IPv6(dst6)
		want.SetChecksum(TCP(ip6.Payload()).Checksum())
		if ip6.Src() != src6 || ip6.Dst() != to6 || ip6.TrafficClass() != 0xfc || !bytes.Equal(ip6.Payload(), want) ||
			!l4Right(ProtoTCP, ip6.Payload(), pseudo6(ip6, ProtoTCP, TCPMinLen)) {
			t.Errorf("%s: over IPv6: %x", tt.name, dst6)
		}
		if n := BuildTCPResetOnward(dst6[:59], orig6, &src6, 80, &to6, 8080); n != 0 {
			t.Errorf("%s: 59 bytes of room: %d", tt.name, n)
		}
	}
}

// answer6 is a packet from 2001:db8::1 to dst, with a destination options
// header before the payload.
func answer6(proto uint8, dst [16]byte, l4 []byte) IPv6 {
	b := make(IPv6, IPv6Len+8+len(l4))
	b.Encode(&IPv6Fields{
		TrafficClass: 0xff, FlowLabel: 0x12345, PayloadLen: 8 + len(l4), NextHeader: extDestOpts, HopLimit: 1,
		Src: [16]byte{0x20, 0x01, 0x0d, 0xb8, 15: 1}, Dst: dst,
	})
	copy(b[IPv6Len:], []byte{proto, 0, 1, 4, 0, 0, 0, 0})
	copy(b[IPv6Len+8:], l4)
	return b
}

// fragment6 is like answer6, but with a fragment header; word is its offset in
// bytes plus 1 if more fragments follow.
func fragment6(proto uint8, word byte, l4 []byte) IPv6 {
	b := answer6(proto, [16]byte{0x20, 0x01, 0x0d, 0xb8, 15: 2}, l4)
	b[ip6NextHeader] = extFragment
	copy(b[IPv6Len:], []byte{proto, 0, 0, word, 1, 2, 3, 4})
	return b
}

func TestBuildICMPv6Error(t *testing.T) {
	host := [16]byte{0x20, 0x01, 0x0d, 0xb8, 15: 2}
	group := [16]byte{0: 0xff, 15: 2}
	long := make([]byte, 1400)
	for _, tt := range []struct {
		name      string
		typ, code uint8
		orig      IPv6
		room      int
		want      int
	}{
		{"port unreachable", 1, 4, answer6(ProtoUDP, host, make([]byte, 8)), 1500, 48 + 56},
		{"too big, cut to 1280", 2, 0, answer6(ProtoTCP, host, long), 1500, 1280},
		{"little room", 2, 0, answer6(ProtoTCP, host, long), 88, 88},
		{"no room", 2, 0, answer6(ProtoTCP, host, long), 87, 0},
		{"about an echo", 1, 4, answer6(ProtoICMPv6, host, []byte{128, 0, 0, 0, 0, 0, 0, 0}), 1500, 48 + 56},
		{"about an error", 1, 4, answer6(ProtoICMPv6, host, []byte{1, 0, 0, 0, 0, 0, 0, 0}), 1500, 0},
		{"about ICMPv6 without a type", 1, 4, answer6(ProtoICMPv6, host, nil), 1500, 0},
		{"about a later fragment of ICMPv6", 1, 4, fragment6(ProtoICMPv6, 8, []byte{1, 0, 0, 0, 0, 0, 0, 0}), 1500, 48 + 56},
		{"about a first fragment of an error", 1, 4, fragment6(ProtoICMPv6, 1, []byte{1, 0, 0, 0, 0, 0, 0, 0}), 1500, 0},
		{"about multicast", 1, 4, answer6(ProtoUDP, group, nil), 1500, 0},
		{"about multicast, too big", 2, 0, answer6(ProtoUDP, group, nil), 1500, 48 + 48},
	} {
		t.Run(tt.name, func(t *testing.T) {
			buf := make([]byte, max(tt.room, len(tt.orig)))
			copy(buf, tt.orig)
			n := BuildICMPv6Error(buf[:tt.room], host, tt.typ, tt.code, 1300, buf[:len(tt.orig)]) // in place
			if n != tt.want {
				t.Fatalf("%d bytes, want %d", n, tt.want)
			}
			if n == 0 {
				return
			}
			ip := IPv6(buf)
			if !ip.IsValid(n) || ip.TotalLen() != n || ip.Src() != host || ip.Dst() != tt.orig.Src() ||
				ip.HopLimit() != 64 || ip.TrafficClass() != 0 || ip.NextHeader() != ProtoICMPv6 {
				t.Errorf("header %x", buf[:IPv6Len])
			}
			m := ICMPv6(ip.Payload())
			if m.Type() != tt.typ || m.Code() != tt.code || m.MTU() != 1300 || !bytes.Equal(m.Payload(), tt.orig[:n-48]) {
				t.Errorf("message %x", []byte(m))
			}
			if naiveSum(append(pseudo6(ip, ProtoICMPv6, len(m)), m...)) != 0xffff {
				t.Errorf("checksum %#04x is wrong", m.Checksum())
			}
		})
	}
	nobody := answer6(ProtoUDP, host, nil)
	nobody.SetSrc([16]byte{})
	if n := BuildICMPv6Error(make([]byte, 1500), host, 1, 4, 0, nobody); n != 0 {
		t.Errorf("answered the unspecified address with %d bytes", n)
	}
}

func TestBuildTCPReset6(t *testing.T) {
	host := [16]byte{0x20, 0x01, 0x0d, 0xb8, 15: 2}
	seg := make(TCP, TCPMinLen)
	seg.Encode(&TCPFields{SrcPort: 1, DstPort: 2, Seq: 100, Flags: SYN})
	orig := answer6(ProtoTCP, host, append(seg, "data"...))
	src := orig.Src()
	dst := make([]byte, 100)
	n := BuildTCPReset6(dst, orig)
	if n != 60 {
		t.Fatalf("%d bytes", n)
	}
	p := decode(t, dst[:n], layers.LayerTypeIPv6)
	ip := p.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
	tcp := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
	if !bytes.Equal(ip.SrcIP, host[:]) || !bytes.Equal(ip.DstIP, src[:]) || ip.HopLimit != 64 ||
		ip.TrafficClass != 0xfc || ip.FlowLabel != 0 || ip.Length != 20 {
		t.Errorf("header %+v", ip)
	}
	if tcp.SrcPort != 2 || tcp.DstPort != 1 || tcp.Seq != 0 || tcp.Ack != 105 || !tcp.RST || !tcp.ACK || tcp.SYN || tcp.Window != 0 {
		t.Errorf("segment %+v", tcp)
	}
	if !TCP(IPv6(dst).Payload()).ChecksumOK6(host, src) {
		t.Errorf("checksum %#04x is wrong", tcp.Checksum)
	}
	m := BuildTCPReset6(orig, orig)
	if !bytes.Equal(orig[:m], dst[:n]) {
		t.Errorf("in place: %x", orig[:m])
	}
	for name, bad := range map[string]IPv6{
		"RST":       answer6(ProtoTCP, host, dst[IPv6Len:n]),
		"UDP":       answer6(ProtoUDP, host, seg),
		"short":     answer6(ProtoTCP, host, seg[:19]),
		"multicast": answer6(ProtoTCP, [16]byte{0: 0xff}, seg),
		"first":     fragment6(ProtoTCP, 1, seg),
		"later":     fragment6(ProtoTCP, 8, seg),
	} {
		if n := BuildTCPReset6(make([]byte, 100), bad); n != 0 {
			t.Errorf("%s: answered with %d bytes", name, n)
		}
	}
	if n := BuildTCPReset6(make([]byte, 100), fragment6(ProtoTCP, 0, seg)); n != 60 {
		t.Errorf("atomic fragment: %d bytes", n)
	}
	if n := BuildTCPReset6(make([]byte, 59), answer6(ProtoTCP, host, seg)); n != 0 {
		t.Errorf("59 bytes of room: %d", n)
	}
}

// TestAnswersReadInGopacket has gopacket read the answers to random packets,
// options included.
func TestAnswersReadInGopacket(t *testing.T) {
	r := rng(t)
	resets := 0
	for range 2000 {
		orig := IPv4(packet4(t, r, ProtoTCP, randBytes(r, r.IntN(800))))
		if orig[ip4Src] == 127 || orig[ip4Src] == 0 || orig[ip4Src] >= 224 || orig[ip4Dst] >= 224 {
			continue
		}
		dst := make([]byte, 600)
		n := BuildICMPv4Error(dst, rand4(r), 7, ICMPv4DstUnreachable, ICMPv4PortUnreachable, 0, orig)
		if n == 0 || n > ICMPv4ErrorMax {
			t.Fatalf("%d bytes about %x", n, []byte(orig))
		}
		p := decode(t, dst[:n], layers.LayerTypeIPv4)
		checkLengths(t, p, n)
		m := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
		if naiveSum(dst[IPv4MinLen:n]) != 0xffff || !bytes.Equal(m.Payload, orig[:n-28]) || !IPv4(dst).ChecksumOK() {
			t.Fatalf("message %x about %x", dst[:n], []byte(orig))
		}
		n = BuildTCPReset4(dst, orig)
		if (n == 0) != (TCP(orig.Payload()).Flags()&RST != 0) {
			t.Fatalf("%d bytes about %x", n, []byte(orig))
		}
		if n == 0 {
			continue
		}
		resets++
		checkLengths(t, decode(t, dst[:n], layers.LayerTypeIPv4), n)
		ip := IPv4(dst)
		if !l4Right(ProtoTCP, ip.Payload(), pseudo4(ip, TCPMinLen)) || !ip.ChecksumOK() {
			t.Fatalf("reset %x", dst[:n])
		}
	}
	if resets == 0 {
		t.Error("no reset was built")
	}
}

func checkLengths(tb testing.TB, p gopacket.Packet, n int) {
	tb.Helper()
	ip := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	if int(ip.Length) != n || ip.IHL != 5 || ip.TTL != 64 {
		tb.Fatalf("header %+v of a packet of %d bytes", ip, n)
	}
}

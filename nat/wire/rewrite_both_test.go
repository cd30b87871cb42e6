package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"testing"
)

// TestRewriteBoth compares with the source's and the destination's rewriting one
// after the other, byte by byte, for every protocol and family, with right, wrong,
// missing and partial checksums.
func TestRewriteBoth(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	addr := func(v6 bool) (a [16]byte) {
		for i := range a {
			a[i] = byte(rnd.Uint32())
		}
		if !v6 {
			copy(a[:], []byte{10: 0xff, 11: 0xff})
			clear(a[:10])
		}
		return a
	}
	for i := range 20_000 {
		v6, proto, partial := rnd.IntN(2) == 0, protos[rnd.IntN(len(protos))], rnd.IntN(3) == 0
		head := IPv4MinLen
		if v6 {
			head = IPv6Len
		}
		b := make([]byte, head+TCPMinLen+rnd.IntN(40))
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		a, c := addr(v6), addr(v6)
		if v6 {
			IPv6(b).Encode(&IPv6Fields{PayloadLen: len(b) - head, NextHeader: proto, HopLimit: 9, Src: a, Dst: c})
		} else {
			IPv4(b).Encode(&IPv4Fields{TotalLen: len(b), TTL: 9, Protocol: proto, Src: [4]byte(a[12:]), Dst: [4]byte(c[12:])})
		}
		l4 := b[head:]
		if proto == ProtoUDP {
			binary.BigEndian.PutUint16(l4[4:], uint16(len(l4)))
			if rnd.IntN(3) == 0 {
				UDP(l4).SetChecksum(0)
			}
		}
		want := bytes.Clone(b)
		src, dst, sp, dp := addr(v6), addr(v6), uint16(rnd.Uint32()), uint16(rnd.Uint32())
		if !RewriteBoth(IP(b), b[head:], proto, partial, &src, sp, &dst, dp) {
			t.Fatal("refused")
		}
		RewriteSrc(IP(want), want[head:], proto, partial, &src, sp)
		RewriteDst(IP(want), want[head:], proto, partial, &dst, dp)
		if !bytes.Equal(b, want) {
			t.Fatalf("packet %d, protocol %d, IPv6 %t, partial %t:\n%x, want\n%x", i, proto, v6, partial, b, want)
		}
	}
	for _, proto := range protos {
		b := make([]byte, IPv4MinLen+7)
		IPv4(b).Encode(&IPv4Fields{TotalLen: len(b), Protocol: proto})
		was := bytes.Clone(b)
		var a [16]byte
		if RewriteBoth(IP(b), b[IPv4MinLen:], proto, false, &a, 1, &a, 2) || !bytes.Equal(b, was) {
			t.Errorf("protocol %d: a header that is not whole is accepted", proto)
		}
	}
}

// TestEcho has identifiers changed, in both families.
func TestEcho(t *testing.T) {
	src, dst := [16]byte{10: 0xff, 11: 0xff, 12: 10, 15: 1}, [16]byte{10: 0xff, 11: 0xff, 12: 192, 15: 9}
	src6, dst6 := [16]byte{0: 0x20, 15: 1}, [16]byte{0: 0x20, 15: 2}
	b4 := make([]byte, IPv4MinLen+ICMPLen+9)
	IPv4(b4).Encode(&IPv4Fields{TotalLen: len(b4), Protocol: ProtoICMP, Src: [4]byte{1, 2, 3, 4}, Dst: [4]byte{5, 6, 7, 8}})
	m := ICMPv4(b4[IPv4MinLen:])
	m[0], m[5] = ICMPv4Echo, 77
	m.SetChecksum(Checksum(m))
	if id, request, ok := EchoID(m, ProtoICMP); id != 77 || !request || !ok {
		t.Errorf("identifier %d, request %t, %t", id, request, ok)
	}
	if !RewriteEcho(IP(b4), m, false, &src, &dst, 0xfffe) || !m.ChecksumOK() || !IPv4(b4).ChecksumOK() || IP(b4).Src() != src || IP(b4).Dst() != dst {
		t.Errorf("% x", b4)
	}
	b6 := make([]byte, IPv6Len+ICMPLen+9)
	IPv6(b6).Encode(&IPv6Fields{PayloadLen: len(b6) - IPv6Len, NextHeader: ProtoICMPv6, Src: dst6, Dst: src6})
	m6 := ICMPv6(b6[IPv6Len:])
	m6[0], m6[5] = ICMPv6EchoReply, 78
	m6.SetChecksum(^Fold(Sum(m6, PseudoSum6(dst6, src6, ProtoICMPv6, len(m6)))))
	if id, request, ok := EchoID(m6, ProtoICMPv6); id != 78 || request || !ok {
		t.Errorf("identifier %d, request %t, %t", id, request, ok)
	}
	if !RewriteEcho(IP(b6), m6, false, &src6, &dst6, 3) || !m6.ChecksumOK(src6, dst6) {
		t.Errorf("% x", b6)
	}
	if _, _, ok := EchoID([]byte{ICMPv4Echo, 0, 0, 0, 0, 0, 0, 0}, ProtoICMPv6); ok {
		t.Error("an ICMP echo is none of ICMPv6")
	}
	if RewriteEcho(IP(b4), m[:7], false, &src, &dst, 1) {
		t.Error("a message that is not whole is accepted")
	}
}

// TestProxy holds headers to those of the specification's layout.
func TestProxy(t *testing.T) {
	b := make([]byte, ProxyLen6)
	src4, dst4 := Mapped([4]byte{192, 0, 2, 7}), Mapped([4]byte{192, 0, 2, 1})
	n := PutProxy(b, &src4, 40000, &dst4, 80)
	if got := hex.EncodeToString(b[:n]); got != "0d0a0d0a000d0a515549540a2111000cc0000207c00002019c400050" || n != ProxyLen(&src4) {
		t.Errorf("IPv4: %s", got)
	}
	src6, dst6 := [16]byte{0x20, 1, 15: 7}, [16]byte{0x20, 1, 15: 1}
	n = PutProxy(b, &src6, 40000, &dst6, 443)
	if got := hex.EncodeToString(b[:n]); got != "0d0a0d0a000d0a515549540a21210024"+"20010000000000000000000000000007"+"20010000000000000000000000000001"+"9c4001bb" || n != ProxyLen(&src6) {
		t.Errorf("IPv6: %s", got)
	}
}

// TestDropTimestamps has every place of the option, and options that are torn.
func TestDropTimestamps(t *testing.T) {
	for _, options := range []string{
		"0101080a0000000100000002", "080a00000001000000020101", "020405b4080a000000010000000201" + "01",
		"01080a000000010000000201", "0101", "080a0000", "0801", "00000000080a", "0204",
	} {
		o, _ := hex.DecodeString(options)
		for len(o)%4 != 0 {
			o = append(o, 0)
		}
		for _, partial := range []bool{false, true} {
			s := TCP(append(make([]byte, TCPMinLen), o...))
			s.Encode(&TCPFields{SrcPort: 1, DstPort: 2, Flags: SYN})
			s[12] = byte(len(s)) / 4 << 4
			s.SetChecksum(^Fold(Sum(s, 0)))
			before := s.Checksum()
			s.DropTimestamps(partial)
			has := bytes.Contains(s[TCPMinLen:], []byte{8, 10, 0, 0, 0, 1, 0, 0, 0, 2})
			whole := bytes.Contains(o, []byte{8, 10, 0, 0, 0, 1, 0, 0, 0, 2})
			switch {
			case has, whole == bytes.Equal(s[TCPMinLen:], o):
				t.Errorf("%s: % x", options, []byte(s[TCPMinLen:]))
			case partial && s.Checksum() != before:
				t.Errorf("%s: the partial checksum has changed", options)
			case !partial && Fold(Sum(s, 0)) != 0xffff:
				t.Errorf("%s: the checksum is wrong", options)
			}
		}
	}
}

package wire

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// TestRewriteQuotedAsRecorded is a server's port unreachable as Linux 6.1.176
// with IPVS passed it on: from 10.2.0.12 about a datagram to 10.2.0.12, and to
// the client from 10.1.0.100 about one to 10.1.0.100, time to live decremented.
func TestRewriteQuotedAsRecorded(t *testing.T) {
	const quotedRest = `9592 0036 0025 7422 1234 0100 0001 0000 0000 0000 0765 7861 6d70 6c65 0363 6f6d
		0000 0100 01`
	in := IPv4(unhex(t, `45c0 0055 d0b8 0000 4001 9518 0a02 000c 0a00 000a 0303 114b 0000 0000
		4500 0039 0931 0000 3e11 5f6c 0a00 000a 0a02 000c`+quotedRest))
	want := unhex(t, `45c0 0055 d0b8 0000 3f01 95c1 0a01 0064 0a00 000a 0303 114b 0000 0000
		4500 0039 0931 0000 3e11 5f15 0a00 000a 0a01 0064`+quotedRest)
	vip := [4]byte{10, 1, 0, 100}
	in.DecTTL()
	in.SetSrc(vip)
	if !RewriteQuotedDst4(in.Payload(), vip, 54) {
		t.Fatal("refused")
	}
	if !bytes.Equal(in, want) {
		t.Errorf("got  %x\nwant %x", []byte(in), want)
	}
}

func TestRewriteQuoted4(t *testing.T) {
	r := rng(t)
	for i := range 6000 {
		proto := protos[i%3]
		orig := IPv4(packet4(t, r, proto, randBytes(r, 40)))
		cut := orig.HeaderLen() + portsLen + r.IntN(len(orig)-orig.HeaderLen()-portsLen)
		later := r.IntN(4) == 0
		if later {
			orig[ip4FlagsOff+1] = 1
		}
		icmp := make(ICMPv4, ICMPLen, ICMPLen+cut)
		putICMP(icmp, ICMPv4DstUnreachable, ICMPv4FragNeeded, r.Uint32())
		icmp = append(icmp, orig[:cut]...)
		icmp.SetChecksum(uint16(r.Uint32()))
		want := bytes.Clone(orig[:cut])
		addr, port := rand4(r), uint16(r.Uint32())
		src := i%2 == 0
		at, portAt, f := ip4Dst, portDst, RewriteQuotedDst4
		if src {
			at, portAt, f = ip4Src, portSrc, RewriteQuotedSrc4
		}
		copy(want[at:], addr[:])
		if !later {
			binary.BigEndian.PutUint16(want[IPv4(want).HeaderLen()+portAt:], port)
		}
		clear(want[ip4Checksum : ip4Checksum+2])
		binary.BigEndian.PutUint16(want[ip4Checksum:], ^naiveSum(want[:IPv4(want).HeaderLen()]))
		if !f(icmp, addr, port) {
			t.Fatalf("refused: %x", []byte(icmp))
		}
		if !bytes.Equal(icmp.Payload(), want) {
			t.Fatalf("quoted %x\n  want %x", icmp.Payload(), want)
		}
		if naiveSum(icmp) != 0xffff {
			t.Fatalf("ICMP checksum of %x", []byte(icmp))
		}
	}
}

func TestRewriteQuoted6(t *testing.T) {
	r := rng(t)
	for i := range 6000 {
		proto := protos[i%3]
		orig := IPv6(packet6(t, r, proto, randBytes(r, 40)))
		l4 := IPv6Len
		later := false
		if r.IntN(2) == 0 { // a fragment header before the ports
			later = r.IntN(2) == 0
			h := []byte{orig[ip6NextHeader], 0, 0, 1, 9, 9, 9, 9}
			if later {
				h[3] = 8
			}
			orig = append(orig[:IPv6Len], append(h, orig[IPv6Len:]...)...)
			orig[ip6NextHeader] = extFragment
			l4 += 8
		}
		cut := l4 + portsLen + r.IntN(len(orig)-l4-portsLen)
		icmp := make(ICMPv6, ICMPLen, ICMPLen+cut)
		putICMP(icmp, ICMPv6DstUnreachable, 4, r.Uint32())
		icmp = append(icmp, orig[:cut]...)
		icmp.SetChecksum(uint16(r.Uint32()))
		want := bytes.Clone(orig[:cut])
		addr, port := rand16(r), uint16(r.Uint32())
		outerSrc, outerDst := rand16(r), rand16(r)
		src := i%2 == 0
		at, portAt, f := ip6Dst, portDst, RewriteQuotedDst6
		if src {
			at, portAt, f = ip6Src, portSrc, RewriteQuotedSrc6
		}
		copy(want[at:], addr[:])
		if !later {
			binary.BigEndian.PutUint16(want[l4+portAt:], port)
		}
		if !f(outerSrc, outerDst, icmp, addr, port) {
			t.Fatalf("refused: %x", []byte(icmp))
		}
		if !bytes.Equal(icmp.Payload(), want) {
			t.Fatalf("quoted %x\n  want %x", icmp.Payload(), want)
		}
		outer := make(IPv6, IPv6Len)
		outer.SetSrc(outerSrc)
		outer.SetDst(outerDst)
		if naiveSum(append(pseudo6(outer, ProtoICMPv6, len(icmp)), icmp...)) != 0xffff {
			t.Fatalf("ICMPv6 checksum of %x", []byte(icmp))
		}
	}
}

func TestRewriteQuotedRefuses(t *testing.T) {
	quote4 := answerable(ProtoTCP, make([]byte, 4))
	quote6 := answer6(ProtoTCP, [16]byte{1}, make([]byte, 4))
	for n := range len(quote4) + ICMPLen {
		b := append(make([]byte, ICMPLen), quote4...)[:n]
		before := bytes.Clone(b)
		if RewriteQuotedDst4(b, [4]byte{1, 2, 3, 4}, 5) || !bytes.Equal(b, before) {
			t.Fatalf("IPv4 cut to %d bytes: %x", n, b)
		}
	}
	for n := range len(quote6) + ICMPLen {
		b := append(make([]byte, ICMPLen), quote6...)[:n]
		before := bytes.Clone(b)
		if RewriteQuotedDst6([16]byte{}, [16]byte{}, b, [16]byte{1, 2}, 5) || !bytes.Equal(b, before) {
			t.Fatalf("IPv6 cut to %d bytes: %x", n, b)
		}
	}
	if RewriteQuotedSrc4(append(make(ICMPv4, ICMPLen), quote6...), [4]byte{}, 5) {
		t.Error("an IPv6 header was taken for IPv4")
	}
	if RewriteQuotedSrc6([16]byte{}, [16]byte{}, append(make(ICMPv6, ICMPLen), quote4...), [16]byte{}, 5) {
		t.Error("an IPv4 header was taken for IPv6")
	}
}

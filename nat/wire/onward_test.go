package wire

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// TestOnward compares with taking off a hop and rewriting both ends one after the
// other, byte by byte: with right, wrong and partial checksums, and with ends that
// stay as they are.
func TestOnward(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	addr := func(v6 bool) (a [16]byte) {
		if v6 {
			for i := range a {
				a[i] = byte(rnd.Uint32())
			}
			return a
		}
		return Mapped([4]byte(binary.BigEndian.AppendUint32(nil, rnd.Uint32())))
	}
	for i := range 40_000 {
		v6, proto, partial := rnd.IntN(2) == 0, []uint8{ProtoTCP, ProtoUDP}[rnd.IntN(2)], rnd.IntN(3) == 0
		head := IPv4MinLen
		if v6 {
			head = IPv6Len
		}
		l4 := UDPLen
		if proto == ProtoTCP {
			l4 = TCPMinLen
		}
		b := make([]byte, head+l4+rnd.IntN(40))
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		from, to := addr(v6), addr(v6)
		ttl := uint8(1 + rnd.IntN(255))
		if v6 {
			IPv6(b).Encode(&IPv6Fields{PayloadLen: len(b) - head, NextHeader: proto, HopLimit: ttl, Src: from, Dst: to})
		} else {
			IPv4(b).Encode(&IPv4Fields{TotalLen: len(b), TTL: ttl, Protocol: proto, ID: uint16(rnd.Uint32()), Src: [4]byte(from[12:]), Dst: [4]byte(to[12:])})
			if rnd.IntN(4) == 0 {
				IPv4(b).SetChecksum(uint16(rnd.Uint32()))
			}
		}
		if rnd.IntN(3) == 0 {
			// What makes sums of 0 and 0xffff.
			sum := []uint16{1, 0xffff, 0xfffe}[rnd.IntN(3)]
			if proto == ProtoTCP {
				TCP(b[head:]).SetChecksum(sum)
			} else {
				UDP(b[head:]).SetChecksum(sum)
			}
		}
		if proto == ProtoUDP && UDP(b[head:]).Checksum() == 0 && !partial {
			continue
		}
		src, dst, sp, dp := addr(v6), addr(v6), uint16(rnd.Uint32()), uint16(rnd.Uint32())
		switch rnd.IntN(3) {
		case 0:
			src, sp = from, UDP(b[head:]).SrcPort()
		case 1:
			dst, dp = to, UDP(b[head:]).DstPort()
		}
		want, header := bytes.Clone(b), bytes.Clone(b)
		IP(want).DecTTL()
		same := bytes.Clone(want)
		IP(same).SetSrc(src)
		IP(same).SetDst(dst)
		if IP(header).Onward(&src, &dst); !bytes.Equal(header, same) {
			t.Fatalf("packet %d, IPv6 %t: %x, want %x", i, v6, header, same)
		}
		RewriteBoth(IP(want), want[head:], proto, partial, &src, sp, &dst, dp)
		if v6 {
			Onward6(b, proto, partial, &src, &dst, uint32(sp)<<16|uint32(dp))
		} else {
			Onward4(b, proto, partial, binary.BigEndian.Uint32(src[12:]), binary.BigEndian.Uint32(dst[12:]), uint32(sp)<<16|uint32(dp))
		}
		if !bytes.Equal(b, want) {
			t.Fatalf("packet %d, protocol %d, IPv6 %t, partial %t:\n%x, want\n%x", i, proto, v6, partial, b, want)
		}
	}
}

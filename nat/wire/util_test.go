package wire

import (
	"flag"
	"math/rand/v2"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

var seedFlag = flag.Uint64("seed", 1, "seed of the random tests")

// rng returns a random source whose seed is logged if the test fails.
func rng(tb testing.TB) *rand.Rand {
	tb.Helper()
	tb.Logf("rerun with -seed=%d", *seedFlag)
	return rand.New(rand.NewPCG(*seedFlag, 0))
}

func randBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func rand4(r *rand.Rand) [4]byte   { return [4]byte(randBytes(r, 4)) }
func rand16(r *rand.Rand) [16]byte { return [16]byte(randBytes(r, 16)) }

// serialize has gopacket write a packet, with lengths and checksums.
func serialize(tb testing.TB, ls ...gopacket.SerializableLayer) []byte {
	tb.Helper()
	buf := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buf, opts, ls...); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

// transport is a layer 4 that gopacket can write.
type transport interface {
	gopacket.SerializableLayer
	SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
}

// layer4 returns a TCP, UDP or SCTP header with random fields.
func layer4(r *rand.Rand, proto uint8) gopacket.SerializableLayer {
	sp, dp := uint16(r.Uint32()), uint16(r.Uint32())
	switch proto {
	case ProtoTCP:
		t := &layers.TCP{
			SrcPort: layers.TCPPort(sp), DstPort: layers.TCPPort(dp),
			Seq: r.Uint32(), Ack: r.Uint32(), Window: uint16(r.Uint32()), Urgent: uint16(r.Uint32()),
			FIN: r.IntN(2) == 0, SYN: r.IntN(2) == 0, RST: r.IntN(2) == 0, PSH: r.IntN(2) == 0,
			ACK: r.IntN(2) == 0, URG: r.IntN(2) == 0, ECE: r.IntN(2) == 0, CWR: r.IntN(2) == 0,
		}
		if r.IntN(2) == 0 {
			t.Options = []layers.TCPOption{{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: randBytes(r, 2)}}
		}
		return t
	case ProtoUDP:
		return &layers.UDP{SrcPort: layers.UDPPort(sp), DstPort: layers.UDPPort(dp)}
	case ProtoSCTP:
		return &layers.SCTP{SrcPort: layers.SCTPPort(sp), DstPort: layers.SCTPPort(dp), VerificationTag: r.Uint32()}
	}
	panic("no such protocol")
}

// packet4 returns an IPv4 packet with random fields, sometimes with options.
func packet4(tb testing.TB, r *rand.Rand, proto uint8, payload []byte) []byte {
	tb.Helper()
	src, dst := rand4(r), rand4(r)
	ip := &layers.IPv4{
		Version: 4, TOS: uint8(r.Uint32()), Id: uint16(r.Uint32()), TTL: uint8(r.Uint32()),
		Flags: layers.IPv4DontFragment, Protocol: layers.IPProtocol(proto), SrcIP: src[:], DstIP: dst[:],
	}
	if r.IntN(4) == 0 {
		ip.Options = []layers.IPv4Option{{OptionType: 148, OptionLength: 4, OptionData: randBytes(r, 2)}}
	}
	l4 := layer4(r, proto)
	if t, ok := l4.(transport); ok {
		if err := t.SetNetworkLayerForChecksum(ip); err != nil {
			tb.Fatal(err)
		}
	}
	return serialize(tb, ip, l4, gopacket.Payload(payload))
}

// packet6 returns an IPv6 packet with random fields.
func packet6(tb testing.TB, r *rand.Rand, proto uint8, payload []byte) []byte {
	tb.Helper()
	src, dst := rand16(r), rand16(r)
	ip := &layers.IPv6{
		Version: 6, TrafficClass: uint8(r.Uint32()), FlowLabel: r.Uint32() & 0xfffff,
		HopLimit: uint8(r.Uint32()), NextHeader: layers.IPProtocol(proto), SrcIP: src[:], DstIP: dst[:],
	}
	l4 := layer4(r, proto)
	if t, ok := l4.(transport); ok {
		if err := t.SetNetworkLayerForChecksum(ip); err != nil {
			tb.Fatal(err)
		}
	}
	return serialize(tb, ip, l4, gopacket.Payload(payload))
}

// l4Right reports whether the layer-4 checksum is right, by recomputing it in
// full and the slow way. pseudo is the pseudo-header.
func l4Right(proto uint8, l4, pseudo []byte) bool {
	if proto == ProtoSCTP {
		return SCTP(l4).Checksum() == naiveCRC32c(l4)
	}
	if proto == ProtoUDP && UDP(l4).Checksum() == 0 {
		return false
	}
	return naiveSum(append(pseudo, l4...)) == 0xffff
}

// pseudo4 and pseudo6 return the pseudo-headers as bytes.
func pseudo4(ip IPv4, n int) []byte {
	src, dst := ip.Src(), ip.Dst()
	return append(append(append([]byte(nil), src[:]...), dst[:]...), 0, ip.Protocol(), byte(n>>8), byte(n))
}

func pseudo6(ip IPv6, proto uint8, n int) []byte {
	src, dst := ip.Src(), ip.Dst()
	return append(append(append([]byte(nil), src[:]...), dst[:]...),
		byte(n>>24), byte(n>>16), byte(n>>8), byte(n), 0, 0, 0, proto)
}

// naiveSum is RFC 1071 word by word: the sum of 16-bit words, carries added
// back at once.
func naiveSum(b []byte) uint16 {
	var sum uint32
	for i, v := range b {
		if i%2 == 0 {
			sum += uint32(v) << 8
		} else {
			sum += uint32(v)
		}
		if sum > 0xffff {
			sum -= 0xffff
		}
	}
	return uint16(sum)
}

// naiveCRC32c is the CRC bit by bit over a packet whose checksum field counts
// as 0 (RFC 9260, appendix A; polynomial reflected).
func naiveCRC32c(b []byte) uint32 {
	crc := ^uint32(0)
	for i, v := range b {
		if i >= sctpChecksum && i < SCTPLen {
			v = 0
		}
		crc ^= uint32(v)
		for range 8 {
			if crc&1 != 0 {
				crc = crc>>1 ^ 0x82f63b78
			} else {
				crc >>= 1
			}
		}
	}
	return ^crc
}

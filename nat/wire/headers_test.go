package wire

import (
	"bytes"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// decode has gopacket read a packet and fails on what it cannot read.
func decode(tb testing.TB, b []byte, first gopacket.LayerType) gopacket.Packet {
	tb.Helper()
	p := gopacket.NewPacket(b, first, gopacket.Default)
	if e := p.ErrorLayer(); e != nil {
		tb.Fatalf("gopacket: %v: %x", e.Error(), b)
	}
	return p
}

func TestEthernet(t *testing.T) {
	r := rng(t)
	for range 1000 {
		b := Ethernet(randBytes(r, 60))
		b.SetType(0x88b5) // local experimental: gopacket reads no further
		p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default)
		e := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
		dst, src := b.Dst(), b.Src()
		if !bytes.Equal(dst[:], e.DstMAC) || !bytes.Equal(src[:], e.SrcMAC) || b.Type() != uint16(e.EthernetType) {
			t.Fatalf("read %x %x %#04x, want %x %x %#04x", dst, src, b.Type(), e.DstMAC, e.SrcMAC, e.EthernetType)
		}
		if !bytes.Equal(b.Payload(), e.Payload) {
			t.Fatalf("payload %x, want %x", b.Payload(), e.Payload)
		}
		payload := append([]byte(nil), b.Payload()...)
		b.SetDst(src)
		b.SetSrc(dst)
		if b.Dst() != src || b.Src() != dst || b.Type() != 0x88b5 || !bytes.Equal(b.Payload(), payload) {
			t.Fatalf("after swapping the addresses: %x", []byte(b))
		}
	}
	if Ethernet(make([]byte, 13)).IsValid() || !Ethernet(make([]byte, 14)).IsValid() {
		t.Error("a header is valid from 14 bytes on")
	}
}

func TestVLAN(t *testing.T) {
	b := serialize(t,
		&layers.Dot1Q{Priority: 5, DropEligible: true, VLANIdentifier: 0xabc, Type: layers.EthernetTypeIPv6},
		gopacket.Payload("payload"))
	v := VLAN(b)
	if !v.IsValid() || v.ID() != 0xabc || v.Priority() != 5 || v.TCI() != 0xbabc || v.Type() != TypeIPv6 ||
		string(v.Payload()) != "payload" {
		t.Errorf("read %v %#x %d %#x %#x %q", v.IsValid(), v.ID(), v.Priority(), v.TCI(), v.Type(), v.Payload())
	}
	if VLAN(b[:3]).IsValid() {
		t.Error("three bytes are a valid tag")
	}
}

func TestARP(t *testing.T) {
	b := ARP(serialize(t, &layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4,
		HwAddressSize: 6, ProtAddressSize: 4, Operation: layers.ARPReply,
		SourceHwAddress: []byte{1, 2, 3, 4, 5, 6}, SourceProtAddress: []byte{10, 0, 0, 1},
		DstHwAddress: []byte{7, 8, 9, 10, 11, 12}, DstProtAddress: []byte{10, 0, 0, 2},
	}))
	if !b.IsValid() {
		t.Fatalf("not valid: %x", []byte(b))
	}
	if b.Op() != ARPReply || b.SenderMAC() != [6]byte{1, 2, 3, 4, 5, 6} || b.SenderIP() != [4]byte{10, 0, 0, 1} ||
		b.TargetMAC() != [6]byte{7, 8, 9, 10, 11, 12} || b.TargetIP() != [4]byte{10, 0, 0, 2} {
		t.Errorf("read %d %x %d %x %d", b.Op(), b.SenderMAC(), b.SenderIP(), b.TargetMAC(), b.TargetIP())
	}
	if b[:27].IsValid() {
		t.Error("27 bytes are valid")
	}
	for i := range 6 {
		bad := append(ARP(nil), b...)
		bad[i] ^= 0x10
		if bad.IsValid() {
			t.Errorf("valid with byte %d changed: %x", i, []byte(bad))
		}
	}
}

func TestIPv4AgainstGopacket(t *testing.T) {
	r := rng(t)
	for range 2000 {
		b := IPv4(packet4(t, r, ProtoUDP, randBytes(r, r.IntN(50))))
		if r.IntN(2) == 0 { // a fragment: gopacket reads no further
			b[ip4FlagsOff] = byte(r.IntN(8)<<5 | r.IntN(32))
			b[ip4FlagsOff+1] = byte(r.Uint32())
			b.SetChecksum(b.CalculateChecksum())
		}
		padded := append(append(IPv4(nil), b...), 0, 0, 0)
		p := gopacket.NewPacket(padded, layers.LayerTypeIPv4, gopacket.Default)
		g := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
		src, dst := b.Src(), b.Dst()
		switch {
		case !padded.IsValid(len(padded)), !b.IsValid(len(b)), b.IsValid(len(b) - 1):
			t.Fatalf("validity is wrong: %x", []byte(b))
		case b.HeaderLen() != int(g.IHL)*4, b.TotalLen() != int(g.Length), b.TOS() != g.TOS, b.ID() != g.Id,
			b.Flags()>>13 != uint16(g.Flags), b.FragmentOffset() != int(g.FragOffset)*8, b.TTL() != g.TTL,
			b.Protocol() != uint8(g.Protocol), b.Checksum() != g.Checksum,
			!bytes.Equal(src[:], g.SrcIP), !bytes.Equal(dst[:], g.DstIP):
			t.Fatalf("%x reads otherwise in gopacket: %+v", []byte(b), g)
		case b.DontFragment() != (g.Flags&layers.IPv4DontFragment != 0),
			b.MoreFragments() != (g.Flags&layers.IPv4MoreFragments != 0),
			b.Fragment() != (g.Flags&layers.IPv4MoreFragments != 0 || g.FragOffset != 0):
			t.Fatalf("flags of %x read otherwise in gopacket: %v", []byte(b), g.Flags)
		case !bytes.Equal(padded.Payload(), g.Payload):
			t.Fatalf("payload %x, want %x", padded.Payload(), g.Payload)
		case b.CalculateChecksum() != b.Checksum(), !b.ChecksumOK():
			t.Fatalf("checksum %#04x, computed %#04x", b.Checksum(), b.CalculateChecksum())
		}
		want := b.Checksum()
		b.SetChecksum(uint16(r.Uint32()))
		if b.CalculateChecksum() != want {
			t.Fatalf("the field's value counts: %#04x, want %#04x", b.CalculateChecksum(), want)
		}
		if b.Checksum() != want && b.ChecksumOK() {
			t.Fatalf("wrong checksum %#04x is OK", b.Checksum())
		}
	}
}

func TestIPv4IsValid(t *testing.T) {
	good := func() IPv4 {
		b := make(IPv4, 40)
		b.Encode(&IPv4Fields{TotalLen: 40, Protocol: ProtoUDP})
		return b
	}
	for _, tt := range []struct {
		name  string
		size  int
		spoil func(b IPv4)
		want  bool
	}{
		{"whole", 40, func(IPv4) {}, true},
		{"one byte short", 39, func(IPv4) {}, false},
		{"version 6", 40, func(b IPv4) { b[0] = 0x65 }, false},
		{"header of 16 bytes", 40, func(b IPv4) { b[0] = 0x44 }, false},
		{"header of 40 bytes, all of it", 40, func(b IPv4) { b[0] = 0x4a }, true},
		{"header longer than the packet", 40, func(b IPv4) { b[0] = 0x4b }, false},
		{"total length below the header", 40, func(b IPv4) { b[3] = 19 }, false},
		{"total length of the header", 40, func(b IPv4) { b[3] = 20 }, true},
		{"total length 0", 40, func(b IPv4) { b[3] = 0 }, false},
		{"total length above the size", 40, func(b IPv4) { b[3] = 41 }, false},
	} {
		b := good()
		tt.spoil(b)
		if got := b.IsValid(tt.size); got != tt.want {
			t.Errorf("%s: valid is %v", tt.name, got)
		}
	}
	for n := range IPv4MinLen {
		if good()[:n].IsValid(n) {
			t.Errorf("%d bytes are valid", n)
		}
	}
}

func TestIPv4EncodeAgainstGopacket(t *testing.T) {
	r := rng(t)
	for range 1000 {
		src, dst := rand4(r), rand4(r)
		f := IPv4Fields{
			TOS: uint8(r.Uint32()), TotalLen: 24, ID: uint16(r.Uint32()),
			Flags: uint16(r.IntN(4)) << 13, FragmentOffset: r.IntN(0x2000) * 8,
			TTL: uint8(r.Uint32()), Protocol: uint8(r.Uint32()), Src: src, Dst: dst,
		}
		want := serialize(t, &layers.IPv4{
			Version: 4, TOS: f.TOS, Id: f.ID, TTL: f.TTL, Protocol: layers.IPProtocol(f.Protocol),
			Flags: layers.IPv4Flag(f.Flags >> 13), FragOffset: uint16(f.FragmentOffset / 8), SrcIP: src[:], DstIP: dst[:],
		}, gopacket.Payload("1234"))
		got := IPv4(randBytes(r, 24)) // what was there before does not matter
		copy(got[20:], "1234")
		got.Encode(&f)
		if !bytes.Equal(got, want) {
			t.Fatalf("wrote %x\n want %x", []byte(got), want)
		}
	}
}

// TestIPv4Rewrite changes one field after the other: the checksum stays right
// if it was, and wrong by the same amount if it was not.
func TestIPv4Rewrite(t *testing.T) {
	r := rng(t)
	for range 10_000 {
		b := IPv4(packet4(t, r, ProtoUDP, nil))
		wrong := uint16(0)
		if r.IntN(2) == 0 {
			wrong = uint16(1 + r.IntN(0xfffe))
			b.SetChecksum(Fold(uint64(b.Checksum()) + uint64(wrong)))
		}
		ttl, src, dst := b.TTL(), rand4(r), rand4(r)
		b.DecTTL()
		b.SetSrc(src)
		b.SetDst(dst)
		if b.TTL() != ttl-1 || b.Src() != src || b.Dst() != dst {
			t.Fatalf("fields not set: %x", []byte(b))
		}
		want := b.CalculateChecksum()
		if wrong != 0 {
			want = Fold(uint64(want) + uint64(wrong))
		}
		if got := b.Checksum(); got%0xffff != want%0xffff {
			t.Fatalf("checksum %#04x, want %#04x (wrong by %#04x)", got, want, wrong)
		}
		if wrong == 0 && b.Checksum() != want {
			t.Fatalf("checksum %#04x has another form than %#04x", b.Checksum(), want)
		}
	}
}

// TestDecTTLForms compares with the kernel's ip_decrease_ttl
// (include/net/ip.h) for every checksum: add 0x0100, and 1 more on overflow or
// all ones.
func TestDecTTLForms(t *testing.T) {
	b := make(IPv4, IPv4MinLen)
	for c := range 0x10000 {
		b.Encode(&IPv4Fields{TTL: 64, Protocol: ProtoTCP})
		b.SetChecksum(uint16(c))
		b.DecTTL()
		want := c + 0x100
		if want >= 0xffff {
			want++
		}
		if got := b.Checksum(); got != uint16(want) {
			t.Fatalf("from %#04x: %#04x, want %#04x", c, got, uint16(want))
		}
	}
}

func TestIPv6AgainstGopacket(t *testing.T) {
	r := rng(t)
	for range 1000 {
		payload := randBytes(r, r.IntN(50))
		want := packet6(t, r, ProtoUDP, payload)
		b := IPv6(want)
		g := decode(t, want, layers.LayerTypeIPv6).Layer(layers.LayerTypeIPv6).(*layers.IPv6)
		src, dst := b.Src(), b.Dst()
		switch {
		case !b.IsValid(len(b)), b.IsValid(len(b) - 1):
			t.Fatalf("validity is wrong: %x", want)
		case b.TrafficClass() != g.TrafficClass, b.FlowLabel() != g.FlowLabel, b.PayloadLen() != int(g.Length),
			b.TotalLen() != len(want), b.NextHeader() != uint8(g.NextHeader), b.HopLimit() != g.HopLimit,
			!bytes.Equal(src[:], g.SrcIP), !bytes.Equal(dst[:], g.DstIP), !bytes.Equal(b.Payload(), g.Payload):
			t.Fatalf("%x reads otherwise in gopacket: %+v", want, g)
		}
		got := IPv6(randBytes(r, len(want)))
		copy(got[IPv6Len:], want[IPv6Len:])
		got.Encode(&IPv6Fields{
			TrafficClass: b.TrafficClass(), FlowLabel: b.FlowLabel(), PayloadLen: b.PayloadLen(),
			NextHeader: b.NextHeader(), HopLimit: b.HopLimit(), Src: src, Dst: dst,
		})
		if !bytes.Equal(got, want) {
			t.Fatalf("wrote %x\n want %x", []byte(got), want)
		}
		got.DecHopLimit()
		got.SetSrc(dst)
		got.SetDst(src)
		if got.HopLimit() != g.HopLimit-1 || got.Src() != dst || got.Dst() != src {
			t.Fatalf("fields not set: %x", []byte(got))
		}
	}
	b := make(IPv6, IPv6Len)
	b.Encode(&IPv6Fields{})
	if !b.IsValid(IPv6Len) || b[:39].IsValid(39) {
		t.Error("a header is valid from 40 bytes on")
	}
	b[0] = 0x45
	if b.IsValid(IPv6Len) {
		t.Error("version 4 is valid")
	}
}

func TestTCPAgainstGopacket(t *testing.T) {
	r := rng(t)
	for range 1000 {
		want := packet4(t, r, ProtoTCP, randBytes(r, r.IntN(50)))
		b := TCP(IPv4(want).Payload())
		g := decode(t, want, layers.LayerTypeIPv4).Layer(layers.LayerTypeTCP).(*layers.TCP)
		var flags uint8
		for i, on := range []bool{g.FIN, g.SYN, g.RST, g.PSH, g.ACK, g.URG, g.ECE, g.CWR} {
			if on {
				flags |= 1 << i
			}
		}
		switch {
		case !b.IsValid():
			t.Fatalf("not valid: %x", []byte(b))
		case b.SrcPort() != uint16(g.SrcPort), b.DstPort() != uint16(g.DstPort), b.Seq() != g.Seq, b.Ack() != g.Ack,
			b.HeaderLen() != int(g.DataOffset)*4, b.Flags() != flags, b.Window() != g.Window, b.Checksum() != g.Checksum,
			!bytes.Equal(b.Payload(), g.Payload):
			t.Fatalf("%x reads otherwise in gopacket: %+v", []byte(b), g)
		case !b.ChecksumOK4(IPv4(want).Src(), IPv4(want).Dst()):
			t.Fatalf("gopacket's checksum is wrong: %x", want)
		}
		b.SetChecksum(b.Checksum() + 1)
		if b.ChecksumOK4(IPv4(want).Src(), IPv4(want).Dst()) {
			t.Fatalf("wrong checksum is OK: %x", want)
		}

		got := TCP(randBytes(r, TCPMinLen))
		got.Encode(&TCPFields{
			SrcPort: b.SrcPort(), DstPort: b.DstPort(), Seq: b.Seq(), Ack: b.Ack(), Flags: b.Flags(), Window: b.Window(),
		})
		bare := *g
		bare.Options, bare.Padding, bare.Urgent, bare.Checksum = nil, nil, 0, 0
		buf := gopacket.NewSerializeBuffer()
		if err := bare.SerializeTo(buf, gopacket.SerializeOptions{FixLengths: true}); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, buf.Bytes()) {
			t.Fatalf("wrote %x\n want %x", []byte(got), buf.Bytes())
		}
	}
	p6 := IPv6(packet6(t, r, ProtoTCP, []byte("odd")))
	seg := TCP(p6.Payload())
	if !seg.ChecksumOK6(p6.Src(), p6.Dst()) {
		t.Error("IPv6: gopacket's checksum is wrong")
	}
	seg[len(seg)-1] ^= 1
	if seg.ChecksumOK6(p6.Src(), p6.Dst()) {
		t.Error("IPv6: wrong checksum is OK")
	}
}

func TestTCPIsValid(t *testing.T) {
	for _, tt := range []struct {
		size int
		off  byte
		want bool
	}{
		{20, 5, true},
		{19, 5, false},
		{20, 4, false},
		{20, 0, false},
		{20, 6, false},
		{60, 15, true},
		{59, 15, false},
		{0, 5, false},
	} {
		b := make(TCP, tt.size)
		if tt.size > tcpDataOff {
			b[tcpDataOff] = tt.off << 4
		}
		if got := b.IsValid(); got != tt.want {
			t.Errorf("%d bytes with a header of %d words: valid is %v", tt.size, tt.off, got)
		}
	}
}

func TestUDPAgainstGopacket(t *testing.T) {
	r := rng(t)
	for range 1000 {
		want := packet4(t, r, ProtoUDP, randBytes(r, r.IntN(50)))
		b := UDP(IPv4(want).Payload())
		g := decode(t, want, layers.LayerTypeIPv4).Layer(layers.LayerTypeUDP).(*layers.UDP)
		if !b.IsValid() || b.SrcPort() != uint16(g.SrcPort) || b.DstPort() != uint16(g.DstPort) ||
			b.Length() != int(g.Length) || b.Checksum() != g.Checksum || !bytes.Equal(b.Payload(), g.Payload) {
			t.Fatalf("%x reads otherwise in gopacket: %+v", []byte(b), g)
		}
		got := UDP(randBytes(r, UDPLen))
		got.Encode(&UDPFields{SrcPort: b.SrcPort(), DstPort: b.DstPort(), Length: b.Length(), Checksum: b.Checksum()})
		if !bytes.Equal(got, b[:UDPLen]) {
			t.Fatalf("wrote %x, want %x", []byte(got), []byte(b[:UDPLen]))
		}
	}
	for _, tt := range []struct {
		size, length int
		want         bool
	}{{8, 8, true}, {7, 8, false}, {8, 7, false}, {8, 9, false}, {12, 9, true}, {12, 0, false}} {
		b := make(UDP, 12)
		b.Encode(&UDPFields{Length: tt.length})
		if got := b[:tt.size].IsValid(); got != tt.want {
			t.Errorf("%d bytes with length %d: valid is %v", tt.size, tt.length, got)
		}
	}
}

func TestSCTPAgainstGopacket(t *testing.T) {
	r := rng(t)
	for range 1000 {
		data := randBytes(r, 4*r.IntN(12))
		want := packet4(t, r, ProtoSCTP, data)
		b := SCTP(IPv4(want).Payload())
		p := gopacket.NewPacket(want, layers.LayerTypeIPv4, gopacket.Default)
		g := p.Layer(layers.LayerTypeSCTP).(*layers.SCTP)
		if !b.IsValid() || b.SrcPort() != uint16(g.SrcPort) || b.DstPort() != uint16(g.DstPort) || b.Tag() != g.VerificationTag {
			t.Fatalf("%x reads otherwise in gopacket: %+v", []byte(b), g)
		}
		if b.CalculateChecksum() != naiveCRC32c(b) {
			t.Fatalf("CRC32c %#08x, want %#08x", b.CalculateChecksum(), naiveCRC32c(b))
		}
	}
	if SCTP(make([]byte, 11)).IsValid() || !SCTP(make([]byte, 12)).IsValid() {
		t.Error("a header is valid from 12 bytes on")
	}
}

// TestSCTPChecksumVector is CRC32c's check value, 0xe3069283 for "123456789",
// put where the checksum's own four zero bytes do not disturb it: the CRC of
// the packet is compared with one computed bit by bit, and that with the value.
func TestSCTPChecksumVector(t *testing.T) {
	crc := ^uint32(0)
	for _, v := range []byte("123456789") {
		crc ^= uint32(v)
		for range 8 {
			crc = crc>>1 ^ 0x82f63b78*(crc&1)
		}
	}
	if ^crc != 0xe3069283 {
		t.Errorf("the test's own CRC32c is %#08x", ^crc)
	}
	b := SCTP(append([]byte("abcdefghWXYZ"), "data"...))
	b.SetChecksum(b.CalculateChecksum())
	if b.Checksum() != naiveCRC32c(b) || b[8] != byte(b.Checksum()) {
		t.Errorf("checksum %#08x stands as %x", b.Checksum(), []byte(b[8:12]))
	}
}

func TestSCTPChunks(t *testing.T) {
	head := make([]byte, SCTPLen)
	abort := []byte{SCTPAbort, 0, 0, 4}
	for _, tt := range []struct {
		name          string
		chunks        []byte
		first, second uint8
		ok            bool
	}{
		{"none", nil, 0, 0, false},
		{"half a chunk header", []byte{SCTPInit, 0, 0}, 0, 0, false},
		{"INIT", []byte{SCTPInit, 0, 0, 20}, SCTPInit, 0, true},
		{"a first chunk of length 0", []byte{SCTPInit, 0, 0, 0}, SCTPInit, 0, true},
		{"ABORT behind DATA does not count", append([]byte{SCTPData, 0, 0, 4}, abort...), SCTPData, 0, true},
		{"ABORT behind COOKIE ACK", append([]byte{SCTPCookieAck, 0, 0, 4}, abort...), SCTPCookieAck, SCTPAbort, true},
		{"ABORT behind padding", append([]byte{SCTPCookieEcho, 0, 0, 5, 'x', 0, 0, 0}, abort...), SCTPCookieEcho, SCTPAbort, true},
		{"a cookie of length 3", append([]byte{SCTPCookieEcho, 0, 0, 3}, abort...), SCTPCookieEcho, 0, true},
		{"a cookie longer than the packet", append([]byte{SCTPCookieEcho, 0, 0xff, 0xff}, abort...), SCTPCookieEcho, 0, true},
		{"half an ABORT", append([]byte{SCTPCookieEcho, 0, 0, 4}, abort[:3]...), SCTPCookieEcho, 0, true},
		{"SACK behind COOKIE ACK", []byte{SCTPCookieAck, 0, 0, 4, SCTPSack, 0, 0, 16}, SCTPCookieAck, SCTPSack, true},
	} {
		first, second, ok := SCTP(append(head[:SCTPLen:SCTPLen], tt.chunks...)).Chunks()
		if first != tt.first || second != tt.second || ok != tt.ok {
			t.Errorf("%s: %d, %d, %v; want %d, %d, %v", tt.name, first, second, ok, tt.first, tt.second, tt.ok)
		}
	}
}

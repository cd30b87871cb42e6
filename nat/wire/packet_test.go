package wire

import (
	"bytes"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// frame puts an Ethernet header before a packet; ethertypes are those of the
// tags and then that of the packet.
func frame(p []byte, ethertypes ...uint16) []byte {
	b := make([]byte, EthernetLen)
	for i, typ := range ethertypes {
		if i > 0 {
			b = append(b, 0x20, byte(i), 0, 0)
		}
		b[len(b)-2], b[len(b)-1] = byte(typ>>8), byte(typ)
	}
	return append(b, p...)
}

// mapped returns an IPv4 address as an IPv4-mapped IPv6 address.
func mapped(a [4]byte) [16]byte {
	return [16]byte{10: 0xff, 11: 0xff, 12: a[0], 13: a[1], 14: a[2], 15: a[3]}
}

// ext6 returns an IPv6 packet between two fixed hosts. chain is what follows
// the IPv6 header, and next the number of its first header.
func ext6(next uint8, chain ...[]byte) []byte {
	l := bytes.Join(chain, nil)
	b := make(IPv6, IPv6Len)
	b.Encode(&IPv6Fields{PayloadLen: len(l), NextHeader: next, HopLimit: 64, Src: [16]byte{1}, Dst: [16]byte{2}})
	return append(b, l...)
}

func TestParse(t *testing.T) {
	tcp := make(TCP, TCPMinLen)
	tcp.Encode(&TCPFields{SrcPort: 1000, DstPort: 80, Flags: SYN | ECE})
	udp := make(UDP, UDPLen)
	udp.Encode(&UDPFields{SrcPort: 53, DstPort: 5353, Length: 0}) // the length field is not looked at
	echo := []byte{8, 3, 0, 0, 0, 0, 0, 0}
	echo6 := []byte{128, 1, 0, 0, 0, 0, 0, 0}
	src4, dst4 := mapped([4]byte{10, 0, 0, 1}), mapped([4]byte{10, 0, 0, 2})
	src6, dst6 := [16]byte{1}, [16]byte{2}

	frag4 := func(proto uint8, off int, mf uint16, l4 []byte) []byte {
		b := answerable(proto, l4)
		b.Encode(&IPv4Fields{
			TotalLen: len(b), ID: 0xbeef, Flags: mf, FragmentOffset: off, Protocol: proto, Src: b.Src(), Dst: b.Dst(),
		})
		return b
	}
	spoil := func(b []byte, at int, v byte) []byte {
		b = bytes.Clone(b)
		b[at] = v
		return b
	}
	options := answerable(ProtoTCP, append([]byte{1, 1, 1, 1}, tcp...))
	options[0] = 0x46

	hop := []byte{extRouting, 0, 1, 4, 0, 0, 0, 0}                                                 // then routing
	routing := []byte{extDestOpts, 1, 0, 0, 0, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9}                    // then options
	opts := func(next uint8) []byte { return []byte{next, 0, 1, 4, 0, 0, 0, 0} }                   // 8 bytes
	ah := []byte{ProtoTCP, 4, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3}    // 24 bytes
	frag := func(next, hi, lo byte) []byte { return []byte{next, 0, hi, lo, 0xde, 0xad, 0, 1} }    // id 0xdead0001
	deep := func(n int) [][]byte { return append(repeat(opts(extDestOpts), n-1), opts(ProtoTCP)) } // n headers

	for _, tt := range []struct {
		name string
		eth  []byte
		want Result
		p    Packet
	}{
		{
			"TCP", frame(answerable(ProtoTCP, tcp), TypeIPv4), Parsed,
			Packet{L3: 14, L4: 34, End: 54, Src: src4, Dst: dst4, SrcPort: 1000, DstPort: 80, Proto: ProtoTCP, TCPFlags: SYN | ECE},
		},
		{
			"TCP with a padded frame", append(frame(answerable(ProtoTCP, tcp), TypeIPv4), 1, 2, 3, 4, 5, 6), Parsed,
			Packet{L3: 14, L4: 34, End: 54, Src: src4, Dst: dst4, SrcPort: 1000, DstPort: 80, Proto: ProtoTCP, TCPFlags: SYN | ECE},
		},
		{
			"IPv4 options", frame(options, TypeIPv4), Parsed,
			Packet{L3: 14, L4: 38, End: 58, Src: src4, Dst: dst4, SrcPort: 1000, DstPort: 80, Proto: ProtoTCP, TCPFlags: SYN | ECE},
		},
		{
			"UDP in a VLAN", frame(answerable(ProtoUDP, udp), TypeVLAN, TypeIPv4), Parsed,
			Packet{L3: 18, L4: 38, End: 46, Src: src4, Dst: dst4, SrcPort: 53, DstPort: 5353, Proto: ProtoUDP},
		},
		{
			"SCTP in two tags", frame(answerable(ProtoSCTP, append(udp, 0, 0, 0, 0)), TypeQinQ, TypeVLAN, TypeIPv4), Parsed,
			Packet{L3: 22, L4: 42, End: 54, Src: src4, Dst: dst4, SrcPort: 53, DstPort: 5353, Proto: ProtoSCTP},
		},
		{"three tags", frame(answerable(ProtoTCP, tcp), TypeQinQ, TypeVLAN, TypeVLAN, TypeIPv4), NotIP, Packet{}},
		{
			"ICMP", frame(answerable(ProtoICMP, echo), TypeIPv4), Parsed,
			Packet{L3: 14, L4: 34, End: 42, Src: src4, Dst: dst4, Proto: ProtoICMP, ICMPType: 8, ICMPCode: 3},
		},
		{
			"ICMPv6 in IPv4", frame(answerable(ProtoICMPv6, echo), TypeIPv4), OtherProtocol,
			Packet{L3: 14, L4: 34, End: 42, Src: src4, Dst: dst4, Proto: ProtoICMPv6},
		},
		{
			"ESP", frame(answerable(ProtoESP, nil), TypeIPv4), OtherProtocol,
			Packet{L3: 14, L4: 34, End: 34, Src: src4, Dst: dst4, Proto: ProtoESP},
		},
		{
			"first fragment", frame(frag4(ProtoUDP, 0, IPv4MoreFragments, udp), TypeIPv4), Parsed,
			Packet{
				L3: 14, L4: 34, End: 42, Src: src4, Dst: dst4, SrcPort: 53, DstPort: 5353, Proto: ProtoUDP,
				Frag: true, FirstFrag: true, MoreFrags: true, FragID: 0xbeef,
			},
		},
		{
			"middle fragment", frame(frag4(ProtoUDP, 8, IPv4MoreFragments, udp), TypeIPv4), LaterFragment,
			Packet{L3: 14, L4: 34, End: 42, Src: src4, Dst: dst4, Proto: ProtoUDP, Frag: true, MoreFrags: true, FragOff: 8, FragID: 0xbeef},
		},
		{
			"last fragment", frame(frag4(ProtoTCP, 65528, 0, nil), TypeIPv4), LaterFragment,
			Packet{L3: 14, L4: 34, End: 34, Src: src4, Dst: dst4, Proto: ProtoTCP, Frag: true, FragOff: 65528, FragID: 0xbeef},
		},
		{
			"don't fragment", frame(frag4(ProtoUDP, 0, IPv4DontFragment, udp), TypeIPv4), Parsed,
			Packet{L3: 14, L4: 34, End: 42, Src: src4, Dst: dst4, SrcPort: 53, DstPort: 5353, Proto: ProtoUDP, FragID: 0xbeef},
		},
		{"ARP", frame(make([]byte, ARPLen), TypeARP), NotIP, Packet{}},
		{"version 6 in an IPv4 frame", frame(ext6(ProtoTCP, tcp), TypeIPv4), BadHeader, Packet{}},
		{"version 4 in an IPv6 frame", frame(answerable(ProtoTCP, append(tcp, tcp...)), TypeIPv6), BadHeader, Packet{}},
		{"header length 16", frame(spoil(answerable(ProtoTCP, tcp), 0, 0x44), TypeIPv4), BadHeader, Packet{}},
		{"header longer than the frame", frame(spoil(spoil(answerable(ProtoTCP, nil), 0, 0x46), 3, 24), TypeIPv4), Truncated, Packet{}},
		{"header longer than the packet", frame(spoil(answerable(ProtoTCP, tcp), 3, 19), TypeIPv4), BadHeader, Packet{}},
		{"packet longer than the frame", frame(spoil(answerable(ProtoTCP, tcp), 3, 41), TypeIPv4), Truncated, Packet{}},
		{"no Ethernet header", make([]byte, 13), Truncated, Packet{}},
		{"no tag", frame(nil, TypeVLAN), Truncated, Packet{}},
		{"no IPv4 header", frame(make([]byte, 19), TypeIPv4), Truncated, Packet{}},
		{"no IPv6 header", frame(make([]byte, 39), TypeIPv6), Truncated, Packet{}},

		{
			"IPv6 TCP", frame(ext6(ProtoTCP, tcp), TypeIPv6), Parsed,
			Packet{L3: 14, L4: 54, End: 74, V6: true, Src: src6, Dst: dst6, SrcPort: 1000, DstPort: 80, Proto: ProtoTCP, TCPFlags: SYN | ECE},
		},
		{
			"IPv6 ICMPv6, padded", append(frame(ext6(ProtoICMPv6, echo6), TypeVLAN, TypeIPv6), 9), Parsed,
			Packet{L3: 18, L4: 58, End: 66, V6: true, Src: src6, Dst: dst6, Proto: ProtoICMPv6, ICMPType: 128, ICMPCode: 1},
		},
		{
			"ICMP in IPv6", frame(ext6(ProtoICMP, echo), TypeIPv6), OtherProtocol,
			Packet{L3: 14, L4: 54, End: 62, V6: true, Src: src6, Dst: dst6, Proto: ProtoICMP},
		},
		{
			"IPv6 with hop-by-hop, routing, options", frame(ext6(extHopByHop, hop, routing, opts(ProtoUDP), udp), TypeIPv6), Parsed,
			Packet{L3: 14, L4: 86, End: 94, V6: true, Src: src6, Dst: dst6, SrcPort: 53, DstPort: 5353, Proto: ProtoUDP},
		},
		{
			"IPv6 authentication header", frame(ext6(ProtoAH, ah, tcp), TypeIPv6), Parsed,
			Packet{L3: 14, L4: 78, End: 98, V6: true, Src: src6, Dst: dst6, SrcPort: 1000, DstPort: 80, Proto: ProtoTCP, TCPFlags: SYN | ECE},
		},
		{
			"IPv6 ESP", frame(ext6(ProtoESP, tcp), TypeIPv6), OtherProtocol,
			Packet{L3: 14, L4: 54, End: 74, V6: true, Src: src6, Dst: dst6, Proto: ProtoESP},
		},
		{
			"IPv6 no next header", frame(ext6(ProtoNoNext), TypeIPv6), OtherProtocol,
			Packet{L3: 14, L4: 54, End: 54, V6: true, Src: src6, Dst: dst6, Proto: ProtoNoNext},
		},
		{
			"IPv6 first fragment", frame(ext6(extFragment, frag(ProtoUDP, 0, 1), udp), TypeIPv6), Parsed,
			Packet{
				L3: 14, L4: 62, End: 70, V6: true, Src: src6, Dst: dst6, SrcPort: 53, DstPort: 5353, Proto: ProtoUDP,
				Frag: true, FirstFrag: true, MoreFrags: true, FragID: 0xdead0001,
			},
		},
		{
			"IPv6 later fragment", frame(ext6(extFragment, frag(ProtoUDP, 0, 8), []byte{1}), TypeIPv6), LaterFragment,
			Packet{L3: 14, L4: 62, End: 63, V6: true, Src: src6, Dst: dst6, Proto: ProtoUDP, Frag: true, FragOff: 8, FragID: 0xdead0001},
		},
		{
			"IPv6 later fragment that names an extension", frame(ext6(extFragment, frag(extDestOpts, 0, 8), []byte{1}), TypeIPv6), LaterFragment,
			Packet{L3: 14, L4: 62, End: 63, V6: true, Src: src6, Dst: dst6, Proto: extDestOpts, Frag: true, FragOff: 8, FragID: 0xdead0001},
		},
		{
			"IPv6 atomic fragment", frame(ext6(extFragment, frag(ProtoUDP, 0, 0), udp), TypeIPv6), Parsed,
			Packet{L3: 14, L4: 62, End: 70, V6: true, Src: src6, Dst: dst6, SrcPort: 53, DstPort: 5353, Proto: ProtoUDP, FragID: 0xdead0001},
		},
		{
			"IPv6 seven extension headers", frame(ext6(extDestOpts, append(deep(7), tcp)...), TypeIPv6), Parsed,
			Packet{L3: 14, L4: 110, End: 130, V6: true, Src: src6, Dst: dst6, SrcPort: 1000, DstPort: 80, Proto: ProtoTCP, TCPFlags: SYN | ECE},
		},
		{"IPv6 too many extension headers", frame(ext6(extDestOpts, append(deep(8), tcp)...), TypeIPv6), BadHeader, Packet{}},
		{"IPv6 extension cut", frame(ext6(extDestOpts, opts(ProtoTCP)[:7]), TypeIPv6), Truncated, Packet{}},
		{"IPv6 extension longer than the packet", frame(ext6(extRouting, routing[:8]), TypeIPv6), Truncated, Packet{}},
		{"IPv6 packet longer than the frame", frame(ext6(ProtoTCP, tcp)[:59], TypeIPv6), Truncated, Packet{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := Packet{L3: -1, Frag: true, FirstFrag: true, V6: true, ICMPType: 99, TCPFlags: 0xff, FragID: 7} // of the frame before
			if got := p.Parse(tt.eth); got != tt.want {
				t.Fatalf("result is %v, want %v", got, tt.want)
			}
			if tt.want != Truncated && tt.want != BadHeader && p != tt.p {
				t.Errorf("got  %+v\nwant %+v", p, tt.p)
			}
		})
	}
}

func repeat(b []byte, n int) (r [][]byte) {
	for range n {
		r = append(r, b)
	}
	return r
}

// TestParseNeedsFixedHeader cuts layer 4 to every length.
func TestParseNeedsFixedHeader(t *testing.T) {
	for _, tt := range []struct {
		proto        uint8
		whole, quote int
	}{{ProtoTCP, 20, 4}, {ProtoUDP, 8, 4}, {ProtoSCTP, 12, 4}, {ProtoICMP, 8, 8}, {ProtoICMPv6, 8, 8}} {
		for n := range 30 {
			want := func(least int) Result {
				if n < least {
					return Truncated
				}
				return Parsed
			}
			p4, p6 := answerable(tt.proto, make([]byte, n)), ext6(tt.proto, make([]byte, n))
			var p Packet
			if tt.proto != ProtoICMPv6 {
				if got := p.Parse(frame(p4, TypeIPv4)); got != want(tt.whole) {
					t.Errorf("protocol %d, %d bytes over IPv4: %v", tt.proto, n, got)
				}
				if got := p.ParseQuoted(p4, 0, false); got != want(tt.quote) {
					t.Errorf("protocol %d, %d bytes quoted over IPv4: %v", tt.proto, n, got)
				}
			}
			if tt.proto != ProtoICMP {
				if got := p.Parse(frame(p6, TypeIPv6)); got != want(tt.whole) {
					t.Errorf("protocol %d, %d bytes over IPv6: %v", tt.proto, n, got)
				}
				if got := p.ParseQuoted(p6, 0, true); got != want(tt.quote) {
					t.Errorf("protocol %d, %d bytes quoted over IPv6: %v", tt.proto, n, got)
				}
			}
		}
	}
}

func TestParseQuoted(t *testing.T) {
	seg := make(TCP, TCPMinLen)
	seg.Encode(&TCPFields{SrcPort: 80, DstPort: 1000, Flags: ACK})
	p4 := answerable(ProtoTCP, append(seg, make([]byte, 500)...))
	b := append(make([]byte, 42), p4[:28]...)
	var p Packet
	if got := p.ParseQuoted(b, 42, false); got != Parsed {
		t.Fatalf("eight bytes quoted: %v", got)
	}
	want := Packet{
		L3: 42, L4: 62, End: 70, SrcPort: 80, DstPort: 1000, Proto: ProtoTCP,
		Src: mapped([4]byte{10, 0, 0, 1}), Dst: mapped([4]byte{10, 0, 0, 2}),
	}
	if p != want {
		t.Errorf("got  %+v\nwant %+v", p, want)
	}
	if got := p.ParseQuoted(append(make([]byte, 42), p4[:34]...), 42, false); got != Parsed || p.TCPFlags != ACK {
		t.Errorf("14 bytes quoted: %v, flags %#02x", got, p.TCPFlags)
	}
	if got := p.ParseQuoted(b, len(b), false); got != Truncated {
		t.Errorf("nothing quoted: %v", got)
	}
	if got := p.ParseQuoted(b, len(b)+1, false); got != Truncated {
		t.Errorf("behind the end: %v", got)
	}
	if got := p.ParseQuoted(b, 42, true); got != Truncated && got != BadHeader {
		t.Errorf("IPv4 quoted by ICMPv6: %v", got)
	}
	later := bytes.Clone(p4[:24])
	later[ip4FlagsOff+1] = 1
	if got := p.ParseQuoted(later, 0, false); got != LaterFragment {
		t.Errorf("later fragment: %v", got)
	}
	long := bytes.Clone(p4)
	long[ip4TotalLen+1], long[ip4TotalLen] = 19, 0
	if got := p.ParseQuoted(long, 0, false); got != BadHeader {
		t.Errorf("total length below the header's: %v", got)
	}
}

func TestParseAgainstGopacket(t *testing.T) {
	r := rng(t)
	for i := range 3000 {
		proto := protos[i%3]
		typ, b := TypeIPv4, []byte(nil)
		if i%2 == 0 {
			typ, b = TypeIPv6, packet6(t, r, proto, randBytes(r, 8))
		} else {
			b = packet4(t, r, proto, randBytes(r, 8))
		}
		eth := frame(b, typ)
		var p Packet
		if got := p.Parse(eth); got != Parsed {
			t.Fatalf("%v: %x", got, eth)
		}
		g := gopacket.NewPacket(eth, layers.LayerTypeEthernet, gopacket.Default)
		nw, tr := g.NetworkLayer(), g.TransportLayer()
		src, dst := nw.NetworkFlow().Endpoints()
		sp, dp := tr.TransportFlow().Endpoints()
		skip := 0
		if !p.V6 {
			skip = 12
		}
		if !bytes.Equal(p.Src[skip:], src.Raw()) || !bytes.Equal(p.Dst[skip:], dst.Raw()) ||
			!bytes.Equal([]byte{byte(p.SrcPort >> 8), byte(p.SrcPort)}, sp.Raw()) ||
			!bytes.Equal([]byte{byte(p.DstPort >> 8), byte(p.DstPort)}, dp.Raw()) {
			t.Fatalf("%+v\ngopacket: %v", p, g)
		}
		if !bytes.Equal(eth[p.L3:p.L4], nw.LayerContents()) || !bytes.Equal(eth[p.L4:p.End], nw.LayerPayload()) {
			t.Fatalf("offsets %d %d %d of %x", p.L3, p.L4, p.End, eth)
		}
	}
}

func TestResultNames(t *testing.T) {
	seen := map[string]bool{}
	for r := Parsed; r < resultEnd; r++ {
		if s := r.String(); s == "" || s == "invalid" || seen[s] {
			t.Errorf("result %d is named %q", r, s)
		} else {
			seen[s] = true
		}
	}
	if Result(0).String() != "invalid" || resultEnd.String() != "invalid" || Result(255).String() != "invalid" {
		t.Error("values outside the enum have a name")
	}
}

func BenchmarkParse(b *testing.B) {
	seg := make(TCP, TCPMinLen)
	seg.Encode(&TCPFields{})
	for _, bb := range []struct {
		name string
		eth  []byte
	}{
		{"ipv4-tcp", frame(answerable(ProtoTCP, seg), TypeIPv4)},
		{"ipv6-tcp", frame(ext6(ProtoTCP, seg), TypeIPv6)},
	} {
		b.Run(bb.name, func(b *testing.B) {
			var p Packet
			for b.Loop() {
				p.Parse(bb.eth)
			}
		})
	}
}

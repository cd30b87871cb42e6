package wire

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// seeds gives a fuzz target whole packets of each kind and their beginnings.
func seeds(f *testing.F, add func(b []byte)) {
	r := rng(f)
	for _, proto := range protos {
		for _, p := range [][]byte{packet4(f, r, proto, []byte("payload.")), packet6(f, r, proto, []byte("payload."))} {
			add(p)
			add(p[:len(p)-8])
			add(p[:IPv4MinLen])
		}
	}
	add(ext6(extHopByHop, []byte{extFragment, 0, 1, 4, 0, 0, 0, 0}, []byte{ProtoUDP, 0, 0, 1, 1, 2, 3, 4}, make([]byte, 8)))
	add(ext6(ProtoAH, make([]byte, 24)))
	add(unhex(f, recordedPortUnreachable))
	add(nil)
}

// FuzzParse checks that a parse never leaves the frame, and says what the
// headers' own methods say.
func FuzzParse(f *testing.F) {
	seeds(f, func(b []byte) {
		f.Add(frame(b, TypeIPv4))
		f.Add(frame(b, TypeVLAN, TypeIPv6))
	})
	f.Fuzz(func(t *testing.T, b []byte) {
		var p, again Packet
		res := p.Parse(b)
		again.TCPFlags, again.Frag = 0xff, true
		if again.Parse(b) != res || again != p {
			t.Fatal("a second parse says otherwise")
		}
		checkParse(t, b, &p, res)
		if res != Parsed && res != LaterFragment && res != OtherProtocol {
			return
		}
		if p.V6 {
			ip := IPv6(b[p.L3:])
			if !ip.IsValid(len(ip)) || ip.Src() != p.Src || p.End != p.L3+ip.TotalLen() {
				t.Fatalf("%+v", p)
			}
		} else {
			ip := IPv4(b[p.L3:])
			if !ip.IsValid(len(ip)) || mapped(ip.Src()) != p.Src || p.End != p.L3+ip.TotalLen() || p.Frag != ip.Fragment() {
				t.Fatalf("%+v", p)
			}
		}
	})
}

// FuzzParseQuoted is FuzzParse for what ICMP errors quote.
func FuzzParseQuoted(f *testing.F) {
	seeds(f, func(b []byte) {
		f.Add(b, 0, false)
		f.Add(append(make([]byte, 42), b...), 42, true)
	})
	f.Fuzz(func(t *testing.T, b []byte, off int, v6 bool) {
		if off < 0 {
			return // an offset is the caller's, not the network's
		}
		var p Packet
		checkParse(t, b, &p, p.ParseQuoted(b, off, v6))
	})
}

func checkParse(t *testing.T, b []byte, p *Packet, res Result) {
	t.Helper()
	switch res {
	case Parsed, LaterFragment, OtherProtocol:
		if p.L3 < 0 || p.L4 < p.L3 || p.End < p.L4 || p.End > len(b) {
			t.Fatalf("offsets %d, %d, %d in %d bytes", p.L3, p.L4, p.End, len(b))
		}
		if (res == LaterFragment) != (p.Frag && !p.FirstFrag) || p.FirstFrag && !p.Frag {
			t.Fatalf("%v, but fragment %v, first %v", res, p.Frag, p.FirstFrag)
		}
		if res == Parsed && hasPorts(p.Proto) &&
			(p.SrcPort != binary.BigEndian.Uint16(b[p.L4:p.End]) || p.DstPort != binary.BigEndian.Uint16(b[p.L4+2:p.End])) {
			t.Fatalf("ports %d, %d of %x", p.SrcPort, p.DstPort, b[p.L4:p.End])
		}
	case NotIP, Truncated, BadHeader:
	default:
		t.Fatalf("result %d", res)
	}
}

// FuzzHeaders calls every accessor behind its IsValid.
func FuzzHeaders(f *testing.F) {
	seeds(f, func(b []byte) { f.Add(b) })
	f.Add([]byte{0, 1, 8, 0, 6, 4, 0, 1, 1, 2, 3, 4, 5, 6, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2})
	f.Fuzz(func(t *testing.T, in []byte) {
		if b := Ethernet(bytes.Clone(in)); b.IsValid() {
			b.SetDst(b.Src())
			b.SetSrc(b.Dst())
			b.SetType(b.Type())
			_ = b.Payload()
		}
		if b := VLAN(in); b.IsValid() {
			_, _, _, _, _ = b.TCI(), b.ID(), b.Priority(), b.Type(), b.Payload()
		}
		if b := ARP(in); b.IsValid() {
			_, _, _, _, _ = b.Op(), b.SenderIP(), b.SenderMAC(), b.TargetIP(), b.TargetMAC()
		}
		if b := IPv4(bytes.Clone(in)); b.IsValid(len(b)) {
			good := b.ChecksumOK()
			if good != (b.CalculateChecksum()%0xffff == b.Checksum()%0xffff) {
				t.Fatalf("checksum OK is %v, field %#04x, computed %#04x", good, b.Checksum(), b.CalculateChecksum())
			}
			if len(b.Payload()) != b.TotalLen()-b.HeaderLen() {
				t.Fatalf("payload of %d bytes", len(b.Payload()))
			}
			_, _, _, _, _ = b.TOS(), b.ID(), b.Flags(), b.TTL(), b.Protocol()
			_, _, _ = b.DontFragment(), b.MoreFragments(), b.FragmentOffset()
			b.DecTTL()
			b.SetSrc(b.Dst())
			b.SetDst([4]byte{1, 2, 3, 4})
			if b.ChecksumOK() != good {
				t.Fatalf("checksum was OK: %v, is: %v", good, !good)
			}
		}
		if b := IPv6(bytes.Clone(in)); b.IsValid(len(b)) {
			_, _, _, _ = b.TrafficClass(), b.FlowLabel(), b.NextHeader(), b.Payload()
			b.SetSrc(b.Dst())
			b.SetDst(b.Src())
			b.DecHopLimit()
			if u, r := b.Upper(); r == Parsed && (u.Offset < IPv6Len || u.Offset > b.TotalLen()) {
				t.Fatalf("upper layer at %d of %d bytes", u.Offset, b.TotalLen())
			}
		}
		if b := TCP(in); b.IsValid() {
			_, _, _, _, _, _, _ = b.SrcPort(), b.DstPort(), b.Seq(), b.Ack(), b.Flags(), b.Window(), b.Payload()
			_ = b.ChecksumOK4([4]byte{1}, [4]byte{2})
		}
		if b := UDP(in); b.IsValid() {
			_, _, _, _ = b.SrcPort(), b.DstPort(), b.Checksum(), b.Payload()
		}
		if b := SCTP(in); b.IsValid() {
			if b.CalculateChecksum() != naiveCRC32c(b) {
				t.Fatalf("CRC32c %#08x, want %#08x", b.CalculateChecksum(), naiveCRC32c(b))
			}
			_, _, _ = b.Chunks()
			_, _ = b.refusal()
		}
		if b := ICMPv4(in); b.IsValid() {
			_, _, _, _, _, _ = b.Type(), b.Code(), b.MTU(), b.IsError(), b.IsRelated(), b.Payload()
			_ = b.ChecksumOK()
		}
		if b := ICMPv6(in); b.IsValid() {
			_, _, _, _, _ = b.Type(), b.Code(), b.MTU(), b.IsError(), b.Payload()
			_ = b.ChecksumOK([16]byte{1}, [16]byte{2})
		}
	})
}

// FuzzSum compares with the sum word by word.
func FuzzSum(f *testing.F) {
	seeds(f, func(b []byte) { f.Add(b, uint16(0)) })
	f.Fuzz(func(t *testing.T, b []byte, initial uint16) {
		want := naiveSum(append([]byte{byte(initial >> 8), byte(initial)}, b...))
		if got := Fold(Sum(b, uint64(initial))); got != want {
			t.Fatalf("sum %#04x, want %#04x", got, want)
		}
	})
}

// FuzzRewrite rewrites whatever parses: the layer-4 checksum is afterwards
// right if it was before, wrong if it was, and the way back restores all bytes
// but for a zero checksum's form.
func FuzzRewrite(f *testing.F) {
	seeds(f, func(b []byte) {
		f.Add(b, []byte("0123456789abcdef"), uint16(8080), true)
		f.Add(b, []byte{}, uint16(0), false)
	})
	f.Fuzz(func(t *testing.T, in, to []byte, port uint16, src bool) {
		b := bytes.Clone(in)
		typ := TypeIPv4
		if len(b) > 0 && b[0]>>4 == 6 {
			typ = TypeIPv6
		}
		var p Packet
		if p.Parse(frame(b, typ)) != Parsed || p.Frag {
			return
		}
		b = b[:p.End-EthernetLen]
		l4 := b[p.L4-EthernetLen:]
		pseudo := func() []byte {
			if p.V6 {
				return pseudo6(b, p.Proto, len(l4))
			}
			return pseudo4(b, len(l4))
		}
		run := func(addr [16]byte, port uint16) {
			var ok bool
			switch {
			case p.V6 && src:
				ok = RewriteSrc6(b, l4, p.Proto, false, addr, port)
			case p.V6:
				ok = RewriteDst6(b, l4, p.Proto, false, addr, port)
			case src:
				ok = RewriteSrc4(b, l4, false, [4]byte(addr[12:]), port)
			default:
				ok = RewriteDst4(b, l4, false, [4]byte(addr[12:]), port)
			}
			if !ok {
				t.Fatalf("refused: %x", b)
			}
		}
		noSum := p.Proto == ProtoUDP && UDP(l4).Checksum() == 0
		right := !hasPorts(p.Proto) || l4Right(p.Proto, l4, pseudo())
		headRight := p.V6 || IPv4(b).ChecksumOK()
		oldAddr, oldPort := p.Dst, p.DstPort
		if src {
			oldAddr, oldPort = p.Src, p.SrcPort
		}

		var addr [16]byte
		copy(addr[:], to)
		run(addr, port)

		if !p.V6 && IPv4(b).ChecksumOK() != headRight {
			t.Fatalf("IP header checksum was right: %v", headRight)
		}
		switch now := !hasPorts(p.Proto) || l4Right(p.Proto, l4, pseudo()); {
		case noSum:
			if whole := UDP(l4).Length() <= len(l4); now != whole {
				t.Fatalf("datagram without a checksum, whole: %v, has a right one: %v", whole, now)
			}
			return // it does not go back to having none
		case p.Proto == ProtoSCTP && port != oldPort:
			if !now {
				t.Fatal("SCTP checksum is wrong")
			}
			return // computed anew, whatever it was
		case now != right:
			t.Fatalf("protocol %d: checksum was right: %v, is: %v", p.Proto, right, now)
		}

		run(oldAddr, oldPort)
		want := in[:len(b)]
		for _, at := range checksumsAt(&p) {
			// 0x0000 and 0xffff are one number.
			if got, was := binary.BigEndian.Uint16(b[at:]), binary.BigEndian.Uint16(want[at:]); got%0xffff == was%0xffff {
				binary.BigEndian.PutUint16(b[at:], was)
			}
		}
		if !bytes.Equal(b, want) {
			t.Fatalf("there and back\ngot  %x\nwant %x", b, want)
		}
	})
}

// checksumsAt returns where a packet without its Ethernet header has its
// Internet checksums.
func checksumsAt(p *Packet) (at []int) {
	if !p.V6 {
		at = append(at, p.L3-EthernetLen+ip4Checksum)
	}
	switch p.Proto {
	case ProtoTCP:
		at = append(at, p.L4-EthernetLen+tcpChecksum)
	case ProtoUDP:
		at = append(at, p.L4-EthernetLen+udpChecksum)
	}
	return at
}

// FuzzQuoted rewrites whatever an ICMP error may quote.
func FuzzQuoted(f *testing.F) {
	seeds(f, func(b []byte) {
		f.Add(append([]byte{3, 3, 0, 0, 0, 0, 0, 0}, b...), uint16(80))
	})
	f.Fuzz(func(t *testing.T, in []byte, port uint16) {
		b := bytes.Clone(in)
		if RewriteQuotedSrc4(b, [4]byte{10, 1, 2, 3}, port) {
			if ip := IPv4(ICMPv4(b).Payload()); Checksum(b) != 0 || !ip.ChecksumOK() || ip.Src() != [4]byte{10, 1, 2, 3} {
				t.Fatalf("%x became %x", in, b)
			}
		} else if !bytes.Equal(b, in) {
			t.Fatalf("refused, but %x became %x", in, b)
		}
		b = bytes.Clone(in)
		src, dst := [16]byte{1}, [16]byte{2}
		if RewriteQuotedDst6(src, dst, b, [16]byte{3}, port) {
			if !ICMPv6(b).ChecksumOK(src, dst) || IPv6(ICMPv6(b).Payload()).Dst() != [16]byte{3} {
				t.Fatalf("%x became %x", in, b)
			}
		} else if !bytes.Equal(b, in) {
			t.Fatalf("refused, but %x became %x", in, b)
		}
	})
}

// FuzzAnswers builds every answer to whatever is a valid packet, into buffers
// of every size, and reads it back.
func FuzzAnswers(f *testing.F) {
	seeds(f, func(b []byte) { f.Add(b, uint16(1500)) })
	f.Fuzz(func(t *testing.T, in []byte, room uint16) {
		dst := make([]byte, room)
		if ip := IPv4(in); ip.IsValid(len(ip)) {
			for _, n := range []int{
				BuildICMPv4Error(dst, [4]byte{10, 1, 0, 100}, 1, ICMPv4DstUnreachable, ICMPv4PortUnreachable, 0, ip),
				BuildTCPReset4(make([]byte, room), ip),
				BuildTCPReset4Onward(make([]byte, room), ip, [4]byte{10, 1, 0, 100}, 80, [4]byte{10, 2, 0, 11}, 8080),
			} {
				if n > int(room) || n > ICMPv4ErrorMax {
					t.Fatalf("%d bytes in %d", n, room)
				}
			}
			if n := BuildICMPv4Error(dst, [4]byte{10, 1, 0, 100}, 1, 3, 3, 0, ip); n > 0 {
				if !IPv4(dst).IsValid(n) || !IPv4(dst).ChecksumOK() || !ICMPv4(dst[IPv4MinLen:n]).ChecksumOK() {
					t.Fatalf("%x", dst[:n])
				}
			}
		}
		if ip := IPv6(in); ip.IsValid(len(ip)) {
			for _, n := range []int{
				BuildTCPReset6(make([]byte, room), ip),
				BuildTCPReset6Onward(make([]byte, room), ip, [16]byte{1}, 80, [16]byte{2}, 8080),
			} {
				if n > int(room) || n != 0 && n != IPv6Len+TCPMinLen {
					t.Fatalf("%d bytes in %d", n, room)
				}
			}
			if n := BuildICMPv6Error(dst, [16]byte{1}, ICMPv6DstUnreachable, 4, 0, ip); n > 0 {
				a := IPv6(dst)
				if !a.IsValid(n) || n > ICMPv6ErrorMax || !ICMPv6(a.Payload()).ChecksumOK(a.Src(), a.Dst()) {
					t.Fatalf("%x", dst[:n])
				}
			}
		}
	})
}

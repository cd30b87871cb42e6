package wire

import (
	"bytes"
	"encoding/binary"
	"testing"
)

var protos = []uint8{ProtoTCP, ProtoUDP, ProtoSCTP}

// kernelUpdate is the kernel's way to the new checksum
// (ip_vs_check_diff4, ip_vs_check_diff2 and csum_fold): 32-bit additions with
// end-around carry, folded at the end.
func kernelUpdate(sum uint32, words ...uint32) uint16 {
	for _, w := range words {
		s := uint64(sum) + uint64(w)
		sum = uint32(s) + uint32(s>>32)
	}
	f := sum>>16 + sum&0xffff
	f += f >> 16
	return ^uint16(f)
}

// TestRewriteExample is the example of the incremental update: TCP checksum
// 0x1234, destination 10.1.1.1:80 becomes 192.168.10.1:8080.
func TestRewriteExample(t *testing.T) {
	b := make([]byte, IPv4MinLen+TCPMinLen)
	ip, tcp := IPv4(b), TCP(b[IPv4MinLen:])
	ip.Encode(&IPv4Fields{TotalLen: len(b), TTL: 64, Protocol: ProtoTCP, Dst: [4]byte{10, 1, 1, 1}})
	tcp.Encode(&TCPFields{DstPort: 80})
	tcp.SetChecksum(0x1234)
	if !RewriteDst4(ip, tcp, false, [4]byte{192, 168, 10, 1}, 8080) {
		t.Fatal("refused")
	}
	if tcp.Checksum() != 0x334c || tcp.DstPort() != 8080 || ip.Dst() != [4]byte{192, 168, 10, 1} || !ip.ChecksumOK() {
		t.Errorf("checksum %#04x, want 0x334c; port %d, address %v", tcp.Checksum(), tcp.DstPort(), ip.Dst())
	}
}

// TestRewriteAsRecorded rewrites what Linux 6.1.176 with IPVS rewrote, both
// ways, and compares every byte: virtual 10.1.0.100, server 10.2.0.12.
func TestRewriteAsRecorded(t *testing.T) {
	const (
		tcpIn = `4500 003c fa0a 4000 3f06 2d43 0a00 000a 0a01 0064 b64c 0050 1e15 dd4c 0000 0000
			a002 faf0 a753 0000 0204 05b4 0402 080a 3df9 a155 0000 0000 0103 0307`
		tcpInDone = `4500 003c fa0a 4000 3e06 2e9a 0a00 000a 0a02 000c b64c 1f40 1e15 dd4c 0000 0000
			a002 faf0 88ba 0000 0204 05b4 0402 080a 3df9 a155 0000 0000 0103 0307`
		tcpOut = `4500 003c 0000 4000 4006 26a5 0a02 000c 0a00 000a 1f40 b64c 2be0 ecb5 1e15 dd4d
			a012 fe88 862a 0000 0204 05b4 0402 080a 1cc5 c98b 3df9 a155 0103 0307`
		tcpOutDone = `4500 003c 0000 4000 3f06 274e 0a01 0064 0a00 000a 0050 b64c 2be0 ecb5 1e15 dd4d
			a012 fe88 a4c3 0000 0204 05b4 0402 080a 1cc5 c98b 3df9 a155 0103 0307`
		udpIn = `4500 0039 1c9b 0000 3f11 4aab 0a00 000a 0a01 0064 a24f 0035 0025 670f 1234 0100
			0001 0000 0000 0000 0765 7861 6d70 6c65 0363 6f6d 0000 0100 01`
		udpInDone = `4500 0039 1c9b 0000 3e11 4c02 0a00 000a 0a02 000c a24f 0035 0025 6766 1234 0100
			0001 0000 0000 0000 0765 7861 6d70 6c65 0363 6f6d 0000 0100 01`
	)
	for _, tt := range []struct {
		name, in, want string
		src            bool
		addr           [4]byte
		port           uint16
	}{
		{"TCP to the server", tcpIn, tcpInDone, false, [4]byte{10, 2, 0, 12}, 8000},
		{"TCP to the client", tcpOut, tcpOutDone, true, [4]byte{10, 1, 0, 100}, 80},
		{"UDP to the server", udpIn, udpInDone, false, [4]byte{10, 2, 0, 12}, 53},
	} {
		ip, want := IPv4(unhex(t, tt.in)), unhex(t, tt.want)
		ip.DecTTL()
		f := RewriteDst4
		if tt.src {
			f = RewriteSrc4
		}
		if !f(ip, ip.Payload(), false, tt.addr, tt.port) || !bytes.Equal(ip, want) {
			t.Errorf("%s:\ngot  %x\nwant %x", tt.name, []byte(ip), want)
		}
	}
}

// TestRewriteForms goes through the corners where 0x0000 and 0xffff, the two
// representations of zero, could be mixed up, and compares with the kernel's
// arithmetic.
func TestRewriteForms(t *testing.T) {
	ends := []uint16{0x0000, 0x0001, 0x8000, 0xfffe, 0xffff}
	addrs := []uint32{0, 1, 0xffff, 0x10000, 0xfffeffff, 0xffff0000, 0xfffffffe, 0xffffffff}
	b := make([]byte, IPv4MinLen+TCPMinLen)
	ip := IPv4(b)
	for _, proto := range []uint8{ProtoTCP, ProtoUDP} {
		for _, c := range ends {
			for _, oldAddr := range addrs {
				for _, newAddr := range addrs {
					for _, oldPort := range ends {
						for _, newPort := range ends {
							for _, partial := range []bool{false, true} {
								var old, now [4]byte
								binary.BigEndian.PutUint32(old[:], oldAddr)
								binary.BigEndian.PutUint32(now[:], newAddr)
								ip.Encode(&IPv4Fields{TotalLen: len(b), Protocol: proto, Dst: old})
								l4 := ip.Payload()
								clear(l4)
								binary.BigEndian.PutUint16(l4[2:], oldPort)
								at := tcpChecksum
								if proto == ProtoUDP {
									at = udpChecksum
									UDP(l4).Encode(&UDPFields{DstPort: oldPort, Length: 8})
									if c == 0 && !partial {
										continue // has no checksum: another test
									}
								}
								binary.BigEndian.PutUint16(l4[at:], c)

								var want uint16
								if partial {
									want = ^kernelUpdate(uint32(c), uint32(^uint16(20)), 20, ^oldAddr, newAddr)
								} else {
									want = kernelUpdate(^uint32(c), uint32(^oldPort), uint32(newPort), ^oldAddr, newAddr)
								}
								if proto == ProtoUDP && want == 0 {
									want = 0xffff
								}
								RewriteDst4(ip, l4, partial, now, newPort)
								if got := binary.BigEndian.Uint16(l4[at:]); got != want {
									t.Fatalf("protocol %d partial %v: %#04x, %#08x:%#x to %#08x:%#x gives %#04x, want %#04x",
										proto, partial, c, oldAddr, oldPort, newAddr, newPort, got, want)
								}
							}
						}
					}
				}
			}
		}
	}
}

// rewrite runs one of the four rewriting functions on a packet and returns its
// layer 4 and pseudo-header.
func rewrite(p []byte, proto uint8, src, partial bool, addr [16]byte, port uint16) (ok bool, l4, pseudo []byte) {
	if p[0]>>4 == 6 {
		ip := IPv6(p)
		l4 = ip.Payload()
		if src {
			ok = RewriteSrc6(ip, l4, proto, partial, addr, port)
		} else {
			ok = RewriteDst6(ip, l4, proto, partial, addr, port)
		}
		return ok, l4, pseudo6(ip, proto, len(l4))
	}
	ip := IPv4(p)
	l4 = ip.Payload()
	if src {
		ok = RewriteSrc4(ip, l4, partial, [4]byte(addr[:]), port)
	} else {
		ok = RewriteDst4(ip, l4, partial, [4]byte(addr[:]), port)
	}
	return ok, l4, pseudo4(ip, len(l4))
}

// endpoint returns a packet's source or destination, and the length of its IP
// header.
func endpoint(p []byte, src bool) (addr [16]byte, port uint16, hlen int) {
	hlen = IPv6Len
	at, n := ip6Dst, 16
	if src {
		at = ip6Src
	}
	if p[0]>>4 == 4 {
		hlen, at, n = IPv4(p).HeaderLen(), ip4Dst, 4
		if src {
			at = ip4Src
		}
	}
	copy(addr[:n], p[at:])
	u := UDP(p[hlen:])
	if src {
		return addr, u.SrcPort(), hlen
	}
	return addr, u.DstPort(), hlen
}

// TestRewrite checks, for every protocol, IP version and direction: a right
// checksum stays right by full computation, a wrong one stays wrong, nothing
// but the fields named changes, and the way back restores every byte.
func TestRewrite(t *testing.T) {
	r := rng(t)
	for i := range 12_000 {
		proto := protos[i%3]
		src := i/3%2 == 0
		v6 := i/6%2 == 0
		size := r.IntN(60)
		if proto == ProtoSCTP {
			size = r.IntN(15) * 4
		}
		var p []byte
		if v6 {
			p = packet6(t, r, proto, randBytes(r, size))
		} else {
			p = packet4(t, r, proto, randBytes(r, size))
		}
		oldAddr, oldPort, hlen := endpoint(p, src)
		if proto == ProtoUDP && UDP(p[hlen:]).Checksum() == 0 {
			continue // gopacket left the zero that RFC 768 forbids
		}
		if proto == ProtoSCTP {
			SCTP(p[hlen:]).SetChecksum(naiveCRC32c(p[hlen:]))
		}
		bad := proto != ProtoSCTP && r.IntN(3) == 0
		if bad {
			p[len(p)-1] ^= 1 + byte(r.IntN(255))
		}
		before := bytes.Clone(p)

		addr, port := rand16(r), uint16(r.Uint32())
		ok, l4, pseudo := rewrite(p, proto, src, false, addr, port)
		if !ok {
			t.Fatalf("refused: %x", before)
		}
		if !v6 {
			clear(addr[4:])
		}
		if gotAddr, gotPort, _ := endpoint(p, src); gotAddr != addr || gotPort != port {
			t.Fatalf("set %x:%d, want %x:%d", gotAddr, gotPort, addr, port)
		}
		if got := l4Right(proto, l4, pseudo); got == bad {
			t.Fatalf("protocol %d v6 %v: was bad: %v, is right: %v\nbefore %x\nafter  %x", proto, v6, bad, got, before, p)
		}
		if !v6 && !IPv4(p).ChecksumOK() {
			t.Fatalf("IP header checksum is wrong: %x", p)
		}
		if proto == ProtoTCP && TCP(l4).Checksum() == 0xffff {
			t.Fatalf("TCP checksum 0xffff: %x", p)
		}
		rewrite(p, proto, src, false, oldAddr, oldPort)
		if !bytes.Equal(p, before) {
			t.Fatalf("protocol %d v6 %v: there and back\nbefore %x\nafter  %x", proto, v6, before, p)
		}
	}
}

// TestRewritePartial completes the checksum after the rewriting, as hardware
// does: sum from the layer-4 header on, the field's content included.
func TestRewritePartial(t *testing.T) {
	r := rng(t)
	for i := range 8000 {
		proto, at := ProtoTCP, tcpChecksum
		if i%2 == 0 {
			proto, at = ProtoUDP, udpChecksum
		}
		v6 := i/2%2 == 0
		var p []byte
		if v6 {
			p = packet6(t, r, proto, randBytes(r, r.IntN(60)))
		} else {
			p = packet4(t, r, proto, randBytes(r, r.IntN(60)))
		}
		_, _, hlen := endpoint(p, true)
		var pseudo []byte
		if v6 {
			pseudo = pseudo6(p, proto, len(p)-hlen)
		} else {
			pseudo = pseudo4(p, len(p)-hlen)
		}
		binary.BigEndian.PutUint16(p[hlen+at:], naiveSum(pseudo))
		var l4 []byte
		for _, src := range []bool{true, false} {
			var ok bool
			if ok, l4, pseudo = rewrite(p, proto, src, true, rand16(r), uint16(r.Uint32())); !ok {
				t.Fatal("refused")
			}
		}
		if got, want := binary.BigEndian.Uint16(l4[at:]), naiveSum(pseudo); got != want {
			t.Fatalf("field is %#04x, the pseudo-header's sum %#04x", got, want)
		}
		binary.BigEndian.PutUint16(l4[at:], ^naiveSum(l4))
		if proto == ProtoUDP && UDP(l4).Checksum() == 0 {
			UDP(l4).SetChecksum(0xffff)
		}
		if !l4Right(proto, l4, pseudo) {
			t.Fatalf("completed checksum is wrong: %x", p)
		}
	}
}

// TestRewriteUDPWithoutChecksum: a datagram that has none gets one, unless the
// rest of it is elsewhere.
func TestRewriteUDPWithoutChecksum(t *testing.T) {
	r := rng(t)
	for i := range 4000 {
		v6, src := i%2 == 0, i/2%2 == 0
		var p []byte
		if v6 {
			p = packet6(t, r, ProtoUDP, randBytes(r, r.IntN(60)))
		} else {
			p = packet4(t, r, ProtoUDP, randBytes(r, r.IntN(60)))
		}
		_, _, hlen := endpoint(p, src)
		u := UDP(p[hlen:])
		u.SetChecksum(0)
		first := i/4%3 == 0 // a first fragment: the datagram is longer
		if first {
			binary.BigEndian.PutUint16(u[udpLength:], uint16(u.Length()+1))
		}
		ok, l4, pseudo := rewrite(p, ProtoUDP, src, false, rand16(r), uint16(r.Uint32()))
		switch {
		case !ok:
			t.Fatal("refused")
		case first && u.Checksum() != 0:
			t.Fatalf("a first fragment got checksum %#04x over less than the datagram", u.Checksum())
		case !first && !l4Right(ProtoUDP, l4, pseudo):
			t.Fatalf("wrong checksum: %x", p)
		}
	}
}

// TestRewriteUDPNeverZero finds a port for which the update comes out at zero.
func TestRewriteUDPNeverZero(t *testing.T) {
	b := make([]byte, IPv4MinLen+UDPLen)
	ip, u := IPv4(b), UDP(b[IPv4MinLen:])
	seen := false
	for port := range 0x10000 {
		ip.Encode(&IPv4Fields{TotalLen: len(b), Protocol: ProtoUDP, Src: [4]byte{10, 0, 0, 1}, Dst: [4]byte{10, 0, 0, 2}})
		u.Encode(&UDPFields{SrcPort: 1, DstPort: 2, Length: UDPLen})
		u.complete(PseudoSum4(ip.Src(), ip.Dst(), ProtoUDP, UDPLen))
		RewriteDst4(ip, u, false, ip.Dst(), uint16(port))
		if u.Checksum() == 0 {
			t.Fatalf("port %d: checksum 0", port)
		}
		seen = seen || u.Checksum() == 0xffff
	}
	if !seen {
		t.Error("no port made the checksum zero: the test tests nothing")
	}
}

// TestRewriteSCTP: the CRC is touched only if the port changes, or if it was
// left to the hardware.
func TestRewriteSCTP(t *testing.T) {
	p := IPv4(packet4(t, rng(t), ProtoSCTP, []byte("chunk...")))
	s := SCTP(p.Payload())
	s.SetChecksum(0xdeadbeef)
	RewriteDst4(p, s, false, [4]byte{10, 0, 0, 9}, s.DstPort())
	if s.Checksum() != 0xdeadbeef {
		t.Errorf("same port: checksum became %#08x", s.Checksum())
	}
	RewriteDst4(p, s, true, [4]byte{10, 0, 0, 9}, s.DstPort())
	if s.Checksum() != naiveCRC32c(s) {
		t.Errorf("partial: checksum %#08x, want %#08x", s.Checksum(), naiveCRC32c(s))
	}
	RewriteSrc4(p, s, false, p.Src(), s.SrcPort()+1)
	if s.Checksum() != naiveCRC32c(s) {
		t.Errorf("other port: checksum %#08x, want %#08x", s.Checksum(), naiveCRC32c(s))
	}
}

// TestRewriteShort: what is too short for its header is refused unchanged; of
// what has no ports only the address changes.
func TestRewriteShort(t *testing.T) {
	for _, tt := range []struct {
		proto uint8
		least int
	}{{ProtoTCP, TCPMinLen}, {ProtoUDP, UDPLen}, {ProtoSCTP, SCTPLen}, {ProtoESP, 0}} {
		for n := range 24 {
			p4, p6 := make(IPv4, IPv4MinLen+n), make(IPv6, IPv6Len+n)
			p4.Encode(&IPv4Fields{TotalLen: len(p4), Protocol: tt.proto, Src: [4]byte{10, 0, 0, 1}})
			p6.Encode(&IPv6Fields{PayloadLen: n, NextHeader: tt.proto})
			for _, p := range [][]byte{p4, p6} {
				for _, partial := range []bool{false, true} {
					before := bytes.Clone(p)
					ok, l4, _ := rewrite(p, tt.proto, true, partial, [16]byte{192, 168, 0, 1}, 99)
					if ok != (n >= tt.least) {
						t.Fatalf("protocol %d, %d bytes: %v", tt.proto, n, ok)
					}
					if !ok && !bytes.Equal(p, before) {
						t.Fatalf("protocol %d, %d bytes: refused but changed", tt.proto, n)
					}
					if tt.proto == ProtoESP && !bytes.Equal(l4, make([]byte, n)) {
						t.Fatalf("ESP payload changed: %x", l4)
					}
					if addr, _, _ := endpoint(append(bytes.Clone(p), make([]byte, 8)...), true); ok && addr[0] != 192 {
						t.Fatalf("address not set: %x", addr)
					}
				}
			}
		}
	}
}

func BenchmarkRewriteDst4(b *testing.B) {
	for _, bb := range []struct {
		name    string
		proto   uint8
		partial bool
	}{{"tcp", ProtoTCP, false}, {"tcp-partial", ProtoTCP, true}, {"udp", ProtoUDP, false}} {
		b.Run(bb.name, func(b *testing.B) {
			p := make(IPv4, IPv4MinLen+TCPMinLen)
			p.Encode(&IPv4Fields{TotalLen: len(p), Protocol: bb.proto})
			l4 := p.Payload()
			l4[udpChecksum] = 1
			var port uint16
			for b.Loop() {
				port++
				RewriteDst4(p, l4, bb.partial, [4]byte{10, byte(port), 0, 1}, port)
			}
		})
	}
}

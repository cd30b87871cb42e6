package nat

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"testing"

	"vsnat/nat/wire"
	"vsnat/nic"
)

// proxyHeader is what the server must get of client and vip.
var proxyHeader = func() []byte {
	b, _ := hex.DecodeString("0d0a0d0a000d0a515549540a2111000cc0000207c00002019c400050")
	return b
}()

// newProxyBed is newBed whose service tells servers their client, by that method.
func newProxyBed(t testing.TB, method string) *bed {
	b := newBed(t, Options{})
	b.command("-D -t 192.0.2.1:80", "-A -t 192.0.2.1:80 -s rr", "-a -t 192.0.2.1:80 -r 10.0.0.11:8080 "+method)
	b.proxy(vipKey)
	return b
}

func (b *bed) proxy(k ServiceKey) {
	b.t.Helper()
	b.e.Update(func(tx *Tx) {
		if err := tx.SetProxyProtocol(k, true); err != nil {
			b.t.Fatal(err)
		}
	})
}

// tcpPacket is a frame with a segment with these numbers and options.
func tcpPacket(src, dst netip.AddrPort, flags uint8, seq, ack uint32, options, payload []byte) nic.Frame {
	l4 := make([]byte, wire.TCPMinLen+len(options)+len(payload))
	wire.TCP(l4).Encode(&wire.TCPFields{SrcPort: src.Port(), DstPort: dst.Port(), Seq: seq, Ack: ack, Flags: flags, Window: 1000})
	l4[12] = byte(wire.TCPMinLen+len(options)) / 4 << 4
	copy(l4[wire.TCPMinLen:], options)
	copy(l4[wire.TCPMinLen+len(options):], payload)
	return packetOf(ProtoTCP, src.Addr(), dst.Addr(), l4)
}

// segments has a client's frame judged, and returns the segments that the server gets.
func (b *bed) segments(at int, f nic.Frame) (all []wire.TCP) {
	b.t.Helper()
	v, out := b.in(at, f)
	if v != forwarded {
		b.t.Fatalf("%v (%v)", v, v.Reason)
	}
	for i := range out {
		if !out[i].VNet().Partial() {
			out[i].checksums(b.t)
		}
		all = append(all, wire.TCP(out[i].Eth()[out[i].pkt.L4:out[i].pkt.End]))
	}
	return all
}

// wantSegment fails the test unless the segment has these numbers and payload.
func wantSegment(t testing.TB, what string, s wire.TCP, seq, ack uint32, payload []byte) {
	t.Helper()
	if s.Seq() != seq || s.Ack() != ack || !bytes.Equal(s.Payload(), payload) {
		t.Errorf("%s: sequence number %d, acknowledges %d, %d bytes %.40q; want %d, %d, %.40q", what, s.Seq(), s.Ack(), len(s.Payload()), s.Payload(), seq, ack, payload)
	}
}

const (
	clientISN = 0xfffffff0 // the header goes over the end of the numbers
	serverISN = 7000
)

// shake does the handshake, up to the client's acknowledgment, and returns the ends of
// the server's side.
func (b *bed) shake() (server, local netip.AddrPort) {
	b.t.Helper()
	v, out := b.in(clientNIC, tcpPacket(client, vip, wire.SYN, clientISN, 0, nil, nil))
	if v != forwarded {
		b.t.Fatal(v)
	}
	local, server = out[0].ends()
	a := b.segments(serverNIC, tcpPacket(server, local, wire.SYN|wire.ACK, serverISN, clientISN+1, nil, nil))
	wantSegment(b.t, "SYN+ACK", a[0], serverISN, clientISN+1, nil)
	return server, local
}

func TestProxyProtocol(t *testing.T) {
	first := uint32(clientISN)
	first++
	n := uint32(len(proxyHeader))
	for _, method := range []string{"-m", "-F"} {
		b := newProxyBed(t, method)
		server, local := b.shake()
		ts := []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}
		got := b.segments(clientNIC, tcpPacket(client, vip, wire.ACK, first, serverISN+1, ts, nil))
		if len(got) != 1 || !bytes.Equal(got[0][wire.TCPMinLen:32], ts) || got[0].Flags() != wire.ACK|wire.PSH {
			t.Fatalf("%s: the handshake's acknowledgment: %d segments", method, len(got))
		}
		wantSegment(t, "the header", got[0], first, serverISN+1, proxyHeader)

		// It was lost; the first data come, and then more.
		got = b.segments(clientNIC, tcpPacket(client, vip, wire.ACK|wire.PSH, first, serverISN+1, ts, []byte("GET / ")))
		if len(got) != 2 {
			t.Fatalf("%s: the first data: %d segments", method, len(got))
		}
		wantSegment(t, "the header again", got[0], first, serverISN+1, proxyHeader)
		wantSegment(t, "the first data", got[1], first+n, serverISN+1, []byte("GET / "))
		got = b.segments(clientNIC, tcpPacket(client, vip, wire.ACK|wire.PSH, first+6, serverISN+1, ts, []byte("HTTP")))
		if len(got) != 1 {
			t.Fatalf("%s: more data: %d segments", method, len(got))
		}
		wantSegment(t, "more data", got[0], first+n+6, serverISN+1, []byte("HTTP"))

		// The server has the data, but not the header; then a part of it.
		sack := make([]byte, 12)
		sack[0], sack[1], sack[2], sack[3] = 1, 1, 5, 10
		binary.BigEndian.PutUint32(sack[4:], first+n)
		binary.BigEndian.PutUint32(sack[8:], first+n+10)
		for _, part := range []uint32{0, 1, 20, n} {
			got = b.segments(serverNIC, tcpPacket(server, local, wire.ACK, serverISN+1, first+part, sack, nil))
			wantSegment(t, "what has not the header", got[0], serverISN+1, first, nil)
			if l, r := binary.BigEndian.Uint32(got[0][24:]), binary.BigEndian.Uint32(got[0][28:]); l != first || r != first+10 {
				t.Errorf("%s: a SACK block %d to %d", method, l-first, r-first)
			}
		}
		got = b.segments(serverNIC, tcpPacket(server, local, wire.ACK, serverISN+1, first+n+10, nil, []byte("200")))
		wantSegment(t, "the answer", got[0], serverISN+1, first+10, []byte("200"))

		// The server has the header: it does not go again.
		got = b.segments(clientNIC, tcpPacket(client, vip, wire.ACK, first, serverISN+4, nil, []byte("GET / ")))
		if len(got) != 1 {
			t.Fatalf("%s: the first data once more: %d segments", method, len(got))
		}
		wantSegment(t, "the first data once more", got[0], first+n, serverISN+4, []byte("GET / "))
		got = b.segments(clientNIC, tcpPacket(client, vip, wire.ACK|wire.FIN, first+10, serverISN+4, nil, nil))
		wantSegment(t, "FIN", got[0], first+n+10, serverISN+4, nil)
	}
}

// A super-frame passes whole, its checksum still to be completed.
// A SYN that does not belong to the connection, as anybody can send one, changes
// nothing about it.
func TestProxyProtocolForgedSYN(t *testing.T) {
	first := uint32(clientISN)
	first++
	n := uint32(len(proxyHeader))
	for _, method := range []string{"-m", "-F"} {
		for _, forged := range []uint32{1, first + 3, first + 100_000} {
			b := newProxyBed(t, method)
			server, local := b.shake()
			b.segments(clientNIC, tcpPacket(client, vip, wire.ACK, first, serverISN+1, nil, nil))
			b.segments(serverNIC, tcpPacket(server, local, wire.ACK, serverISN+1, first+n, nil, nil))
			if got := b.segments(clientNIC, tcpPacket(client, vip, wire.SYN, forged, 0, nil, nil)); len(got) != 1 {
				t.Fatalf("%s: the SYN: %d segments", method, len(got))
			}
			got := b.segments(clientNIC, tcpPacket(client, vip, wire.ACK|wire.PSH, first, serverISN+1, nil, []byte("GET /")))
			wantSegment(t, method+": data", got[len(got)-1], first+n, serverISN+1, []byte("GET /"))
			if len(got) != 1 {
				t.Errorf("%s: %d segments: the header again", method, len(got))
			}
			got = b.segments(clientNIC, tcpPacket(client, vip, wire.ACK|wire.PSH, forged+1, serverISN+1, nil, []byte("forged")))
			if len(got) != 1 {
				t.Errorf("%s: %d segments behind the SYN: the header again", method, len(got))
			}
		}
	}
}

func TestProxyProtocolSuperFrame(t *testing.T) {
	b := newProxyBed(t, "-F")
	b.shake()
	f := tcpPacket(client, vip, wire.ACK, clientISN+1, serverISN+1, nil, make([]byte, 9000))
	ip := wire.IP(f.Eth()[wire.EthernetLen:])
	f.VNet().Segment(false, wire.EthernetLen+40, wire.EthernetLen+20, 1460)
	wire.TCP(ip[20:]).SetChecksum(wire.Fold(ip.PseudoSum(ProtoTCP, 9020)))
	v, out := b.in(clientNIC, f)
	if v != forwarded || len(out) != 2 {
		t.Fatalf("%v (%v), %d frames", v, v.Reason, len(out))
	}
	out[0].checksums(t)
	o := wire.IP(out[1].Eth()[out[1].pkt.L3:out[1].pkt.End])
	if h := out[1].VNet(); h.GSOType() != nic.VNetGSOTCPv4 || h.GSOSize() != 1460 || !h.Partial() || len(o) != 9040 ||
		wire.TCP(o[20:]).Checksum() != wire.Fold(o.PseudoSum(ProtoTCP, 9020)) || wire.TCP(o[20:]).Seq() != (clientISN+29)&0xffffffff {
		t.Errorf("GSO type %d, size %d, %d bytes, sequence number %d", h.GSOType(), h.GSOSize(), len(o), wire.TCP(o[20:]).Seq())
	}
}

// Data in the SYN must not come before the header: the client sends them again.
func TestProxyProtocolFastOpen(t *testing.T) {
	for _, partial := range []bool{false, true} {
		b := newProxyBed(t, "-m")
		cookie := []byte{34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1}
		f := tcpPacket(client, vip, wire.SYN, clientISN, 0, cookie, []byte("GET /"))
		if partial {
			ip := wire.IP(f.Eth()[wire.EthernetLen:])
			f.VNet()[0] = nic.VNetNeedsCsum
			wire.TCP(ip[20:]).SetChecksum(wire.Fold(ip.PseudoSum(ProtoTCP, len(ip)-20)))
		}
		v, out := b.in(clientNIC, f)
		if v != forwarded || len(out) != 1 {
			t.Fatalf("%v (%v)", v, v.Reason)
		}
		ip := wire.IP(out[0].Eth()[out[0].pkt.L3:out[0].pkt.End])
		s := wire.TCP(ip[20:])
		if len(s) != 32 || !bytes.Equal(s[20:], cookie) || s.Seq() != clientISN || len(out[0].Eth()) != wire.EthernetLen+52 {
			t.Errorf("the SYN: % x", []byte(s))
		}
		if partial {
			if s.Checksum() != wire.Fold(ip.PseudoSum(ProtoTCP, 32)) {
				t.Error("the partial checksum is wrong")
			}
		} else {
			out[0].checksums(t)
		}
	}
}

// Connections that began before, datagrams and other methods have none.
func TestProxyProtocolNot(t *testing.T) {
	b := newBed(t, Options{})
	b.connect()
	b.proxy(vipKey)
	if got := b.segments(clientNIC, tcpPacket(client, vip, wire.ACK, 1, 1, nil, []byte("x"))); len(got) != 1 || len(got[0].Payload()) != 1 {
		t.Error("an older connection has a header")
	}
	b.command("-a -t 192.0.2.1:80 -r 10.0.0.12:80 -g", "-d -t 192.0.2.1:80 -r 10.0.0.11:8080")
	other := addrPort(client.Addr(), 41)
	b.segments(clientNIC, tcpPacket(other, vip, wire.SYN, 9, 0, nil, nil))
	if got := b.segments(clientNIC, tcpPacket(other, vip, wire.ACK, 10, 1, nil, []byte("x"))); len(got) != 1 || len(got[0].Payload()) != 1 {
		t.Error("direct routing has a header")
	}
	b.command("-A -u 192.0.2.1:53 -s rr")
	b.e.Update(func(tx *Tx) {
		if tx.SetProxyProtocol(ServiceKey{Proto: ProtoUDP, Addr: vipKey.Addr, Port: 53}, true) == nil {
			t.Error("a UDP service has it")
		}
	})
}

// A server that speaks first hears of the client before it does; one whose header
// cannot be right does not.
func TestProxyProtocolWrongChecksum(t *testing.T) {
	b := newProxyBed(t, "-m")
	b.shake()
	f := tcpPacket(client, vip, wire.ACK, clientISN+1, serverISN+1, nil, []byte("data"))
	f.Eth()[len(f.Eth())-1]++
	if v, _ := b.in(clientNIC, f); v != drop(BadChecksum) {
		t.Errorf("%v (%v)", v, v.Reason)
	}
}

// An error about a client's segment has the number that the client gave it.
func TestProxyProtocolErrors(t *testing.T) {
	b := newProxyBed(t, "-F")
	server, local := b.shake()
	quoted := tcpPacket(local, server, wire.ACK, (clientISN+1+28+100)&0xffffffff, 1, nil, []byte("some payload"))
	var buf [600]byte
	n := wire.BuildICMPv4Error(buf[:], [4]byte{10, 0, 0, 254}, 1, 3, 4, 1280, wire.IPv4(quoted.Eth()[wire.EthernetLen:]))
	f := nic.Frame{Buf: make([]byte, nic.VNetHdrLen+wire.EthernetLen+n)}
	wire.Ethernet(f.Eth()).SetType(wire.TypeIPv4)
	copy(f.Eth()[wire.EthernetLen:], buf[:n])
	v, out := b.in(serverNIC, f)
	if v != forwarded {
		t.Fatalf("%v (%v)", v, v.Reason)
	}
	var q wire.Packet
	q.ParseQuoted(out[0].Eth(), out[0].pkt.L4+wire.ICMPLen, false)
	out[0].checksums(t)
	want := uint32(clientISN)
	want += 101
	if got := wire.TCP(out[0].Eth()[q.L4:]).Seq(); got != want {
		t.Errorf("quotes %d, want %d", got, want)
	}
}

// TestSuccessor has a port taken of a connection that the server may remember: the
// next one's numbers are beyond, both ways, and it has no timestamps.
func TestSuccessor(t *testing.T) {
	b := newFullBed(t, Options{})
	b.pools(Pool{Name: DefaultPool, Addrs: []Addr{lip.As16()}, First: 1000, Last: 1000})
	server, local := b.shake()
	const last = 500
	b.segments(clientNIC, tcpPacket(client, vip, wire.ACK, clientISN+1, serverISN+1, nil, nil))
	b.segments(serverNIC, tcpPacket(server, local, wire.FIN|wire.ACK, serverISN+1, clientISN+1, nil, nil))
	b.segments(clientNIC, tcpPacket(client, vip, wire.FIN|wire.ACK, last-1, serverISN+2, nil, nil))
	b.now += 3e9
	ts := []byte{2, 4, 5, 180, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 1}
	other := addrPort(client.Addr(), 41)
	for range 2 { // the second comes again
		got := b.segments(clientNIC, tcpPacket(other, vip, wire.SYN, 77, 0, ts, nil))
		wantSegment(t, "SYN", got[0], last+successorGap, 0, nil)
		if !bytes.Equal(got[0][20:], []byte{2, 4, 5, 180, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}) {
			t.Errorf("options % x", got[0][20:])
		}
	}
	got := b.segments(serverNIC, tcpPacket(server, local, wire.SYN|wire.ACK, 9, last+successorGap+1, nil, nil))
	wantSegment(t, "SYN+ACK", got[0], 9, 78, nil)
	got = b.segments(clientNIC, tcpPacket(other, vip, wire.ACK, 78, 10, nil, []byte("data")))
	wantSegment(t, "data", got[0], last+successorGap+1, 10, []byte("data"))
	// The old one has no port any more.
	if v, _ := b.in(clientNIC, tcpPacket(client, vip, wire.ACK, last, serverISN+2, nil, nil)); v != passed {
		t.Errorf("the old connection: %v (%v)", v, v.Reason)
	}
}

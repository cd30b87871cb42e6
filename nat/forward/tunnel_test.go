package forward

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"vsnat/nat/wire"
)

var (
	out4, rip4 = netip.MustParseAddr("10.2.0.1").As16(), netip.MustParseAddr("10.2.0.11").As16()
	out6, rip6 = netip.MustParseAddr("fd00:2::1").As16(), netip.MustParseAddr("fd00:2::11").As16()
)

// The headers byte by byte, their checksums computed by another program.
func TestTunnelHeaders(t *testing.T) {
	inner := []byte("0123456789abcdef") // only a checksum reads it
	for _, c := range []struct {
		name string
		o    Outer
		want string
	}{
		{
			"ipip, CE becomes ECT(0), DF has no ID",
			Outer{Src: out4, Dst: rip4, Inner: wire.ProtoIPIP, Class: 0xb3, TTL: 63, DF: true},
			"45b20024 00004000 3f042715 0a020001 0a02000b",
		},
		{
			"ipip without DF",
			Outer{Src: out4, Dst: rip4, Inner: wire.ProtoIPIP, Class: 0x01, TTL: 1, ID: 0x1234},
			"45010024 12340000 01049392 0a020001 0a02000b",
		},
		{
			"IPv6 in IPv4",
			Outer{Src: out4, Dst: rip4, Inner: wire.ProtoIPv6, TTL: 64},
			"45000024 00000000 402966a2 0a020001 0a02000b",
		},
		{
			"IPv4 in IPv6",
			Outer{Src: out6, Dst: rip6, Inner: wire.ProtoIPIP, Class: 0xb3, TTL: 63, DF: true},
			"6b200000 0010043f fd000002000000000000000000000001 fd000002000000000000000000000011",
		},
		{
			"gue",
			Outer{Tunnel: Tunnel{GUE, 0, 5555}, Src: out4, Dst: rip4, Inner: wire.ProtoIPIP, TTL: 63, DF: true, SrcPort: 0xabcd},
			"45000030 00004000 3f1127ae 0a020001 0a02000b  abcd15b3 001c0000  00040000",
		},
		{
			"gue with checksum, IPv6 in IPv6",
			Outer{Tunnel: Tunnel{GUE, TunnelChecksum, 5555}, Src: out6, Dst: rip6, Inner: wire.ProtoIPv6, TTL: 63, SrcPort: 0xabcd},
			"60000000 001c113f fd000002000000000000000000000001 fd000002000000000000000000000011  abcd15b3 001c14be  00290000",
		},
		{
			"gue with remote checksum offload has a checksum",
			Outer{Tunnel: Tunnel{GUE, TunnelRemoteChecksum, 5555}, Src: out4, Dst: rip4, Inner: wire.ProtoIPIP, TTL: 63, DF: true, SrcPort: 0xabcd},
			"45000030 00004000 3f1127ae 0a020001 0a02000b  abcd15b3 001cfaea  00040000",
		},
		{
			"gre",
			Outer{Tunnel: Tunnel{Type: GRE}, Src: out4, Dst: rip4, Inner: wire.ProtoIPIP, TTL: 63, DF: true},
			"45000028 00004000 3f2f2798 0a020001 0a02000b  00000800",
		},
		{
			"gre with checksum, IPv6 inside",
			Outer{Tunnel: Tunnel{GRE, TunnelChecksum, 0}, Src: out4, Dst: rip4, Inner: wire.ProtoIPv6, TTL: 63, DF: true},
			"4500002c 00004000 3f2f2794 0a020001 0a02000b  800086dd c9ea0000",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			want, err := hex.DecodeString(strings.ReplaceAll(c.want, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			n := c.o.Overhead(c.o.V6())
			// Whole, and with the end elsewhere.
			for _, cut := range []int{len(inner), 4} {
				b := append(bytes.Repeat([]byte{0xee}, n), inner[:cut]...)
				c.o.Put(b, inner[cut:])
				if !bytes.Equal(b[:n], want) {
					t.Errorf("got  %x\nwant %x", b[:n], want)
				}
				if !bytes.Equal(b[n:], inner[:cut]) {
					t.Errorf("the packet inside became %x", b[n:])
				}
			}
		})
	}
}

// TestPutPlain4 holds the short way of writing a header against the general one.
func TestPutPlain4(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for i := range 20_000 {
		tun := Tunnel{Type: TunnelType(rnd.IntN(3)), Port: uint16(rnd.Uint32())}
		src, dst := wire.Mapped([4]byte{10, 0, 0, byte(i)}), wire.Mapped([4]byte{10, 1, byte(i >> 8), byte(i)})
		n := tun.Overhead(false)
		b := make([]byte, n+wire.IPv6Len+rnd.IntN(60))
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		b[n] = []byte{0x45, 0x60 | b[n]&0xf}[rnd.IntN(2)]
		pkt, id, port, pmtu := wire.IP(b[n:]), uint16(rnd.Uint32()), uint16(rnd.Uint32()), rnd.IntN(2) == 0
		want := bytes.Clone(b)
		var o Outer
		o.Around(pkt, tun, &src, &dst, pmtu)
		o.SrcPort = port
		if !o.DF {
			o.ID = id
		}
		o.Put(want, nil)
		df := !pkt.V6() && pmtu && wire.IPv4(pkt).DontFragment()
		tun.PutPlain4(b, n, binary.BigEndian.Uint32(src[12:]), binary.BigEndian.Uint32(dst[12:]), df, id, port)
		if !bytes.Equal(b, want) {
			t.Fatalf("%+v: %x, want %x", tun, b, want)
		}
	}
}

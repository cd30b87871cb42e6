package forward

import (
	"bytes"
	"encoding/hex"
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

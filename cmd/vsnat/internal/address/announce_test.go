package address

import (
	"bytes"
	"net/netip"
	"testing"

	"vsnat/nat/wire"
)

var mac = [6]byte{2, 0, 0, 0, 0, 9}

func TestGratuitousARP(t *testing.T) {
	f := announcement(netip.MustParseAddr("192.0.2.1"), mac)
	want := []byte{
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 9, 8, 6, // Ethernet: to all, ARP
		0, 1, 8, 0, 6, 4, 0, 1, // Ethernet, IPv4, request
		2, 0, 0, 0, 0, 9, 192, 0, 2, 1, // sender
		0, 0, 0, 0, 0, 0, 192, 0, 2, 1, // target
	}
	if len(f) != 60 || !bytes.Equal(f[:len(want)], want) {
		t.Errorf("%d bytes % x", len(f), f)
	}
}

func TestUnsolicitedNA(t *testing.T) {
	a := netip.MustParseAddr("2001:db8::1")
	f := announcement(a, mac)
	want := []byte{
		0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 0x86, 0xdd, // Ethernet: to all nodes, IPv6
		0x60, 0, 0, 0, 0, 32, 58, 255, // 32 bytes of ICMPv6, hop limit 255
		0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, // from the address
		0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, // to all nodes
		136, 0, f[56], f[57], 0x20, 0, 0, 0, // neighbour advertisement, override
		0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, // target
		2, 1, 2, 0, 0, 0, 0, 9, // its link-layer address
	}
	if !bytes.Equal(f, want) {
		t.Errorf("% x, want % x", f, want)
	}
	if !wire.ICMPv6(f[54:]).ChecksumOK(a.As16(), [16]byte{0: 0xff, 1: 2, 15: 1}) {
		t.Error("the checksum is wrong")
	}
}

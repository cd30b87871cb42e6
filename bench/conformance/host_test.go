package conformance

import (
	"net/netip"
	"strings"
	"testing"

	"vsnat/nat"
	"vsnat/nat/wire"
)

func TestLeftToHost(t *testing.T) {
	outside, inside := netip.AddrPortFrom(client(1), 1025), netip.AddrPortFrom(realServer(1), 80)
	service := netip.AddrPortFrom(vips[0], 80)
	tests := []struct {
		name     string
		from     side
		src, dst netip.AddrPort
		p        Packet
		want     string // how the packet that leaves begins; nothing, if none does
	}{
		{"segment to itself", clients, outside, service, Packet{Proto: nat.ProtoTCP, Flags: wire.ACK}, "to the clients: TCP RST 10.9.0.1:80"},
		{"reset to itself", clients, outside, service, Packet{Proto: nat.ProtoTCP, Flags: wire.RST}, ""},
		{"datagram to itself", clients, outside, service, Packet{Proto: nat.ProtoUDP}, "to the clients: ICMP 3/3 from 10.9.0.1"},
		{"at the end of its TTL to itself", clients, outside, service, Packet{Proto: nat.ProtoUDP, Last: true}, "to the clients: ICMP 3/3 from 10.9.0.1"},
		{"to a client", servers, inside, outside, Packet{Proto: nat.ProtoUDP}, "to the clients: UDP 10.2.0.1:80 to 10.1.0.1:1025, TTL 63"},
		{"to a server", clients, outside, inside, Packet{Proto: nat.ProtoUDP}, "to the servers: UDP 10.1.0.1:1025 to 10.2.0.1:80, TTL 63"},
		{"at the end of its TTL", servers, inside, outside, Packet{Proto: nat.ProtoUDP, Last: true}, "to the servers: ICMP 11/0 from 10.9.0.1"},
		{"too long", servers, inside, outside, Packet{Proto: nat.ProtoUDP, Length: mtu}, "to the servers: ICMP 3/4 from 10.9.0.1"},
	}
	for _, tc := range tests {
		var got string
		for _, d := range leftToHost(tc.from, build(&tc.p, tc.src, tc.dst)) {
			got += words(d, tc.from)
		}
		if (tc.want == "") != (got == "") || !strings.HasPrefix(got, tc.want) {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

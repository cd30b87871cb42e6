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
	outside6, inside6, service6 := sixPort(outside), sixPort(inside), sixPort(service)
	marked6 := netip.AddrPortFrom(six(markedVIPs.Addr().Next()), 80)
	tests = append(tests, []struct {
		name     string
		from     side
		src, dst netip.AddrPort
		p        Packet
		want     string
	}{
		{"IPv6 segment to itself", clients, outside6, service6, Packet{Proto: nat.ProtoTCP, Flags: wire.ACK}, "to the clients: TCP RST [fd00::a09:1]:80"},
		{"IPv6 datagram to itself", clients, outside6, service6, Packet{Proto: nat.ProtoUDP}, "to the clients: ICMP 1/4 from fd00::a09:1"},
		{"IPv6 datagram without a checksum", clients, outside6, service6, Packet{Proto: nat.ProtoUDP, NoSum: true}, ""},
		{"IPv6 datagram to what is local by a route", clients, outside6, marked6, Packet{Proto: nat.ProtoUDP}, "to the clients: ICMP 1/4 from fd00::a09:1 to"},
		{"IPv6 to a client", servers, inside6, outside6, Packet{Proto: nat.ProtoUDP}, "to the clients: UDP [fd00::a02:1]:80 to [fd00::a01:1]:1025, TTL 63"},
		{"IPv6 at the end of its hop limit", servers, inside6, outside6, Packet{Proto: nat.ProtoUDP, Last: true}, "to the servers: ICMP 3/0 from fd00::a09:1"},
		{"IPv6, too long", servers, inside6, outside6, Packet{Proto: nat.ProtoUDP, Length: mtu}, "to the servers: ICMP 2/0 from fd00::a09:1"},
		{"an error to itself", clients, outside6, service6, Packet{Proto: nat.ProtoUDP, Error: 1, Quote: 8}, ""},
		{"an error to a client", servers, inside, outside, Packet{Proto: nat.ProtoUDP, Error: 1, Quote: 8}, "to the clients: ICMP 3/3 from 10.2.0.1 to 10.1.0.1, TTL 63, 56 bytes"},
	}...)
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

package conformance

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"vsnat/nat"
)

// The director between clients and servers. Every VIP is an address of its own;
// those of markedVIPs have no service of their own, but the mark.
var (
	clientNet  = netip.MustParsePrefix("10.1.0.0/16")
	serverNet  = netip.MustParsePrefix("10.2.0.0/16")
	vips       = []netip.Addr{vip(1), vip(2), vip(3)}
	markedVIPs = netip.MustParsePrefix("10.9.4.0/24")
	// outside is what clients may want to have cached, behind the servers' NIC: with
	// the mark, too, and by that delivered to the director.
	outside = netip.MustParsePrefix("10.2.200.0/24")
)

const mark = 7 // of the packets to markedVIPs and outside

func vip(n byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 9, 0, n}) }

// mtu is that of both NICs, in bytes of IP packet.
const mtu = 1500

// The timeouts in seconds that a run sets at its beginning: UDP's is short, so
// that its connections end while a run goes on.
const (
	tcpTimeout    = 900
	tcpFinTimeout = 120
	udpTimeout    = 20
)

// endpoints are the services there may be.
var endpoints = []nat.ServiceKey{
	{Proto: nat.ProtoTCP, Addr: vip(1).As16(), Port: 80},
	{Proto: nat.ProtoUDP, Addr: vip(1).As16(), Port: 53},
	{Proto: nat.ProtoTCP, Addr: vip(2).As16(), Port: 443},
	{Proto: nat.ProtoUDP, Addr: vip(2).As16(), Port: 5060},
	{Proto: nat.ProtoTCP, Addr: vip(3).As16(), Port: 0},
	{Proto: nat.ProtoTCP, Addr: vip(3).As16(), Port: 8080},
	{Mark: mark},
}

// wideEndpoints are those of [Config.Wide] as well.
var wideEndpoints = append(slices.Clone(endpoints),
	nat.ServiceKey{Proto: nat.ProtoSCTP, Addr: vip(1).As16(), Port: 3868},
	nat.ServiceKey{Proto: nat.ProtoSCTP, Addr: vip(2).As16(), Port: 9900},
	nat.ServiceKey{Proto: nat.ProtoUDP, Addr: vip(2).As16(), Port: isakmp},
)

// isakmp is the port of both ends of the connections that ESP belongs to.
const isakmp = 500

func realServer(n int) netip.Addr {
	a := serverNet.Addr().As4()
	binary.BigEndian.PutUint16(a[2:], uint16(n))
	return netip.AddrFrom4(a)
}

func client(n int) netip.Addr {
	a := clientNet.Addr().As4()
	binary.BigEndian.PutUint16(a[2:], uint16(n))
	return netip.AddrFrom4(a)
}

package forward

import (
	"vsnat/conntrack"
	"vsnat/nat/wire"
)

// FullIn makes a packet from the client one from the director itself to the real
// server: the source becomes the connection's own address and port,
// the destination RIP and its port. It reports false, and changed nothing, when
// the transport header is not whole. Of an echo request the port is its identifier.
func FullIn(ip wire.IP, l4 []byte, partial bool, c *conntrack.Conn, local *conntrack.Addr, port uint16) bool {
	if echo(c.Proto) {
		return wire.RewriteEcho(ip, l4, partial, local, &c.Dest, port)
	}
	return wire.RewriteBoth(ip, l4, c.Proto, partial, local, port, &c.Dest, c.DestPort)
}

// FullOut makes a packet from the real server to the director one from the
// virtual service to the client.
func FullOut(ip wire.IP, l4 []byte, partial bool, c *conntrack.Conn) bool {
	if echo(c.Proto) {
		return wire.RewriteEcho(ip, l4, partial, &c.Virtual, &c.Client, c.ClientPort)
	}
	return wire.RewriteBoth(ip, l4, c.Proto, partial, &c.Virtual, c.VirtualPort, &c.Client, c.ClientPort)
}

func echo(proto uint8) bool { return proto == wire.ProtoICMP || proto == wire.ProtoICMPv6 }

// FullErrorIn translates an ICMP error about a packet from the virtual service to
// the client, l4, into one about the real server's packet to the director.
func FullErrorIn(ip wire.IP, l4 []byte, c *conntrack.Conn, local *conntrack.Addr, port uint16) bool {
	return wire.RewriteErrorBoth(ip, l4, local, &c.Dest, &c.Dest, c.DestPort, local, port)
}

// FullErrorOut translates an ICMP error about a packet from the director to the
// real server, l4, into one about the client's packet to the virtual service. It
// comes from the address src then.
func FullErrorOut(ip wire.IP, l4 []byte, src *conntrack.Addr, c *conntrack.Conn) bool {
	return wire.RewriteErrorBoth(ip, l4, src, &c.Client, &c.Client, c.ClientPort, &c.Virtual, c.VirtualPort)
}

// Package forward holds the forwarding methods: how a packet is changed on its
// way to the real server and on its way back. One file is one method.
package forward

import (
	"vsnat/conntrack"
	"vsnat/nat/wire"
)

// MasqIn makes a packet from the client one for the real server: destination
// address and port become RIP and its port. partial is as in
// [wire.RewriteDst4]. It reports false, and changed nothing, when the
// transport header is not whole.
func MasqIn(ip wire.IPv4, l4 []byte, partial bool, c *conntrack.Conn) bool {
	return wire.RewriteDst4(ip, l4, partial, [4]byte(c.Dest[12:]), c.DestPort)
}

// MasqOut makes a packet from the real server one from the virtual service:
// source address and port become VIP and its port.
func MasqOut(ip wire.IPv4, l4 []byte, partial bool, c *conntrack.Conn) bool {
	return wire.RewriteSrc4(ip, l4, partial, [4]byte(c.Virtual[12:]), c.VirtualPort)
}

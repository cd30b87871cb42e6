// Package forward holds the forwarding methods: how a packet is changed on its
// way to the real server and on its way back. One file is one method.
package forward

import (
	"vsnat/conntrack"
	"vsnat/nat/wire"
)

// MasqIn makes a packet from the client one for the real server: destination
// address and port become RIP and its port. proto is the protocol of l4, partial
// as in [wire.RewriteDst4]. It reports false, and changed nothing, when the
// transport header is not whole.
func MasqIn(ip wire.IP, l4 []byte, proto uint8, partial bool, c *conntrack.Conn) bool {
	return wire.RewriteDst(ip, l4, proto, partial, &c.Dest, c.DestPort)
}

// MasqOut makes a packet from the real server one from the virtual service:
// source address and port become VIP and its port.
func MasqOut(ip wire.IP, l4 []byte, proto uint8, partial bool, c *conntrack.Conn) bool {
	return wire.RewriteSrc(ip, l4, proto, partial, &c.Virtual, c.VirtualPort)
}

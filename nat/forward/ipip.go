package forward

import "vsnat/nat/wire"

// InIPIP returns the packet inside an IP-in-IP packet: payload is what follows the
// outer header, proto the outer header's protocol. ok is false if that is none.
// The packet is not looked at.
func InIPIP(proto uint8, payload []byte) (inner []byte, v6, ok bool) {
	return payload, proto == wire.ProtoIPv6, proto == wire.ProtoIPv6 || proto == wire.ProtoIPIP
}

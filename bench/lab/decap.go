package lab

import (
	"encoding/binary"
	"errors"
)

// What a tunnel's real server does with what reaches it: it takes the packet out
// of the tunnel. Kernels do that in ipip, fou and ip_gre devices, which not all of
// them have; here it is done in any. This code shares nothing with the director's:
// it is what the director is held against.

// errTunnel is what is wrong with a packet in a tunnel.
type errTunnel string

func (e errTunnel) Error() string { return "lab: " + string(e) }

// The faults.
const (
	errShort    = errTunnel("shorter than its headers")
	errHeader   = errTunnel("a tunnel header with unknown flags")
	errChecksum = errTunnel("a wrong checksum")
	errInner    = errTunnel("what is inside is no IP packet, or of another length")
)

// IP protocol numbers and EtherTypes of what tunnels carry.
const (
	protoIPv4, protoIPv6 = 4, 41
	typeIPv4, typeIPv6   = 0x0800, 0x86dd
)

// innerPacket returns the packet that fills b, if it is one of that protocol.
func innerPacket(b []byte, proto uint8) ([]byte, error) {
	switch {
	case proto == protoIPv4 && len(b) >= 20 && b[0]>>4 == 4 && int(binary.BigEndian.Uint16(b[2:])) == len(b),
		proto == protoIPv6 && len(b) >= 40 && b[0]>>4 == 6 && 40+int(binary.BigEndian.Uint16(b[4:])) == len(b):
		return b, nil
	}
	return nil, errInner
}

// decapGUE takes the packet out of the payload of a GUE datagram (version 0,
// without optional fields). The kernel has checked UDP's checksum.
func decapGUE(b []byte) ([]byte, error) {
	switch {
	case len(b) < 4:
		return nil, errShort
	case b[0] != 0 || b[2] != 0 || b[3] != 0:
		return nil, errHeader
	}
	return innerPacket(b[4:], b[1])
}

// decapGRE takes the packet out of a GRE packet with or without checksum (RFC
// 2784).
func decapGRE(b []byte) ([]byte, error) {
	if len(b) < 4 {
		return nil, errShort
	}
	n := 4
	switch binary.BigEndian.Uint16(b) {
	case 0:
	case 0x8000:
		if n = 8; len(b) < n {
			return nil, errShort
		}
		if onesSum(b) != 0xffff {
			return nil, errChecksum
		}
	default:
		return nil, errHeader
	}
	switch binary.BigEndian.Uint16(b[2:]) {
	case typeIPv4:
		return innerPacket(b[n:], protoIPv4)
	case typeIPv6:
		return innerPacket(b[n:], protoIPv6)
	}
	return nil, errInner
}

// onesSum is the one's complement sum of b (RFC 1071).
func onesSum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// fault tells a packet's fault from a socket's.
func fault(err error) bool {
	var e errTunnel
	return errors.As(err, &e)
}

package wire

import "encoding/binary"

// ARP for IPv4 over Ethernet (RFC 826), offsets in bytes:
//
//	 0      2      4   5   6      8         14       18        24      28
//	+------+------+---+---+------+---------+--------+---------+--------+
//	| hrd  | pro  |hln|pln|  op  | sha     | spa    | tha     | tpa    |
//	+------+------+---+---+------+---------+--------+---------+--------+
const (
	arpHardware = 0
	arpProtocol = 2
	arpHLen     = 4
	arpPLen     = 5
	arpOp       = 6
	arpSHA      = 8
	arpSPA      = 14
	arpTHA      = 18
	arpTPA      = 24
)

// ARPLen is the length in bytes of an ARP packet for IPv4 over Ethernet.
const ARPLen = 28

// ARP operations.
const (
	ARPRequest uint16 = 1
	ARPReply   uint16 = 2
)

// ARP is an ARP packet for IPv4 over Ethernet.
type ARP []byte

// IsValid reports whether the packet is whole and speaks of IPv4 over
// Ethernet.
func (b ARP) IsValid() bool {
	return len(b) >= ARPLen &&
		binary.BigEndian.Uint16(b[arpHardware:]) == 1 &&
		binary.BigEndian.Uint16(b[arpProtocol:]) == TypeIPv4 &&
		b[arpHLen] == 6 && b[arpPLen] == 4
}

// Op returns the operation.
func (b ARP) Op() uint16 { return binary.BigEndian.Uint16(b[arpOp:]) }

// SenderMAC returns the sender's Ethernet address.
func (b ARP) SenderMAC() [6]byte { return [6]byte(b[arpSHA:]) }

// SenderIP returns the sender's IPv4 address.
func (b ARP) SenderIP() [4]byte { return [4]byte(b[arpSPA:]) }

// TargetMAC returns the target's Ethernet address, zero in a request.
func (b ARP) TargetMAC() [6]byte { return [6]byte(b[arpTHA:]) }

// TargetIP returns the target's IPv4 address.
func (b ARP) TargetIP() [4]byte { return [4]byte(b[arpTPA:]) }

package address

import (
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/mdlayher/packet"

	"vsnat/nat/wire"
)

const (
	etherARP  = 0x0806
	etherIPv6 = 0x86dd
)

// announcement returns the frame by which a link's hosts learn that the address
// is at that MAC: a gratuitous ARP request (RFC 5227 section 3: sender and target
// are the address), or an unsolicited neighbour advertisement with the override
// flag (RFC 4861 section 7.2.6).
func announcement(a netip.Addr, mac [6]byte) []byte {
	if a.Is4() {
		return gratuitousARP(a.As4(), mac)
	}
	return unsolicitedNA(a.As16(), mac)
}

func gratuitousARP(a [4]byte, mac [6]byte) []byte {
	f := ethernet([6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, mac, etherARP)
	f = append(f, 0, 1, 8, 0, 6, 4, 0, 1) // Ethernet, IPv4, their lengths, request
	f = append(append(f, mac[:]...), a[:]...)
	f = append(append(f, make([]byte, 6)...), a[:]...)
	return append(f, make([]byte, 18)...) // an Ethernet frame is 60 bytes at least
}

func unsolicitedNA(a [16]byte, mac [6]byte) []byte {
	allNodes := [16]byte{0: 0xff, 1: 0x02, 15: 1}
	message := []byte{136, 0, 0, 0, 0x20, 0, 0, 0} // override
	message = append(message, a[:]...)
	message = append(append(message, 2, 1), mac[:]...) // target link-layer address
	sum := ^wire.Fold(wire.Sum(message, wire.PseudoSum6(a, allNodes, 58, len(message))))
	wire.ICMPv6(message).SetChecksum(sum)
	f := ethernet([6]byte{0x33, 0x33, 5: 1}, mac, etherIPv6)
	f = append(f, 0x60, 0, 0, 0, 0, byte(len(message)), 58, 255)
	f = append(append(f, a[:]...), allNodes[:]...)
	return append(f, message...)
}

func ethernet(dst, src [6]byte, kind uint16) []byte {
	f := append(make([]byte, 0, 96), dst[:]...)
	return binary.BigEndian.AppendUint16(append(f, src[:]...), kind)
}

// send sends a frame from a NIC.
func send(index int, frame []byte) error {
	c, err := packet.Listen(&net.Interface{Index: index}, packet.Raw, int(wire.Ethernet(frame).Type()), nil)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.WriteTo(frame, &packet.Addr{HardwareAddr: frame[:6]})
	return err
}

func netipAddr(ip net.IP) (netip.Addr, bool) {
	a, ok := netip.AddrFromSlice(ip)
	return a.Unmap(), ok
}

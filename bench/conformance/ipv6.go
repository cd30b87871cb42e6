package conformance

import (
	"math/bits"
	"net/netip"

	"vsnat/nat"
)

// A run over IPv6 is one over IPv4 with other addresses: an address A.B.C.D becomes
// fd00::A.B.C.D, in all that is done and all that is there.

// sixBits is how many bits stand before the IPv4 address.
const sixBits = 96

// six returns the IPv6 address that stands for an IPv4 one.
func six(a netip.Addr) netip.Addr {
	if a.IsMulticast() {
		return netip.MustParseAddr("ff05::1")
	}
	b := [16]byte{0: 0xfd}
	v4 := a.As4()
	copy(b[12:], v4[:])
	return netip.AddrFrom16(b)
}

// four is the opposite of six. Other addresses stay what they are.
func four(a netip.Addr) netip.Addr {
	if b := a.As16(); a.Is6() && [12]byte(b[:12]) == [12]byte{0: 0xfd} {
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	return a
}

func sixNet(p netip.Prefix) netip.Prefix {
	return netip.PrefixFrom(six(p.Addr()), sixBits+p.Bits())
}

func sixPort(a netip.AddrPort) netip.AddrPort {
	if !a.IsValid() {
		return a
	}
	return netip.AddrPortFrom(six(a.Addr()), a.Port())
}

func sixKey(k nat.ServiceKey) nat.ServiceKey {
	switch {
	case k.Mark != 0:
		k.V6 = true
	case k != nat.ServiceKey{}:
		k.Addr = six(nat.AddrPort(k.Addr, 0).Addr()).As16()
	}
	return k
}

// overIPv6 gives the run's steps IPv6 addresses.
func overIPv6(steps []Step) {
	for i := range steps {
		s := &steps[i]
		s.Service.Key = sixKey(s.Service.Key)
		if s.Op == AddService || s.Op == EditService {
			s.Service.Netmask = sixBits + uint32(bits.OnesCount32(s.Service.Netmask))
		}
		if a := s.Server.Key.Addr; a != (nat.Addr{}) {
			s.Server.Key.Addr = six(nat.AddrPort(a, 0).Addr()).As16()
		}
		s.Packet.Client, s.Packet.Virtual, s.Packet.From = sixPort(s.Packet.Client), sixPort(s.Packet.Virtual), sixPort(s.Packet.From)
	}
}

package nat

import (
	"net/netip"

	"vsnat/nat/wire"
)

// What the kernel thinks of addresses.

func is4(a *Addr) bool { return wire.Is4(a) }

// unicast reports whether the address may be one host's: of IPv4 not 0/8,
// multicast, reserved or broadcast; of IPv6 neither :: nor multicast.
func unicast(a *Addr) bool {
	if is4(a) {
		return a[12] != 0 && a[12] < 224
	}
	return a[0] != 0xff && *a != Addr{}
}

// foreign reports whether packets from the address may come over a link: it is
// unicast and no loopback address.
func foreign(a *Addr) bool {
	if is4(a) {
		return unicast(a) && a[12] != 127
	}
	return unicast(a) && *a != Addr{15: 1}
}

// linkLocal reports whether the address is one of fe80::/10, which means nothing
// without its link (RFC 4291, section 2.5.6).
func linkLocal(a *Addr) bool { return a[0] == 0xfe && a[1]&0xc0 == 0x80 }

// forOneHost reports whether the kernel takes the address for that of a real
// server: of IPv4, it is not 0.0.0.0, multicast or broadcast (inet_addr_type in
// net/ipv4/fib_frontend.c); of IPv6 it is global unicast or unique local, or
// ::1 (ip_vs_new_dest in ip_vs_ctl.c).
func forOneHost(a Addr) bool {
	ip := netip.AddrFrom16(a).Unmap()
	return !ip.IsUnspecified() && !ip.IsMulticast() && ip != netip.AddrFrom4([4]byte{255, 255, 255, 255}) &&
		!(ip.Is6() && ip.IsLinkLocalUnicast())
}

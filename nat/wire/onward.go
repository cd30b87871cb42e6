package wire

import "encoding/binary"

// Where the fields that change lie in a packet with plain headers: IPv4 without
// options or IPv6 without extension headers, and TCP or UDP right behind.
const (
	// Plain4TCP, Plain4UDP, Plain6TCP and Plain6UDP are how many bytes such a packet
	// has at least.
	Plain4TCP = IPv4MinLen + TCPMinLen
	Plain4UDP = IPv4MinLen + UDPLen
	Plain6TCP = IPv6Len + TCPMinLen
	Plain6UDP = IPv6Len + UDPLen
)

// Onward4 takes one hop off a packet with plain headers ([Plain4TCP] or [Plain4UDP]
// bytes of it at least) and sets both of its ends, as [IPv4.DecTTL] and
// [RewriteBoth] one after the other would, with one pass over each header. An end
// that stays as it is costs nothing more. The time to live is not 0, and a datagram
// of UDP has a checksum, or partial says that the checksum is still to be completed.
// Addresses and ports are in network byte order as numbers, ports source first.
func Onward4(ip []byte, proto uint8, partial bool, src, dst, ports uint32) {
	diff := IPv4(ip).onward(src, dst)
	onwardPorts(ip[IPv4MinLen:], proto, partial, diff, ports)
}

// Onward takes one hop off an IP packet and sets both of its addresses, which are of
// its family, as [IP.DecTTL], [IP.SetSrc] and [IP.SetDst] one after the other would.
// The time to live is not 0.
func (b IP) Onward(src, dst *[16]byte) {
	if b.V6() {
		b[ip6HopLimit]--
		*(*[16]byte)(b[ip6Src:]), *(*[16]byte)(b[ip6Dst:]) = *src, *dst
		return
	}
	IPv4(b).onward(binary.BigEndian.Uint32(src[12:]), binary.BigEndian.Uint32(dst[12:]))
}

// onward is [IP.Onward] for IPv4. It returns by how much the sum of the pseudo-header
// changes: the complements of the addresses that leave plus those that come.
func (b IPv4) onward(src, dst uint32) uint64 {
	be := binary.BigEndian
	h := (*[IPv4MinLen]byte)(b)
	diff := uint64(^be.Uint32(h[ip4Src:])) + uint64(^be.Uint32(h[ip4Dst:])) + uint64(src) + uint64(dst)
	// What is one word here is written at once, and so read at once by whoever comes
	// next: a part of a word that was just written by itself would be waited for.
	w := be.Uint32(h[ip4TTL:])
	now := w>>16 - 1<<8
	c := ^Fold(uint64(^uint16(w)) + uint64(^uint16(w>>16)) + uint64(now) + diff)
	be.PutUint32(h[ip4TTL:], now<<16|uint32(c))
	be.PutUint64(h[ip4Src:], uint64(src)<<32|uint64(dst))
	return diff
}

// Onward6 is [Onward4] for IPv6; the addresses are IPv6's.
func Onward6(ip []byte, proto uint8, partial bool, src, dst *[16]byte, ports uint32) {
	h := (*[Plain6UDP]byte)(ip)
	h[ip6HopLimit]--
	// The complements of what leaves are those of its eight words.
	diff := 8*0xffffffff - sum16((*[16]byte)(h[ip6Src:])) - sum16((*[16]byte)(h[ip6Dst:])) + sum16(src) + sum16(dst)
	*(*[16]byte)(h[ip6Src:]) = *src
	*(*[16]byte)(h[ip6Dst:]) = *dst
	onwardPorts(ip[IPv6Len:], proto, partial, diff, ports)
}

// onwardPorts sets both ports of a TCP or UDP header and corrects its checksum, under
// which the pseudo-header changes by diff.
func onwardPorts(l4 []byte, proto uint8, partial bool, diff uint64, ports uint32) {
	be := binary.BigEndian
	u := (*[UDPLen]byte)(l4)
	if !partial { // the ports are not in the pseudo-header
		diff += uint64(^be.Uint32(u[:])) + uint64(ports)
	}
	be.PutUint32(u[:], ports)
	if proto == ProtoUDP {
		be.PutUint16(u[udpChecksum:], notZero(onwardSum(be.Uint16(u[udpChecksum:]), diff, partial)))
		return
	}
	t := (*[TCPMinLen]byte)(l4)
	be.PutUint16(t[tcpChecksum:], onwardSum(be.Uint16(t[tcpChecksum:]), diff, partial))
}

// onwardSum returns what becomes of the checksum c; see rewriteSum.
func onwardSum(c uint16, diff uint64, partial bool) uint16 {
	if partial {
		return Fold(uint64(c) + diff + 0xffff)
	}
	return ^Fold(uint64(^uint32(c)) + diff)
}

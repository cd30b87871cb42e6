package ipvsadm

import (
	"net/netip"

	"vsnat/cmd/vsnat/internal/control"
)

// Listings are sorted with comparisons that subtract 32-bit numbers and keep
// 32 bits of the result. Addresses 2^31 and more apart therefore compare the
// wrong way round and the order is not even transitive, so its outcome depends
// on the algorithm: it is glibc's qsort, a merge sort.

// mergeSort sorts s as glibc's qsort does.
func mergeSort[T any](s []T, cmp func(a, b *T) int32) {
	if len(s) < 2 {
		return
	}
	a, b := s[:len(s)/2], s[len(s)/2:]
	mergeSort(a, cmp)
	mergeSort(b, cmp)
	merged := make([]T, 0, len(s))
	for len(a) > 0 && len(b) > 0 {
		if cmp(&a[0], &b[0]) <= 0 {
			merged, a = append(merged, a[0]), a[1:]
		} else {
			merged, b = append(merged, b[0]), b[1:]
		}
	}
	copy(s, append(append(merged, a...), b...))
}

// compareAddr compares as many words as a has: an IPv6 address is compared
// with an IPv4 one as if that had zeros behind it.
func compareAddr(a, b netip.Addr) int32 {
	for i := 0; i < a.BitLen()/32; i++ {
		if d := int32(word(a, i) - word(b, i)); d != 0 {
			return d
		}
	}
	return 0
}

// compareServices orders services by mark, family, protocol, address, port.
func compareServices(a, b *control.ServiceEntry) int32 {
	if d := int32(a.FWMark - b.FWMark); d != 0 {
		return d
	}
	if a.Family != b.Family {
		if a.Family == control.IPv4 { // AF_INET is less than AF_INET6
			return -1
		}
		return 1
	}
	if d := int32(a.Protocol.Number()) - int32(b.Protocol.Number()); d != 0 {
		return d
	}
	if d := compareAddr(a.Address, b.Address); d != 0 {
		return d
	}
	return int32(a.Port) - int32(b.Port)
}

// compareServers orders servers by address and port.
func compareServers(a, b *control.ServerEntry) int32 {
	if d := compareAddr(a.Address, b.Address); d != 0 {
		return d
	}
	return int32(a.Port) - int32(b.Port)
}

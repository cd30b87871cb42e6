package wire

import (
	"encoding/binary"
	"math/bits"
)

// Sum adds b's 16-bit words, read in network byte order, to initial. An odd
// last byte counts as the high half of a word. The result is not folded: sums
// add up, so a sum over several pieces is made by handing each result on as
// the next initial, provided that every piece but the last has an even length.
//
// The words are added eight bytes at a time and in little-endian order. RFC
// 1071 allows both: section 2(A) says that carries may be added at the end
// (here bits.Add64 hands them round, as 2^64-1 is a multiple of 2^16-1), and
// 2(B) that a sum over byte-swapped words is the byte-swapped sum.
func Sum(b []byte, initial uint64) uint64 {
	var sum, carry uint64
	for len(b) >= 64 {
		w := b[:64:64]
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(w), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(w[8:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(w[16:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(w[24:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(w[32:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(w[40:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(w[48:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(w[56:]), carry)
		b = b[64:]
	}
	for len(b) >= 8 {
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b), carry)
		b = b[8:]
	}
	var tail uint64 // at most seven bytes, in their places
	if len(b) >= 4 {
		tail = uint64(binary.LittleEndian.Uint32(b))
		b = b[4:]
	}
	var rest uint64 // at most three bytes
	switch len(b) {
	case 3:
		rest = uint64(binary.LittleEndian.Uint16(b)) + uint64(b[2])
	case 2:
		rest = uint64(binary.LittleEndian.Uint16(b))
	case 1:
		rest = uint64(b[0])
	}
	sum, carry = bits.Add64(sum, tail+rest, carry)
	sum += carry // cannot overflow: after a carry, sum is less than 2^33
	return initial + uint64(bits.ReverseBytes16(Fold(sum)))
}

// Fold reduces a sum to 16 bits, adding the carries back in. It is 0 only if
// sum is 0.
func Fold(sum uint64) uint16 {
	sum = sum>>32 + sum&0xffffffff // at most 0x1fffffffe
	sum = sum>>16 + sum&0xffff     // at most 0x2fffd
	sum = sum>>16 + sum&0xffff     // at most 0x10000
	sum = sum>>16 + sum&0xffff     // at most 0xffff
	return uint16(sum)
}

// Checksum returns the Internet checksum of b (RFC 1071). Over bytes that
// already hold their right checksum it is 0.
func Checksum(b []byte) uint16 { return ^Fold(Sum(b, 0)) }

// SumToChecksum returns the checksum of what has that sum, as UDP has it and who
// completes a checksum for hardware: 0xffff in place of 0, which in UDP would mean
// that there is none (RFC 768) and to all others is the same.
func SumToChecksum(sum uint64) uint16 { return notZero(^Fold(sum)) }

// PseudoSum4 returns the sum of the IPv4 pseudo-header of TCP and UDP (RFC
// 9293, section 3.1; RFC 768). length is that of the layer-4 header and its
// payload, in bytes.
func PseudoSum4(src, dst [4]byte, proto uint8, length int) uint64 {
	return uint64(binary.BigEndian.Uint32(src[:])) + uint64(binary.BigEndian.Uint32(dst[:])) +
		uint64(proto) + uint64(length)
}

// PseudoSum6 returns the sum of the IPv6 pseudo-header (RFC 8200, section
// 8.1). length is that of the upper-layer header and its payload, in bytes.
func PseudoSum6(src, dst [16]byte, proto uint8, length int) uint64 {
	return sum16(&src) + sum16(&dst) + uint64(proto) + uint64(length)
}

// sum16 returns the sum over the words of an IPv6 address, not folded.
func sum16(a *[16]byte) uint64 {
	return uint64(binary.BigEndian.Uint32(a[0:])) + uint64(binary.BigEndian.Uint32(a[4:])) +
		uint64(binary.BigEndian.Uint32(a[8:])) + uint64(binary.BigEndian.Uint32(a[12:]))
}

// Update16 returns checksum c after one of the 16-bit words under it changed
// (RFC 1624, equation 3). The word must stand at an even offset.
func Update16(c, old, now uint16) uint16 {
	return ^Fold(uint64(^c) + uint64(^old) + uint64(now))
}

// Update32 is [Update16] for two words that stand side by side.
func Update32(c uint16, old, now uint32) uint16 {
	return ^Fold(uint64(^c) + uint64(^old) + uint64(now))
}

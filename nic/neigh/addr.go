package neigh

import (
	"encoding/binary"

	"vsnat/nic"
)

// ip is an address as two big-endian words, which can be masked, compared and
// hashed without a loop. IPv4 is mapped, as in [nic.Addr].
type ip struct{ hi, lo uint64 }

// v4Prefix is ::ffff:0:0/96, under which IPv4 addresses are mapped.
const (
	v4Prefix = 0xffff << 32
	v4Bits   = 96
)

func fromAddr(a nic.Addr) ip {
	return ip{binary.BigEndian.Uint64(a[:8]), binary.BigEndian.Uint64(a[8:])}
}

func (a ip) addr() (out nic.Addr) {
	binary.BigEndian.PutUint64(out[:8], a.hi)
	binary.BigEndian.PutUint64(out[8:], a.lo)
	return out
}

// fromBytes reads an address as the kernel writes it: 4 or 16 bytes.
func fromBytes(b []byte) (ip, bool) {
	switch len(b) {
	case 4:
		return ip{0, v4Prefix | uint64(binary.BigEndian.Uint32(b))}, true
	case 16:
		return ip{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}, true
	}
	return ip{}, false
}

// bytes is the opposite of fromBytes.
func (a ip) bytes() []byte {
	out := a.addr()
	if a.is4() {
		return out[12:]
	}
	return out[:]
}

func (a ip) is4() bool    { return a.hi == 0 && a.lo>>32 == 0xffff }
func (a ip) isZero() bool { return a == ip{} }

// mask clears all but the first bits (0 to 128) of the address.
func (a ip) mask(bits uint8) ip {
	if bits <= 64 {
		// A shift by 64 gives 0, as it should.
		return ip{a.hi &^ (^uint64(0) >> bits), 0}
	}
	return ip{a.hi, a.lo &^ (^uint64(0) >> (bits - 64))}
}

// within reports whether the address is in the prefix p/bits.
func (a ip) within(p ip, bits uint8) bool { return a.mask(bits) == p.mask(bits) }

// routable reports whether a unicast route may be looked up for the address:
// not the unspecified, limited broadcast and multicast ones.
func (a ip) routable() bool {
	if a.is4() {
		v4 := uint32(a.lo)
		return v4 != 0 && v4 != 1<<32-1 && v4>>28 != 0xe
	}
	return !a.isZero() && a.hi>>56 != 0xff
}

// linkLocal6 and uniqueLocal6 are the IPv6 address ranges fe80::/10 (RFC 4291
// section 2.5.6) and fc00::/7 (RFC 4193).
func (a ip) linkLocal6() bool   { return a.hi>>54 == 0xfe80>>6 }
func (a ip) uniqueLocal6() bool { return a.hi>>57 == 0xfc>>1 }

// spread hashes the address into 64 well mixed bits; it is the same in every
// process, so that two directors choose alike. The constants and shifts are
// those of MurmurHash3's 64-bit finalizer.
func (a ip) spread() uint64 {
	h := a.hi*0x9e3779b97f4a7c15 + a.lo
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

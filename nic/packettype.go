package nic

// TypeOf returns the type of a frame to the link-layer address dst that
// arrives at an interface with the address mac, as the kernel sets it
// (eth_type_trans in net/ethernet/eth.c). It is for devices behind which there
// is no kernel. An interface whose address is all zero takes every unicast
// frame for its own.
func TypeOf(dst, mac [6]byte) PacketType {
	switch {
	case dst == [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}:
		return ToBroadcast
	case dst[0]&1 != 0:
		return ToMulticast
	case dst == mac || mac == [6]byte{}:
		return ToHost
	}
	return ToOther
}

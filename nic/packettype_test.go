package nic_test

import (
	"testing"

	"vsnat/nic"
)

func TestTypeOf(t *testing.T) {
	mac := [6]byte{2, 0, 0, 0, 0, 1}
	tests := []struct {
		dst, mac [6]byte
		want     nic.PacketType
	}{
		{mac, mac, nic.ToHost},
		{[6]byte{2, 0, 0, 0, 0, 2}, mac, nic.ToOther},
		{[6]byte{2, 0, 0, 0, 0, 2}, [6]byte{}, nic.ToHost},
		{[6]byte{1, 0, 0x5e, 0, 0, 1}, mac, nic.ToMulticast},
		{[6]byte{0x33, 0x33, 0, 0, 0, 1}, [6]byte{}, nic.ToMulticast},
		{[6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, mac, nic.ToBroadcast},
		{[6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, [6]byte{}, nic.ToBroadcast},
		{[6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xfe}, mac, nic.ToMulticast},
	}
	for _, tc := range tests {
		if got := nic.TypeOf(tc.dst, tc.mac); got != tc.want {
			t.Errorf("frame to %x at %x: type %d, want %d", tc.dst, tc.mac, got, tc.want)
		}
	}
}

package afpacket

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"vsnat/nic"
)

func TestLayout(t *testing.T) {
	tests := []struct {
		slots, size int
		want        layout
	}{
		{0, 0, layout{slot: 2 << 10, block: 1 << 20, perBlock: 512, blocks: 8}},
		{256, 68 << 10, layout{slot: 68 << 10, block: 1 << 20, perBlock: 15, blocks: 18}},
		{1, 512, layout{slot: 512, block: 1 << 20, perBlock: 2048, blocks: 1}},
		{2048, 2048, layout{slot: 2048, block: 1 << 20, perBlock: 512, blocks: 4}},
		{2049, 2048, layout{slot: 2048, block: 1 << 20, perBlock: 512, blocks: 5}},
		{100, 2049, layout{slot: 2064, block: 1 << 20, perBlock: 508, blocks: 1}},
		{2, 1 << 20, layout{slot: 1 << 20, block: 1 << 20, perBlock: 1, blocks: 2}},
		{2, 1<<20 + 1, layout{slot: 1<<20 + 16, block: 2 << 20, perBlock: 1, blocks: 2}},
	}
	for _, tc := range tests {
		got, err := newLayout(tc.slots, tc.size)
		if err != nil || got != tc.want {
			t.Errorf("%d slots of %d: got %+v, %v, want %+v", tc.slots, tc.size, got, err, tc.want)
		}
		if got.slots() < tc.slots {
			t.Errorf("%d slots of %d: only %d", tc.slots, tc.size, got.slots())
		}
	}
}

// TestRingRefused gives each failure of the kernel to the function that
// explains it.
func TestRingRefused(t *testing.T) {
	l, err := newLayout(0, 0)
	check(t, err)
	if err := ringFailed(l, unix.ENOMEM); !errors.Is(err, unix.ENOMEM) || !strings.Contains(err.Error(), "8 MiB: use fewer slots") {
		t.Errorf("ENOMEM: %v", err)
	}
	features := []struct {
		err    error
		name   string
		kernel string
	}{
		{ringFailed(l, unix.EINVAL), "PACKET_VNET_HDR in a PACKET_RX_RING", "4.6"},
		{ringOptions[4].failed(unix.ENOPROTOOPT), "PACKET_IGNORE_OUTGOING", "4.20"},
		{ringOptions[0].failed(unix.EINVAL), "PACKET_VERSION TPACKET_V2", "2.6.27"},
		{bypassOption.failed(unix.ENOPROTOOPT), "PACKET_QDISC_BYPASS", "3.14"},
	}
	for _, tc := range features {
		var f *nic.Feature
		if !errors.As(tc.err, &f) || f.Name != tc.name || f.MinKernel != tc.kernel {
			t.Errorf("got %v, want feature %s of %s", tc.err, tc.name, tc.kernel)
		}
	}
	var f *nic.Feature
	if err := bypassOption.failed(unix.EPERM); errors.As(err, &f) || !errors.Is(err, unix.EPERM) {
		t.Errorf("EPERM: %v", err)
	}
}

// TestOptionAfterRing has the kernel itself refuse an option.
func TestOptionAfterRing(t *testing.T) {
	near, _, _, _ := pair(t, Config{})
	if err := setOptions(near.fd, ringOptions); !errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), "PACKET_VERSION") {
		t.Errorf("got %v, want EBUSY for PACKET_VERSION", err)
	}
	var f *nic.Feature
	unknown := option{opt: 9999, name: "PACKET_UNKNOWN", kernel: "99"}
	if err := setOptions(near.fd, []option{unknown}); !errors.As(err, &f) || !errors.Is(err, unix.ENOPROTOOPT) {
		t.Errorf("got %v, want a missing feature", err)
	}
}

// FuzzDecode has a slot with any header make a frame that lies in the slot.
func FuzzDecode(f *testing.F) {
	good := make([]byte, 64)
	binary.NativeEndian.PutUint32(good[offLen:], 100)
	binary.NativeEndian.PutUint32(good[offSnapLen:], 100)
	binary.NativeEndian.PutUint16(good[offMAC:], 82)
	f.Add(good, uint32(unix.TP_STATUS_USER))
	f.Add(bytes.Repeat([]byte{0xff}, 64), uint32(0xffffffff))
	f.Add([]byte{}, uint32(0))
	f.Fuzz(func(t *testing.T, head []byte, status uint32) {
		slot := make([]byte, minSlotSize)
		copy(slot, head)
		var fr nic.Frame
		decode(slot, status, &fr)
		if len(fr.Buf) < nic.VNetHdrLen || len(fr.Eth()) > minSlotSize || cap(fr.Buf) > minSlotSize-slotHeader {
			t.Errorf("a frame of %d bytes with room for %d in a slot of %d", len(fr.Buf), cap(fr.Buf), minSlotSize)
		}
		fr.VNet().Clear()
	})
}

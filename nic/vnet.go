package nic

import "encoding/binary"

// VNet is the virtio-net header of a frame: what the sender's stack left for
// the hardware to do. Fields are in host byte order (virtio 1.2, 5.1.6, legacy
// layout as the kernel's packet sockets use it).
type VNet []byte

// Flags and segmentation types of a virtio-net header.
const (
	// VNetNeedsCsum says that the layer-4 checksum field holds only the
	// folded, not inverted sum of the pseudo-header.
	VNetNeedsCsum = 1
	// VNetDataValid says that the checksum was verified on the way here.
	VNetDataValid = 2

	VNetGSONone  = 0
	VNetGSOTCPv4 = 1
	VNetGSOUDP   = 3
	VNetGSOTCPv6 = 4
	VNetGSOUDPL4 = 5
	// VNetGSOECN is or-ed to a TCP type when the segments carry CWR.
	VNetGSOECN = 0x80
)

// VNet returns the frame's virtio-net header.
func (f *Frame) VNet() VNet { return VNet(f.Buf[:VNetHdrLen:VNetHdrLen]) }

// Partial reports whether the layer-4 checksum is still to be completed.
func (h VNet) Partial() bool { return h[0]&VNetNeedsCsum != 0 }

// GSOType returns the segmentation type, the ECN bit taken off.
func (h VNet) GSOType() uint8 { return h[1] &^ VNetGSOECN }

// HdrLen returns the length in bytes of the headers that each segment repeats.
func (h VNet) HdrLen() uint16 { return binary.NativeEndian.Uint16(h[2:]) }

// SetHdrLen sets that length. Of a frame that is not to be segmented it is how much
// lies together in the kernel's memory.
func (h VNet) SetHdrLen(n int) { binary.NativeEndian.PutUint16(h[2:], uint16(n)) }

// GSOSize returns the payload length in bytes of each segment.
func (h VNet) GSOSize() uint16 { return binary.NativeEndian.Uint16(h[4:]) }

// CsumStart returns the offset in bytes, from the Ethernet header on, at which
// checksumming starts.
func (h VNet) CsumStart() uint16 { return binary.NativeEndian.Uint16(h[6:]) }

// CsumOffset returns the offset of the checksum field from CsumStart, in bytes.
func (h VNet) CsumOffset() uint16 { return binary.NativeEndian.Uint16(h[8:]) }

// Clear makes the header that of a complete frame: nothing left to do.
func (h VNet) Clear() {
	// Two words instead of a call, as every packet in a tunnel has it.
	b := (*[VNetHdrLen]byte)(h)
	binary.NativeEndian.PutUint64(b[:], 0)
	binary.NativeEndian.PutUint16(b[8:], 0)
}

// Whole takes the segmentation off: the frame is one segment.
func (h VNet) Whole() {
	h[1] = VNetGSONone
	binary.NativeEndian.PutUint16(h[4:], 0)
}

// Segment has a TCP frame with a partial checksum segmented by whoever sends it.
// head is the length in bytes of the headers that each segment repeats, l4 the
// offset of the TCP header, both from the Ethernet header on; size is the payload
// length of each segment.
func (h VNet) Segment(v6 bool, head, l4, size int) {
	const checksum = 16 // offset in the TCP header
	if v6 {
		h.segment(VNetGSOTCPv6, head, l4, size, checksum)
	} else {
		h.segment(VNetGSOTCPv4, head, l4, size, checksum)
	}
}

// SegmentDatagrams has a UDP frame with a partial checksum cut into datagrams of size
// bytes; else it is as [VNet.Segment].
func (h VNet) SegmentDatagrams(head, l4, size int) {
	const checksum = 6 // offset in the UDP header
	h.segment(VNetGSOUDPL4, head, l4, size, checksum)
}

func (h VNet) segment(how uint8, head, l4, size, checksum int) {
	h[0], h[1] = VNetNeedsCsum, how
	binary.NativeEndian.PutUint16(h[2:], uint16(head))
	binary.NativeEndian.PutUint16(h[4:], uint16(size))
	binary.NativeEndian.PutUint16(h[6:], uint16(l4))
	binary.NativeEndian.PutUint16(h[8:], uint16(checksum))
}

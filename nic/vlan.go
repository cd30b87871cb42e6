package nic

import "encoding/binary"

// VLANs (IEEE 802.1Q). The kernel delivers a frame's outermost tag beside the
// frame; a capture file has it in the frame. Whoever judges frames has it beside
// ([Frame.TakeTag]), and devices send it in the frame ([Frame.Parts]).

const (
	// VLANID are the bits of [Frame.VLAN] that number the VLAN; 0 is a frame that
	// has but a priority.
	VLANID = 0x0fff

	vlanLen   = 4
	vlanProto = 0x8100 // 802.1Q
	qinqProto = 0x88a8 // 802.1ad
	macsLen   = 12
)

// TakeTag moves the outermost tag in the Ethernet frame beside it. It reports
// false, and changes nothing, if there is none or one is beside it already.
func (f *Frame) TakeTag() bool {
	if f.VLANProto != 0 || len(f.Buf) < VNetHdrLen+macsLen+vlanLen+2 {
		return false
	}
	tag := f.Buf[VNetHdrLen+macsLen:]
	proto := binary.BigEndian.Uint16(tag)
	if proto != vlanProto && proto != qinqProto {
		return false
	}
	f.VLAN, f.VLANProto = binary.BigEndian.Uint16(tag[2:]), proto
	f.VNet().Shift(-vlanLen)
	copy(f.Buf[vlanLen:], f.Buf[:VNetHdrLen+macsLen])
	if f.mem != nil {
		f.head += vlanLen
	}
	f.Buf = f.Buf[vlanLen:]
	f.WireLen -= vlanLen
	return true
}

// Parts returns the bytes of a frame that is to be sent, virtio-net header first,
// its tag in its place: one to four parts, the others nil, which those in Segments
// follow. The virtio-net header is changed for it: it is called once a frame. tag is
// memory for the tag.
func (f *Frame) Parts(tag *[vlanLen]byte) (parts [4][]byte) {
	if f.VLANProto == 0 || len(f.Buf) < VNetHdrLen+macsLen {
		return [4][]byte{f.Buf, f.Tail}
	}
	binary.BigEndian.PutUint16(tag[:], f.VLANProto)
	binary.BigEndian.PutUint16(tag[2:], f.VLAN)
	f.VNet().Shift(vlanLen)
	return [4][]byte{f.Buf[:VNetHdrLen+macsLen], tag[:], f.Buf[VNetHdrLen+macsLen:], f.Tail}
}

// Copy copies what [Frame.Parts] returns to b, which has room for it, and returns its
// length; those in Segments are not of them. The frame itself is not changed.
func (f *Frame) Copy(b []byte) int {
	if f.VLANProto == 0 || len(f.Buf) < VNetHdrLen+macsLen {
		n := copy(b, f.Buf)
		return n + copy(b[n:], f.Tail)
	}
	n := copy(b, f.Buf[:VNetHdrLen+macsLen])
	VNet(b[:VNetHdrLen]).Shift(vlanLen)
	binary.BigEndian.PutUint16(b[n:], f.VLANProto)
	binary.BigEndian.PutUint16(b[n+2:], f.VLAN)
	n += vlanLen
	n += copy(b[n:], f.Buf[VNetHdrLen+macsLen:])
	return n + copy(b[n:], f.Tail)
}

// Len returns the Ethernet frame's length in bytes as it is sent: tag, tail and
// segments included.
func (f *Frame) Len() int {
	n := len(f.Buf) - VNetHdrLen + len(f.Tail)
	for _, s := range f.Segments {
		n += len(s)
	}
	if f.VLANProto != 0 {
		n += vlanLen
	}
	return n
}

// Shift corrects the header for n bytes that come or go before the IP header.
func (h VNet) Shift(n int) {
	if h.Partial() {
		binary.NativeEndian.PutUint16(h[6:], h.CsumStart()+uint16(n))
	}
	if h.GSOType() != VNetGSONone {
		binary.NativeEndian.PutUint16(h[2:], h.HdrLen()+uint16(n))
	}
}

// Package nic says what a network interface is to the data path: frames that
// lie in a device's receive slots, batches of them, devices that fill and send
// batches, and the host's routes as a lookup. It holds interfaces and plain
// types only; the devices are in its sub-packages.
package nic

// VNetHdrLen is the length in bytes of the virtio-net header (struct
// virtio_net_hdr, include/uapi/linux/virtio_net.h) that stands before the
// Ethernet header in [Frame.Buf].
const VNetHdrLen = 10

// Headroom is how many bytes devices keep free before a frame that they receive:
// the longest tunnel header, IPv6 (40), UDP (8) and GUE (4), and some to spare.
const Headroom = 64

// MaxBatch is the largest number of frames that are received, judged and sent
// together. More would only delay the first of them.
const MaxBatch = 64

// PacketType is the kernel's view of a frame's link-layer destination
// (sll_pkttype of packet(7)).
type PacketType uint8

// The packet types, in the kernel's numbering.
const (
	ToHost      PacketType = 0 // addressed to this interface's MAC address
	ToBroadcast PacketType = 1
	ToMulticast PacketType = 2
	ToOther     PacketType = 3 // addressed to another station, seen by promiscuity
)

// Frame is one frame. Its memory belongs to the device that received it until
// the batch is released; whoever judges it may rewrite it in place.
type Frame struct {
	// Buf is VNetHdrLen bytes of virtio-net header, in host byte order, and
	// then the Ethernet frame without its check sequence.
	Buf []byte
	// Tail is what follows the bytes of Buf in a frame that is to be sent and
	// whose end lies elsewhere: in the frame that it is a segment of. It is nil in
	// frames that were received.
	Tail []byte
	// Segments follow Buf and Tail in a frame that is to be sent and was merged of
	// several: their payloads, each in memory of its own. It is nil in frames that
	// were received.
	Segments [][]byte
	// Time is when the kernel received the frame, in nanoseconds of
	// CLOCK_REALTIME since the Unix epoch; 0 when it is not known.
	Time int64
	// WireLen is the Ethernet frame's length in bytes before it was cut to
	// the receive slot. It is larger than len(Eth()) only for cut frames.
	WireLen int
	// VLAN is the tag control information (802.1Q) that stands beside the frame,
	// and VLANProto its EtherType; VLANProto 0 means no tag. A frame that is sent
	// gets it.
	VLAN, VLANProto uint16
	// Type is the kernel's view of the link-layer destination.
	Type PacketType

	mem  []byte // that Buf lies in
	head int    // where it begins there
}

// Place makes Buf the bytes of mem from head to end. What is before them is free
// for [Frame.Prepend].
func (f *Frame) Place(mem []byte, head, end int) {
	f.Buf, f.mem, f.head = mem[head:end], mem, head
}

// Prepend makes Buf begin n bytes earlier, with whatever stands there, for a
// header that is to stand before what it holds. Without the memory for it, it
// reports false and changes nothing.
func (f *Frame) Prepend(n int) bool {
	// Whoever has given Buf other memory has not told where that begins.
	if n > f.head || len(f.Buf) == 0 || f.head >= len(f.mem) || &f.mem[f.head] != &f.Buf[0] {
		return false
	}
	f.head -= n
	f.Buf = f.mem[f.head : f.head+n+len(f.Buf)]
	return true
}

// Eth returns the Ethernet frame, header included, without what is in Tail and Segments.
func (f *Frame) Eth() []byte { return f.Buf[VNetHdrLen:] }

// Cut reports whether the receive slot was too small for the frame.
func (f *Frame) Cut() bool { return f.WireLen > len(f.Buf)-VNetHdrLen }

// Batch is up to MaxBatch frames that were received together. N of them are
// valid. A batch is allocated once and filled again and again.
type Batch struct {
	N      int
	Frames [MaxBatch]Frame
}

package afpacket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"vsnat/nic"
)

// Offsets in bytes of struct tpacket2_hdr (include/uapi/linux/if_packet.h),
// with which every slot begins:
//
//	 0 status   4 len   8 snaplen   12 mac (16 bit)   14 net (16 bit)
//	16 sec     20 nsec 24 vlan_tci (16 bit)           26 vlan_tpid (16 bit)
//	28 padding
//
// and of struct sockaddr_ll, which follows it. All in host byte order.
const (
	offLen      = 4
	offSnapLen  = 8
	offMAC      = 12
	offSec      = 16
	offNsec     = 20
	offVLAN     = 24
	offVLANProt = 26
	offPktType  = 32 + 10
)

const (
	// slotHeader is TPACKET2_HDRLEN: tpacket2_hdr and sockaddr_ll.
	slotHeader = 32 + 20
	// reserve is extra room before a frame. The kernel puts the network
	// header at a multiple of 16 bytes, plus reserve, plus the virtio-net
	// header; 6 makes the sum a multiple of 16 again. The rest makes it
	// headroom: 20 bytes are there without it.
	reserve = 6 + 48
	// minSlotSize leaves room for all headers of a frame.
	minSlotSize = 512
	// maxRing bounds the ring's memory, so that lengths fit everywhere.
	maxRing = 1 << 30
	// blockSize is the least memory in bytes that the kernel allocates at a
	// time. It allocates powers of two, so a block of one slot may waste half.
	blockSize = 1 << 20
	// align is TPACKET_ALIGNMENT.
	align = 16
)

// layout is the geometry of a ring. Slots do not straddle blocks.
type layout struct {
	slot, block      int // sizes in bytes
	perBlock, blocks int
}

// newLayout lays out a ring of at least that many slots.
func newLayout(slots, slotSize int) (layout, error) {
	if slots == 0 {
		slots = DefaultSlots
	}
	if slotSize == 0 {
		slotSize = DefaultSlotSize
	}
	if slotSize < minSlotSize || slots < 1 || slotSize > maxRing/slots {
		return layout{}, fmt.Errorf("a receive ring of %d slots of %d bytes: a slot takes at least %d bytes, and the ring at most %d",
			slots, slotSize, minSlotSize, maxRing)
	}
	l := layout{slot: (slotSize + align - 1) &^ (align - 1), block: blockSize}
	for l.block < l.slot {
		l.block *= 2
	}
	l.perBlock = l.block / l.slot
	l.blocks = (slots + l.perBlock - 1) / l.perBlock
	return l, nil
}

// size returns the ring's memory in bytes.
func (l layout) size() int { return l.blocks * l.block }

// slots returns the number of slots.
func (l layout) slots() int { return l.blocks * l.perBlock }

// request is the layout as the kernel wants it.
func (l layout) request() *unix.TpacketReq {
	return &unix.TpacketReq{
		Block_size: uint32(l.block), Block_nr: uint32(l.blocks),
		Frame_size: uint32(l.slot), Frame_nr: uint32(l.slots()),
	}
}

// offsets returns where each slot begins.
func (l layout) offsets() []uint32 {
	at := make([]uint32, l.slots())
	for i := range at {
		at[i] = uint32(i/l.perBlock*l.block + i%l.perBlock*l.slot)
	}
	return at
}

// ring is the memory that the kernel fills, slot after slot, in a circle. The
// status word of a slot says who owns it. Slots between the first held one and
// next are ours; the kernel fills from next on.
type ring struct {
	mem  []byte
	at   []uint32 // offset of each slot in mem
	slot uint32   // its size
	next int      // slot that the kernel fills next
	held int      // slots before next that are not released
}

// newRing has the kernel set up a receive ring and maps it.
func newRing(fd int, l layout) (ring, error) {
	if err := unix.SetsockoptTpacketReq(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, l.request()); err != nil {
		return ring{}, ringFailed(l, err)
	}
	mem, err := unix.Mmap(fd, 0, l.size(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return ring{}, os.NewSyscallError("mmap", err)
	}
	return ring{mem: mem, slot: uint32(l.slot), at: l.offsets()}, nil
}

// ringFailed explains why the kernel refused a ring. The layout is valid, so
// EINVAL means that the kernel has no virtio-net headers in rings.
func ringFailed(l layout, err error) error {
	if errors.Is(err, unix.ENOMEM) {
		return fmt.Errorf("no memory for a receive ring of %d MiB: use fewer slots: %w", l.size()>>20, err)
	}
	return option{name: "PACKET_VNET_HDR in a PACKET_RX_RING", kernel: "4.6"}.failed(err)
}

// ready reports whether the kernel has filled a slot that was not taken yet.
func (r *ring) ready() bool {
	return r.held < len(r.at) && loadStatus(r.mem[r.at[r.next]:])&unix.TP_STATUS_USER != 0
}

// peek returns the next slot and its status, or nil if the kernel has not filled
// it.
func (r *ring) peek() (slot []byte, status uint32) {
	if r.held == len(r.at) {
		return nil, 0
	}
	off := r.at[r.next]
	slot = r.mem[off : off+r.slot : off+r.slot]
	if status = loadStatus(slot); status&unix.TP_STATUS_USER == 0 {
		return nil, 0
	}
	return slot, status
}

// take makes the slot that peek returned ours.
func (r *ring) take() {
	if r.next++; r.next == len(r.at) {
		r.next = 0
	}
	r.held++
}

// release gives all held slots back, the oldest first, as the kernel fills
// them in that order.
func (r *ring) release() {
	i := r.next - r.held
	if i < 0 {
		i += len(r.at)
	}
	for ; r.held > 0; r.held-- {
		storeStatus(r.mem[r.at[i]:], unix.TP_STATUS_KERNEL)
		if i++; i == len(r.at) {
			i = 0
		}
	}
}

// close unmaps the ring and leaves an empty one.
func (r *ring) close() error {
	mem := r.mem
	*r = ring{}
	if mem == nil {
		return nil
	}
	return os.NewSyscallError("munmap", unix.Munmap(mem))
}

// decode makes f the frame that lies in the slot. A slot is at least
// minSlotSize long.
func decode(slot []byte, status uint32, f *nic.Frame) {
	mac := int(binary.NativeEndian.Uint16(slot[offMAC:]))
	end := mac + int(binary.NativeEndian.Uint32(slot[offSnapLen:]))
	if mac < slotHeader+nic.VNetHdrLen || end > len(slot) {
		// The kernel does not do this; if it did, the frame would be empty,
		// and count as cut.
		mac = slotHeader + nic.VNetHdrLen
		end = mac
		clear(slot[slotHeader:mac])
	}
	f.Place(slot[slotHeader:], mac-nic.VNetHdrLen-slotHeader, end-slotHeader)
	f.Tail, f.Segments = nil, nil
	f.WireLen = int(binary.NativeEndian.Uint32(slot[offLen:]))
	f.Time = int64(binary.NativeEndian.Uint32(slot[offSec:]))*1e9 + int64(binary.NativeEndian.Uint32(slot[offNsec:]))
	f.Type = nic.PacketType(slot[offPktType])
	f.VLAN, f.VLANProto = 0, 0
	if status&unix.TP_STATUS_VLAN_VALID != 0 {
		f.VLAN = binary.NativeEndian.Uint16(slot[offVLAN:])
		f.VLANProto = unix.ETH_P_8021Q
		if status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
			f.VLANProto = binary.NativeEndian.Uint16(slot[offVLANProt:])
		}
	}
}

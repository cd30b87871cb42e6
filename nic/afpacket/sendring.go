package afpacket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"vsnat/nic"
)

const (
	// sendSlots is how many slots the ring has at least. A driver may keep a slot
	// until the frame has left.
	sendSlots = 240
	// sendSlotSize holds the largest frame of an Ethernet without jumbo frames. As
	// an odd number of cache lines it spreads the slots' beginnings over the cache.
	sendSlotSize = 25 * 64
	// sendBlock is the memory that the kernel allocates at a time.
	sendBlock = 64 << 10
	// sendData is where the virtio-net header begins in a slot: TPACKET2_HDRLEN
	// less the address.
	sendData = 32

	ethernet = 14 // length of its header
	// shortest is the length of the shortest frame for the ring: what an IP packet
	// has at least. Whether less is a frame at all, the other way tells.
	shortest = ethernet + 20
	// mtuEvery is after how many batches the MTU is looked at again.
	mtuEvery = 1024

	// unsent are the states of a slot whose frame the kernel has not taken: not
	// looked at, or refused.
	unsent = unix.TP_STATUS_SEND_REQUEST | unix.TP_STATUS_WRONG_FORMAT
	// inUse are those of a slot that is not ours to fill.
	inUse = unix.TP_STATUS_SEND_REQUEST | unix.TP_STATUS_SENDING
)

// sendRing sends frames that are copied into its slots: one after the other, in a
// circle, so that both sides know which is next. One system call sends all that
// wait, and costs less than one message for each frame (tpacket_snd and packet_snd
// in net/packet/af_packet.c).
//
// The kernel would send a frame out of the slot, page by page, which virtual links
// copy again. It copies as much as the virtio-net header says that headers take:
// here, all of it.
type sendRing struct {
	fd   int
	mem  []byte
	at   []uint32 // offset of each slot in mem; none when closed
	next int      // slot that the kernel sends next

	longest int // frame that is sent this way, in bytes
	mtu     *unix.Ifreq
	batches int // since the MTU was looked at
}

// sendRingOptions are those of its socket.
var sendRingOptions = append([]option{ringOptions[0]}, sendOptions...)

func openSendRing(ifi *net.Interface) (r sendRing, err error) {
	if r.fd, err = sendSocket(ifi, sendRingOptions); err != nil {
		return r, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	l := layout{slot: sendSlotSize, block: sendBlock, perBlock: sendBlock / sendSlotSize}
	l.blocks = (sendSlots + l.perBlock - 1) / l.perBlock
	if err := unix.SetsockoptTpacketReq(r.fd, unix.SOL_PACKET, unix.PACKET_TX_RING, l.request()); err != nil {
		return r, option{name: "PACKET_VNET_HDR in a PACKET_TX_RING", kernel: "4.6"}.failed(err)
	}
	if r.mem, err = unix.Mmap(r.fd, 0, l.size(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return r, os.NewSyscallError("mmap", err)
	}
	r.at = l.offsets()
	if r.mtu, err = unix.NewIfreq(ifi.Name); err != nil {
		return r, fmt.Errorf("interface name %q: %w", ifi.Name, err)
	}
	r.bound(ifi.MTU)
	return r, nil
}

// close unmaps the ring and closes its socket.
func (r *sendRing) close() error {
	if r.fd < 0 {
		return nil
	}
	fd, mem := r.fd, r.mem
	*r = sendRing{fd: -1}
	var err error
	if mem != nil {
		err = os.NewSyscallError("munmap", unix.Munmap(mem))
	}
	return errors.Join(err, os.NewSyscallError("close", unix.Close(fd)))
}

// bound has the ring take no frame that is longer than the MTU. With a virtio-net
// header the kernel does not look at it on this way.
func (r *sendRing) bound(mtu int) {
	r.longest = min(mtu+ethernet, sendSlotSize-sendData-nic.VNetHdrLen)
}

// look finds out whether the MTU is another one by now. An interface that is gone,
// or has another name, keeps the last.
func (r *sendRing) look() {
	r.batches = 0
	if unix.IoctlIfreq(r.fd, unix.SIOCGIFMTU, r.mtu) == nil {
		r.bound(int(r.mtu.Uint32()))
	}
}

// fits reports whether all the frames can go by the ring.
func (r *sendRing) fits(frames []*nic.Frame) bool {
	if r.at == nil {
		return false
	}
	if r.batches++; r.batches >= mtuEvery {
		r.look()
	}
	for _, f := range frames {
		if len(f.Buf) < nic.VNetHdrLen+shortest || f.Len() > r.longest || f.VNet().GSOType() != nic.VNetGSONone {
			return false
		}
	}
	return true
}

// send sends frames that fit, and returns how many of them were sent: the first
// ones. What became of the others, or would, it does not know: the ring may be full.
func (r *sendRing) send(frames []*nic.Frame) int {
	put, end, bytes := 0, r.next, 0
	for _, f := range frames {
		slot := r.slot(end)
		if loadStatus(slot)&inUse != 0 {
			break
		}
		bytes += fill(slot, f)
		end = r.after(end)
		put++
	}
	if put == 0 {
		return 0
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(r.fd), 0, 0, unix.MSG_DONTWAIT, 0, 0)
	if errno == 0 && int(n) == bytes {
		r.next = end
		return put
	}
	return r.withdraw(end)
}

// withdraw takes back the frames before end that were not sent, and returns how many
// were. The kernel stops at the first that it does not send.
func (r *sendRing) withdraw(end int) (sent int) {
	for r.next != end && loadStatus(r.slot(r.next))&unsent == 0 {
		r.next = r.after(r.next)
		sent++
	}
	for i := r.next; i != end; i = r.after(i) {
		storeStatus(r.slot(i), unix.TP_STATUS_AVAILABLE)
	}
	return sent
}

func (r *sendRing) slot(i int) []byte {
	off := r.at[i]
	return r.mem[off : off+sendSlotSize : off+sendSlotSize]
}

func (r *sendRing) after(i int) int {
	if i++; i == len(r.at) {
		return 0
	}
	return i
}

// fill puts the frame into the slot, for the kernel to send, and returns its length.
func fill(slot []byte, f *nic.Frame) int {
	data := slot[sendData:]
	n := f.Copy(data)
	binary.NativeEndian.PutUint32(slot[offLen:], uint32(n))
	n -= nic.VNetHdrLen
	nic.VNet(data).SetHdrLen(n)
	storeStatus(slot, unix.TP_STATUS_SEND_REQUEST)
	return n
}

// Package afpacket is a [nic.Device] over Linux packet sockets (packet(7)).
//
// Frames come in through a memory-mapped TPACKET_V2 ring: while frames wait,
// receiving makes no system call, and nothing is copied after the kernel's one
// copy into a slot. Slots are small, so that there are many. A frame that is
// longer than a slot, which is a super-frame or a jumbo frame, waits in the
// socket's queue meanwhile, uncopied, and is fetched from there with others like
// it by one recvmmsg(2).
//
// Frames go out by a ring, too, into which a batch is copied and then sent by one
// system call for all. A batch with a frame that is too long for it goes by
// sendmmsg(2), straight from where the frames lie.
//
// All ways carry the virtio-net header, so that TCP super-frames of up to 64 KiB
// and checksums that are still to be completed pass as the sender's stack left
// them: nothing is segmented or summed on the way through.
//
// [Open] gives a worker the whole device for the interface it receives from,
// [OpenSender] a transmit-only one for each other interface it sends to. Both
// open their sockets in the network namespace of the calling thread, and need
// CAP_NET_RAW there.
package afpacket

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"vsnat/nic"
)

// Config says which interface to open and how large its receive ring is.
type Config struct {
	// Name is the interface's name. Index is its number, and is used when
	// Name is empty.
	Name  string
	Index int

	// Slots is the number of frames that the ring holds at least; 0 means
	// DefaultSlots. It is the longest burst that is not dropped while the
	// worker does something else.
	Slots int
	// SlotSize is the memory in bytes of one slot; 0 means DefaultSlotSize.
	// About 130 bytes of it are the kernel's. Frames that are longer take a way
	// of their own, which costs a system call for a batch of them.
	SlotSize int

	shut bool // no frame is let in yet
}

// The ring's default size: 8 MiB in all.
const (
	// DefaultSlots is the default number of slots.
	DefaultSlots = 4096
	// DefaultSlotSize holds the largest frame of an Ethernet without jumbo
	// frames.
	DefaultSlotSize = 2 << 10
)

// errClosed is what a device answers after Close.
var errClosed = fmt.Errorf("afpacket: %w", os.ErrClosed)

// Device is one interface, opened for one worker. All methods but Stats belong
// to that worker, Close included: the frames lie in memory that Close unmaps.
type Device struct {
	name  string
	index int
	fd    int // of the receiving socket
	ring  ring
	long  *longFrames
	tx    *Sender

	// What became of the interface; see wait.go.
	down    bool
	missed  bool  // that it went down was told to Recv
	err     error // not nil: the device is of no more use
	errDown error
	errGone error

	rxFrames atomic.Uint64
	rxBytes  atomic.Uint64
	rxCut    atomic.Uint64

	// The kernel forgets its counters when they are read, so whoever reads
	// them adds them up, one at a time.
	mu      sync.Mutex
	open    bool   // guarded by mu: fd is ours
	dropped uint64 // guarded by mu
}

var _ nic.Polled = (*Device)(nil)

// Open opens an interface for receiving and sending. If it is down, the first
// Wait says so, and it starts to work when it is up.
//
// A [*nic.Feature] among the error's causes says what the kernel lacks. Without
// CAP_NET_RAW the cause is EPERM, without the memory for the ring ENOMEM.
func Open(cfg Config) (*Device, error) {
	ifi, err := findInterface(cfg)
	if err != nil {
		return nil, err
	}
	d, err := open(cfg, ifi)
	if err != nil {
		return nil, fmt.Errorf("afpacket: cannot open %s: %w", ifi.Name, err)
	}
	return d, nil
}

// findInterface looks the interface up in the calling thread's namespace.
func findInterface(cfg Config) (*net.Interface, error) {
	if cfg.Name == "" {
		ifi, err := net.InterfaceByIndex(cfg.Index)
		if err != nil {
			return nil, fmt.Errorf("afpacket: interface number %d: %w", cfg.Index, err)
		}
		return ifi, nil
	}
	ifi, err := net.InterfaceByName(cfg.Name)
	if err != nil {
		return nil, fmt.Errorf("afpacket: interface %q: %w", cfg.Name, err)
	}
	return ifi, nil
}

// open sets up the receiving socket. Its options come first, then the ring,
// and the protocol last: until then the socket gets no frame, so none arrives
// without a virtio-net header or in the wrong buffer.
func open(cfg Config, ifi *net.Interface) (_ *Device, err error) {
	lay, err := newLayout(cfg.Slots, cfg.SlotSize)
	if err != nil {
		return nil, err
	}
	fd, err := listen(ifi)
	if err != nil {
		return nil, err
	}
	d := &Device{
		name: ifi.Name, index: ifi.Index, fd: fd, open: true,
		errDown: fmt.Errorf("afpacket: %s: interface is down: %w", ifi.Name, unix.ENETDOWN),
		errGone: fmt.Errorf("afpacket: %s: interface is gone: %w", ifi.Name, unix.ENODEV),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()

	if err := setOptions(fd, ringOptions); err != nil {
		return nil, err
	}
	if d.ring, err = newRing(fd, lay); err != nil {
		return nil, err
	}
	if d.long, err = newLongFrames(fd); err != nil {
		return nil, err
	}
	if d.tx, err = openSender(ifi); err != nil {
		return nil, err
	}
	if cfg.shut {
		if err := shutOff(fd); err != nil {
			return nil, err
		}
	}
	if err := bindAll(fd, ifi.Index); err != nil {
		return nil, err
	}
	return d, nil
}

// Name returns the name that the interface had when it was opened.
func (d *Device) Name() string { return d.name }

// Index returns the interface's number.
func (d *Device) Index() int { return d.index }

// Send transmits frames; see [Sender.Send].
func (d *Device) Send(frames []*nic.Frame, errs []unix.Errno) int {
	return d.tx.Send(frames, errs)
}

// Stats returns the counters since Open. Frames count as dropped also when the
// virtio-net header cannot express how the kernel had merged them, as with
// super-frames inside tunnels.
func (d *Device) Stats() nic.Stats {
	s := d.tx.Stats()
	s.RxFrames = d.rxFrames.Load()
	s.RxBytes = d.rxBytes.Load()
	s.RxCut = d.rxCut.Load()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.collectDropsLocked()
	s.RxDropped = d.dropped
	return s
}

// collectDropsLocked adds what the kernel has counted since the last time.
func (d *Device) collectDropsLocked() {
	if !d.open {
		return
	}
	// It can fail only for a socket that is not one.
	if st, err := unix.GetsockoptTpacketStats(d.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
		d.dropped += uint64(st.Drops)
	}
}

// Close stops receiving, unmaps the ring and closes the sockets. Frames that
// were received must not be touched any more.
func (d *Device) Close() error {
	d.mu.Lock()
	if !d.open {
		d.mu.Unlock()
		return nil
	}
	d.collectDropsLocked()
	d.open = false
	d.mu.Unlock()

	d.err = errClosed
	err := errors.Join(d.ring.close(), os.NewSyscallError("close", unix.Close(d.fd)))
	if d.tx != nil {
		err = errors.Join(err, d.tx.Close())
	}
	return err
}

// Recv fills b with frames that wait in the ring. It makes no system call, but for
// frames that are longer than a slot. The memory behind a frame, up to cap(Buf), is
// free for it to grow into. Of long frames it returns no more than [maxLong] before
// they are released.
//
// A device that is used without Wait does not notice that its interface went
// down or away.
func (d *Device) Recv(b *nic.Batch) (int, error) {
	var bytes, cut uint64
	n := 0
	for n < nic.MaxBatch {
		f := &b.Frames[n]
		slot, status := d.ring.peek()
		if slot == nil || status&unix.TP_STATUS_COPY != 0 && !d.long.expect(f) {
			break
		}
		decode(slot, status, f)
		d.ring.take()
		n++
	}
	b.N = n
	if n == 0 {
		return 0, d.err
	}
	if d.long.waiting() && d.long.fetch(d.fd) == unix.ENETDOWN {
		d.missed = true
	}
	for i := range b.Frames[:n] {
		f := &b.Frames[i]
		bytes += uint64(len(f.Buf) - nic.VNetHdrLen)
		if f.Cut() {
			cut++
		}
	}
	d.rxFrames.Add(uint64(n))
	d.rxBytes.Add(bytes)
	if cut > 0 {
		d.rxCut.Add(cut)
	}
	return n, nil
}

// Release hands the slots of all received frames back to the kernel.
func (d *Device) Release() {
	d.ring.release()
	d.long.release()
}

// Wait blocks until a frame waits. Release what was received before: the kernel
// takes a slot that is still held for a frame that waits, and Wait returns at
// once. It may return early with nothing to receive.
//
// It returns ENETDOWN once each time the interface goes down; after that it
// waits for frames again, and returns at least every downCheck. When the
// interface is gone it returns ENODEV, and so do all calls of Recv and Wait
// after it.
func (d *Device) Wait(timeout time.Duration) error {
	if d.err != nil || d.ring.ready() {
		return d.err
	}
	if d.missed {
		return d.wentDown()
	}
	return d.wait(timeout)
}

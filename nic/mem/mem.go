// Package mem is a wire in memory with devices at its ends, for tests: no
// privilege, no kernel, the same result every time.
//
// A device treats its worker as one over packet sockets does: it has a bounded
// ring of receive slots, drops frames and counts them when the ring is full,
// holds slots until they are released, cuts frames that are too long, and
// carries the virtio-net header from end to end. What a frame is sent with
// beside its bytes (Time, Type, VLAN) does not travel; a VLAN tag among its
// bytes stays there.
//
// Waiting is on channels only, so that goroutines which wait for a device are
// durably blocked in the sense of testing/synctest.
package mem

import (
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"vsnat/nic"
)

// Config describes one device.
type Config struct {
	Name  string
	Index int
	// MAC is the address by which unicast frames are known to be for this
	// device; with a zero one all are.
	MAC [6]byte
	// MTU bounds the frames that the device sends, but for super-frames, to
	// MTU bytes behind the Ethernet header. 0 is no bound.
	MTU int
	// Slots is the number of receive slots; 0 means 256.
	Slots int
	// SlotSize is the memory of a slot in bytes, virtio-net header included;
	// 0 means 68 KiB, and less than 64 means 64.
	SlotSize int
	// Notify, if not nil, is called whenever Wait may have to return, with the wire
	// locked: it must not call any device.
	Notify func()
	// Now gives the time at which a frame is received; nil means time.Now.
	Now func() time.Time
}

// Wire joins devices: what one sends, all others receive. The zero value is a
// wire without devices.
type Wire struct {
	mu    sync.Mutex // guards the wire and all its devices
	ports []*Device
}

// state is what has become of a device.
type state uint8

const (
	_ state = iota
	up
	down
	gone
	closed
)

// slot holds a received frame.
type slot struct {
	buf     []byte
	n       int // length of the frame in buf
	wireLen int
	time    int64
}

// Device is one end of a wire. Up, Down, Remove, Close and Stats may be called
// by any goroutine, the other methods only by one at a time.
type Device struct {
	wire *Wire
	cfg  Config
	wake chan struct{} // holds a token when Wait may have to return

	// Guarded by wire.mu.
	state   state
	told    bool   // that it is down
	slots   []slot // a circle
	next    int    // first slot that waits
	waiting int    // slots from next on that wait
	held    int    // slots before next that are not released
	stats   nic.Stats
}

var _ nic.Device = (*Device)(nil)

// Pair returns two devices with a wire between them.
func Pair(a, b Config) (*Device, *Device) {
	w := new(Wire)
	return w.Attach(a), w.Attach(b)
}

// Attach adds a device to the wire. It is up.
func (w *Wire) Attach(cfg Config) *Device {
	if cfg.Slots == 0 {
		cfg.Slots = 256
	}
	if cfg.SlotSize == 0 {
		cfg.SlotSize = 68 << 10
	}
	cfg.SlotSize = max(cfg.SlotSize, 64)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	d := &Device{wire: w, cfg: cfg, wake: make(chan struct{}, 1), state: up, slots: make([]slot, cfg.Slots)}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ports = append(w.ports, d)
	return d
}

// Name returns the configured name.
func (d *Device) Name() string { return d.cfg.Name }

// Index returns the configured number.
func (d *Device) Index() int { return d.cfg.Index }

// Stats returns the counters since the device was attached.
func (d *Device) Stats() nic.Stats {
	d.wire.mu.Lock()
	defer d.wire.mu.Unlock()
	return d.stats
}

// Up ends what Down began.
func (d *Device) Up() { d.become(up) }

// Down makes the device neither send nor receive; Wait says so once. Frames
// that wait already stay.
func (d *Device) Down() { d.become(down) }

// Remove makes the device one whose interface is gone.
func (d *Device) Remove() { d.become(gone) }

// Close takes the device off its wire.
func (d *Device) Close() error {
	d.become(closed)
	return nil
}

// become changes the state, but never back from gone or closed, and has Wait
// look at it.
func (d *Device) become(s state) {
	d.wire.mu.Lock()
	defer d.wire.mu.Unlock()
	if d.state < gone || s == closed {
		d.state, d.told = s, false
	}
	d.wakeUp()
}

// wakeUp leaves a token for Wait.
func (d *Device) wakeUp() {
	select {
	case d.wake <- struct{}{}:
	default: // one is enough
	}
	if d.cfg.Notify != nil {
		d.cfg.Notify()
	}
}

// Send transmits the frames. A frame that finds no free slot at the other end
// counts as sent here and as dropped there.
func (d *Device) Send(frames []*nic.Frame, errs []syscall.Errno) int {
	d.wire.mu.Lock()
	defer d.wire.mu.Unlock()
	sent := 0
	for i, f := range frames {
		errs[i] = d.refuseLocked(f)
		if errs[i] != 0 {
			d.stats.TxErrors++
			continue
		}
		sent++
		d.stats.TxFrames++
		d.stats.TxBytes += uint64(f.Len())
		d.stats.TxMerged += uint64(max(len(f.Segments)-1, 0))
		var tag [4]byte
		parts := f.Parts(&tag)
		for _, p := range d.wire.ports {
			if p != d && p.state == up {
				p.putLocked(f, &parts)
			}
		}
	}
	return sent
}

// refuseLocked returns the errno with which a packet socket would refuse the
// frame, or 0.
func (d *Device) refuseLocked(f *nic.Frame) syscall.Errno {
	const header = 14
	switch {
	case d.state == down:
		return syscall.ENETDOWN
	case d.state == gone:
		return syscall.ENXIO
	case d.state == closed:
		return syscall.EBADF
	case len(f.Buf) < nic.VNetHdrLen+header:
		return syscall.EINVAL
	case d.cfg.MTU > 0 && len(f.Eth())+len(f.Tail) > header+d.cfg.MTU && f.VNet().GSOType() == nic.VNetGSONone:
		return syscall.EMSGSIZE
	}
	return 0
}

// putLocked copies a frame, in parts, into the next free slot.
func (d *Device) putLocked(f *nic.Frame, parts *[4][]byte) {
	used := d.held + d.waiting
	if used == len(d.slots) {
		d.stats.RxDropped++
		return
	}
	s := &d.slots[(d.next+d.waiting)%len(d.slots)]
	if s.buf == nil {
		s.buf = make([]byte, nic.Headroom+d.cfg.SlotSize)
	}
	room := s.buf[nic.Headroom:]
	s.n = 0
	for _, part := range parts {
		s.n += copy(room[s.n:], part)
	}
	for _, segment := range f.Segments {
		s.n += copy(room[s.n:], segment)
	}
	s.wireLen = f.Len()
	s.time = d.cfg.Now().UnixNano()
	d.waiting++
	d.wakeUp()
}

// Recv fills b with frames that wait.
func (d *Device) Recv(b *nic.Batch) (int, error) {
	d.wire.mu.Lock()
	defer d.wire.mu.Unlock()
	b.N = 0
	if d.state == closed {
		return 0, d.endLocked()
	}
	for d.waiting > 0 && b.N < nic.MaxBatch {
		s := &d.slots[d.next]
		f := &b.Frames[b.N]
		*f = nic.Frame{Time: s.time, WireLen: s.wireLen}
		f.Place(s.buf, nic.Headroom, nic.Headroom+s.n)
		f.Type = nic.TypeOf([6]byte(f.Eth()), d.cfg.MAC)
		d.stats.RxFrames++
		d.stats.RxBytes += uint64(len(f.Eth()))
		if f.Cut() {
			d.stats.RxCut++
		}
		d.next = (d.next + 1) % len(d.slots)
		d.waiting--
		d.held++
		b.N++
	}
	if b.N == 0 {
		return 0, d.endLocked()
	}
	return b.N, nil
}

// Release frees the slots of all frames received.
func (d *Device) Release() {
	d.wire.mu.Lock()
	defer d.wire.mu.Unlock()
	d.held = 0
}

// Wait blocks until a frame waits or the device changes its state.
func (d *Device) Wait(timeout time.Duration) error {
	var expired <-chan time.Time
	if timeout >= 0 {
		timer := time.NewTimer(timeout)
		defer timer.Stop()
		expired = timer.C
	}
	for {
		if done, err := d.look(); done {
			return err
		}
		select {
		case <-d.wake:
		case <-expired:
			return nil
		}
	}
}

// look reports whether Wait is done, and with what.
func (d *Device) look() (bool, error) {
	d.wire.mu.Lock()
	defer d.wire.mu.Unlock()
	if d.waiting > 0 && d.state != closed {
		return true, nil
	}
	if d.state == down && !d.told {
		d.told = true
		return true, fmt.Errorf("mem: %s: interface is down: %w", d.cfg.Name, syscall.ENETDOWN)
	}
	err := d.endLocked()
	return err != nil, err
}

// endLocked returns why the device is of no more use, if it is not.
func (d *Device) endLocked() error {
	switch d.state {
	case gone:
		return fmt.Errorf("mem: %s: interface is gone: %w", d.cfg.Name, syscall.ENODEV)
	case closed:
		return fmt.Errorf("mem: %s: %w", d.cfg.Name, os.ErrClosed)
	}
	return nil
}

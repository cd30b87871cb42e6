// Package tun is a [nic.Device] over a TUN device (tun(4); the kernel's
// Documentation/networking/tuntap.rst): what is sent by it the host's own stack
// receives, and what the host routes to it is received here. The device is there
// as long as it is open, and no longer, however the process ends.
//
// TUN devices carry IP packets. The frames have an Ethernet header all the same,
// without addresses; it is taken off when they are sent. Checksums that are still to
// be completed and super-frames pass both ways, as the virtio-net header tells.
package tun

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"vsnat/nic"
)

// Offsets of an Ethernet header, and the EtherTypes there.
const (
	headerLen = 14
	typeAt    = 12
	typeIPv4  = 0x0800
	typeIPv6  = 0x86dd
)

// slotSize is the memory of a received frame: the longest packet, and room before
// it.
const slotSize = nic.Headroom + nic.VNetHdrLen + headerLen + 1<<16

// Device is a TUN device. All methods but Stats, Sender and Close belong to one
// goroutine.
type Device struct {
	name  string
	index int
	fd    int
	send  *Sender
	read  vector
	slots []byte

	frames, bytes atomic.Uint64
}

var _ nic.Polled = (*Device)(nil)

// Open makes a TUN device, which is down, in the namespace of the calling thread.
// It takes CAP_NET_ADMIN there. A device of that name that is there already is an
// error.
func Open(name string) (*Device, error) {
	fail := func(err error) (*Device, error) {
		return nil, fmt.Errorf("tun: cannot make %s: %w", name, err)
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return fail(fmt.Errorf("/dev/net/tun (module tun): %w", err))
	}
	d := &Device{name: name, fd: fd}
	if err := d.set(); err != nil {
		return fail(errors.Join(err, unix.Close(fd)))
	}
	if d.send, err = d.Sender(); err != nil {
		return fail(errors.Join(err, unix.Close(fd)))
	}
	d.slots = make([]byte, nic.MaxBatch*slotSize)
	return d, nil
}

// set makes the descriptor a device.
func (d *Device) set() error {
	ifr, err := unix.NewIfreq(d.name)
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR | unix.IFF_TUN_EXCL)
	if err := unix.IoctlIfreq(d.fd, unix.TUNSETIFF, ifr); err != nil {
		return os.NewSyscallError("ioctl TUNSETIFF", err)
	}
	// Without the newer ones, the host does that work itself.
	const old = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN
	const uso = unix.TUN_F_USO4 | unix.TUN_F_USO6 // since Linux 6.2
	err = unix.IoctlSetInt(d.fd, unix.TUNSETOFFLOAD, old|uso)
	if errors.Is(err, unix.EINVAL) {
		err = unix.IoctlSetInt(d.fd, unix.TUNSETOFFLOAD, old)
	}
	if err != nil {
		return os.NewSyscallError("ioctl TUNSETOFFLOAD", err)
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(s)
	if err := unix.IoctlIfreq(s, unix.SIOCGIFINDEX, ifr); err != nil {
		return os.NewSyscallError("ioctl SIOCGIFINDEX", err)
	}
	d.index = int(ifr.Uint32())
	return nil
}

// Name returns the device's name.
func (d *Device) Name() string { return d.name }

// Index returns the device's number.
func (d *Device) Index() int { return d.index }

// Stats returns the counters since Open, of the sending half only what [Device.Send]
// sent.
func (d *Device) Stats() nic.Stats {
	s := d.send.Stats()
	s.RxFrames, s.RxBytes = d.frames.Load(), d.bytes.Load()
	return s
}

// Close takes the device away once its senders are closed too.
func (d *Device) Close() error {
	fd := d.fd
	d.fd = -1
	if fd < 0 {
		return nil
	}
	return errors.Join(d.send.Close(), os.NewSyscallError("close", unix.Close(fd)))
}

// Recv fills b with packets that wait.
func (d *Device) Recv(b *nic.Batch) (int, error) {
	b.N = 0
	for b.N < nic.MaxBatch {
		const eth = nic.Headroom + nic.VNetHdrLen
		slot := d.slots[b.N*slotSize : (b.N+1)*slotSize : (b.N+1)*slotSize]
		n, errno := d.read.read(d.fd, slot[nic.Headroom:eth], slot[eth+headerLen:])
		switch {
		case errno == unix.EAGAIN || errno == unix.EINTR:
			return b.N, nil
		case errno != 0:
			return b.N, fmt.Errorf("tun: %s: %w", d.name, errno)
		case n <= nic.VNetHdrLen:
			continue
		}
		f := &b.Frames[b.N]
		*f = nic.Frame{WireLen: headerLen + n - nic.VNetHdrLen}
		f.Place(slot, nic.Headroom, eth+f.WireLen)
		frame(f)
		d.frames.Add(1)
		d.bytes.Add(uint64(f.WireLen))
		b.N++
	}
	return b.N, nil
}

// frame puts an Ethernet header before the packet, where there is room for it.
func frame(f *nic.Frame) {
	h := f.Eth()[:headerLen]
	clear(h)
	typ := uint16(typeIPv4)
	if f.Eth()[headerLen]>>4 == 6 {
		typ = typeIPv6
	}
	h[typeAt], h[typeAt+1] = byte(typ>>8), byte(typ&0xff)
	f.VNet().Shift(headerLen)
}

// Release does nothing: frames are read into the same memory again by the next
// Recv.
func (d *Device) Release() {}

// Wait blocks until a packet waits.
func (d *Device) Wait(timeout time.Duration) error {
	fds := [1]unix.PollFd{{Fd: int32(d.fd), Events: unix.POLLIN}}
	var ts *unix.Timespec
	if timeout >= 0 {
		t := unix.NsecToTimespec(int64(timeout))
		ts = &t
	}
	if _, err := unix.Ppoll(fds[:], ts, nil); err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("tun: %s: %w", d.name, os.NewSyscallError("ppoll", err))
	}
	return nil
}

// FD returns the device's descriptor.
func (d *Device) FD() int { return d.fd }

// Polled has nothing to tell: what is wrong with the device, Recv returns.
func (d *Device) Polled(int16) error { return nil }

// Look has nothing to find out.
func (d *Device) Look() error { return nil }

// Send gives the frames to the host; see [Sender.Send].
func (d *Device) Send(frames []*nic.Frame, errs []unix.Errno) int { return d.send.Send(frames, errs) }

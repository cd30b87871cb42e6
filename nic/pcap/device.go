// Package pcap replays capture files: a [Device] receives what a file holds,
// and a [Writer] is where it may send to.
//
// It reads pcap and pcapng, either of them compressed by gzip or not, of
// Ethernet frames. Files come from anywhere, so nothing in them is trusted:
// what is wrong with one becomes an error that names the file and the frame.
package pcap

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"vsnat/nic"
)

const (
	// MaxFrame is the length in bytes of the longest frame that is read or
	// written, tcpdump's own limit (MAXIMUM_SNAPLEN).
	MaxFrame = 256 << 10
	// room is how many bytes a frame may at least grow by.
	room = 256
	// minSlot is the memory in bytes that most frames find enough.
	minSlot = 2048
)

// Config says what a capture is replayed as.
type Config struct {
	// Name and Index are the interface's; an empty Name means the file's.
	Name  string
	Index int
	// MAC is the address of the interface, by which unicast frames are known
	// to be for it; with a zero one all are.
	MAC [6]byte
	// Out is where frames are sent to, such as a [Writer]. Several devices of
	// one worker may share it. Without it they are counted and thrown away.
	Out nic.Sender
}

// Device is a capture as an interface. A VLAN tag is left where the file has
// it, in the frame; frames have an empty virtio-net header.
type Device struct {
	file  string
	cfg   Config
	close io.Closer // nil if the reader is not ours
	src   source
	read  int   // frames read so far
	err   error // at the end, why it is that

	slots [][]byte // memory of received frames
	held  int      // of which this many are not released

	rxFrames, rxBytes, rxCut    atomic.Uint64
	txFrames, txBytes, txErrors atomic.Uint64
}

var _ nic.Device = (*Device)(nil)

// Open opens a capture file.
func Open(file string, cfg Config) (*Device, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("pcap: %w", err)
	}
	d, err := New(f, file, cfg)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	d.close = f
	return d, nil
}

// New reads a capture from r; file is its name in errors.
func New(r io.Reader, file string, cfg Config) (*Device, error) {
	src, err := newSource(r)
	if err != nil {
		return nil, fmt.Errorf("pcap: %s: %w", file, err)
	}
	if cfg.Name == "" {
		cfg.Name = file
	}
	return &Device{file: file, cfg: cfg, src: src}, nil
}

// Name returns the interface's name.
func (d *Device) Name() string { return d.cfg.Name }

// Index returns the interface's number.
func (d *Device) Index() int { return d.cfg.Index }

// Stats returns the counters since Open.
func (d *Device) Stats() nic.Stats {
	return nic.Stats{
		RxFrames: d.rxFrames.Load(), RxBytes: d.rxBytes.Load(), RxCut: d.rxCut.Load(),
		TxFrames: d.txFrames.Load(), TxBytes: d.txBytes.Load(), TxErrors: d.txErrors.Load(),
	}
}

// Close closes the file, if Open opened it.
func (d *Device) Close() error {
	d.err = fmt.Errorf("pcap: %s: %w", d.file, os.ErrClosed)
	c := d.close
	d.close = nil
	if c == nil {
		return nil
	}
	if err := c.Close(); err != nil {
		return fmt.Errorf("pcap: %w", err)
	}
	return nil
}

// Recv reads the next frames of the file. At the end the error is io.EOF;
// any other says what is wrong with the file.
func (d *Device) Recv(b *nic.Batch) (int, error) {
	for b.N = 0; b.N < nic.MaxBatch && d.err == nil; {
		if d.err = d.next(&b.Frames[b.N]); d.err != nil {
			break
		}
		b.N++
	}
	if b.N == 0 {
		return 0, d.err
	}
	return b.N, nil
}

// next makes f the next frame of the file.
func (d *Device) next(f *nic.Frame) error {
	data, info, err := d.src.ZeroCopyReadPacketData()
	if err == io.EOF && info.CaptureLength > 0 {
		// pcapgo says so also of a file that ends between the two parts of a
		// record.
		err = io.ErrUnexpectedEOF
	}
	if err == io.EOF {
		return io.EOF
	}
	if err == nil {
		err = checkLink(info)
	}
	if err != nil {
		return fmt.Errorf("pcap: %s: frame %d: %w", d.file, d.read+1, err)
	}
	d.read++

	*f = nic.Frame{WireLen: max(info.Length, len(data))}
	d.store(f, data)
	if !info.Timestamp.IsZero() {
		f.Time = info.Timestamp.UnixNano()
	}
	var dst [6]byte
	copy(dst[:], data)
	f.Type = nic.TypeOf(dst, d.cfg.MAC)
	d.rxFrames.Add(1)
	d.rxBytes.Add(uint64(len(data)))
	if f.Cut() {
		d.rxCut.Add(1)
	}
	return nil
}

// store copies the bytes into f, behind an empty virtio-net header.
func (d *Device) store(f *nic.Frame, data []byte) {
	if d.held == len(d.slots) {
		d.slots = append(d.slots, make([]byte, minSlot))
	}
	slot := &d.slots[d.held]
	end := nic.Headroom + nic.VNetHdrLen + len(data)
	if len(*slot) < end+room {
		*slot = make([]byte, end+room)
	}
	d.held++
	f.Place(*slot, nic.Headroom, end)
	f.VNet().Clear()
	copy(f.Eth(), data)
}

// Release frees the memory of all frames received.
func (d *Device) Release() { d.held = 0 }

// Wait returns at once: a frame waits, or the file is at its end.
func (d *Device) Wait(time.Duration) error { return nil }

// Send gives the frames to the configured sender.
func (d *Device) Send(frames []*nic.Frame, errs []syscall.Errno) int {
	sent := len(frames)
	if d.cfg.Out != nil {
		sent = d.cfg.Out.Send(frames, errs)
	} else {
		clear(errs[:len(frames)])
	}
	var bytes uint64
	for i, f := range frames {
		if errs[i] == 0 {
			bytes += uint64(f.Len())
		}
	}
	d.txFrames.Add(uint64(sent))
	d.txBytes.Add(bytes)
	d.txErrors.Add(uint64(len(frames) - sent))
	return sent
}
